"""An independent fold of events into memberships, outcomes and toggles: one event at a time, in plain Python.

It shares no code with the reducer and serves as its oracle, in the demo's closing check and in the tests. Identity (which events
are duplicates) is the caller's affair.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


class Event(NamedTuple):
    """An event of the contract, without its unknown fields."""

    event_id: str
    occurred_at: datetime
    user_id: str
    vendor: int
    segment_name: str
    value: str | None = None
    remove: bool = False

    @property
    def key(self) -> tuple[str, int, str]:
        """The user and segment whose status it is about."""
        return self.user_id, self.vendor, self.segment_name


class Outcome(NamedTuple):
    """What an event did, and the newest event of its key before it (None: none, or not recorded because it is late)."""

    outcome: str
    previous: Event | None


@dataclass(slots=True)
class Membership:
    """The state of one key."""

    newest: Event
    member: bool = False
    first: datetime | None = None
    value: str | None = None
    value_at: datetime | None = None
    changed: bool = False
    events: int = 0

    @property
    def last(self) -> datetime:
        """When the newest event happened."""
        return self.newest.occurred_at


@dataclass(slots=True)
class Fold:
    """The state of all keys; `add` takes the events in order of arrival."""

    memberships: dict[tuple[str, int, str], Membership] = field(default_factory=dict)

    def add(self, event: Event) -> Outcome:
        """Fold one event in and say what it did."""
        known = self.memberships.get(event.key)
        outcome = judge(known, event)
        state = known or self.memberships.setdefault(event.key, Membership(newest=event))
        late = outcome.outcome == "late"
        state.events += 1
        if not event.remove and (state.first is None or event.occurred_at < state.first):
            state.first = event.occurred_at
        if event.value is not None and (state.value_at is None or event.occurred_at >= state.value_at):
            state.value, state.value_at = event.value, event.occurred_at
        if not late:
            state.newest = event
            state.member = not event.remove
            state.changed = outcome.outcome in ("joined", "rejoined", "left")
        return outcome

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Each membership: user_id, vendor, segment_name, member, first, last, value, changed, events."""
        for key, state in sorted(self.memberships.items()):
            yield (*key, state.member, state.first, state.last, state.value, state.changed, state.events)


def judge(known: Membership | None, event: Event) -> Outcome:
    """What the event does to its key, given the state before it."""
    if known is None:
        return Outcome("absent" if event.remove else "joined", None)
    if event.occurred_at < known.last:
        return Outcome("late", None)
    if known.member != event.remove:
        return Outcome("repeat", known.newest)
    if event.remove:
        return Outcome("left", known.newest)
    return Outcome("joined" if known.first is None else "rejoined", known.newest)
