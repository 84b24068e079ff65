"""The demo's closing check: is every event that was generated in the table, and does every membership equal the fold?"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from demo.fold import Event, Fold

EVENTS = "select event_id::text, occurred_at, user_id, vendor, segment_name, value, remove from segment_events"

MEMBERSHIPS = "select user_id, vendor, segment_name, member, first, last, value, changed, events from segment_memberships"


@dataclass(frozen=True)
class Result:
    """How many of each are right, of how many."""

    events: int
    events_right: int
    memberships: int
    memberships_right: int

    def right(self) -> bool:
        """Whether all are."""
        return self.events > 0 and self.events == self.events_right and self.memberships == self.memberships_right

    def sentence(self) -> str:
        """For people."""
        return (
            f"{self.events_right:,} of {self.events:,} events are in segment_events, and "
            f"{self.memberships_right:,} of {self.memberships:,} memberships equal the fold."
        )


def compare(connection: psycopg.Connection[Any], lines: Iterable[bytes]) -> Result:
    """Fold the lines, in order, and count what the tables have of that; a row too many counts as one that is not right."""
    events = [parse(line) for line in lines]
    fold = Fold()
    for event in events:
        fold.add(event)
    event_rows = set(connection.execute(EVENTS).fetchall())
    membership_rows = set(connection.execute(MEMBERSHIPS).fetchall())
    return Result(*agreement(set(events), event_rows), *agreement(set(fold.rows()), membership_rows))


def agreement(expected: set[Any], found: set[Any]) -> tuple[int, int]:
    """How many there are, expected or found, and how many are both."""
    return len(expected | found), len(expected & found)


def parse(line: bytes) -> Event:
    """A generated line as an event."""
    fields = json.loads(line)
    segment = fields["segment"]
    return Event(
        fields["event"], datetime.fromisoformat(fields["timestamp"]), fields["user"], segment["vendor"], segment["name"],
        fields.get("value"), fields.get("remove", False),
    )  # fmt: skip
