"""The demo's closing check: are all events in the table, is every membership the fold's, every toggle at the webhook once?"""

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from demo.fold import Event, Fold

EVENTS = "select event_id::text, occurred_at, user_id, vendor, segment_name, value, remove from segment_events"

MEMBERSHIPS = "select user_id, vendor, segment_name, member, first, last, value, changed, events from segment_memberships"

TOGGLES = """
select
  event_id::text, occurred_at, user_id, vendor, segment_name, value, remove,
  previous_event_id::text, previous_occurred_at, user_id, vendor, segment_name, previous_value, not remove
from segment_toggles
"""

COUNT_TOGGLES = "select count(*) from segment_toggles"


class Agreement(NamedTuple):
    """How many there are, expected or found, and how many are both."""

    all: int
    right: int

    @classmethod
    def of(cls, expected: Iterable[Hashable], found: Iterable[Hashable]) -> "Agreement":
        """Compare, the same twice being two."""
        wanted, got = Counter(expected), Counter(found)
        return cls((wanted | got).total(), (wanted & got).total())


@dataclass(frozen=True)
class Result:
    """How many of each are right, of how many."""

    events: Agreement
    memberships: Agreement
    toggles: Agreement
    lake: Agreement

    def right(self) -> bool:
        """Whether all are, and there were events."""
        agreements = (self.events, self.memberships, self.toggles, self.lake)
        return self.events.all > 0 and all(found.all == found.right for found in agreements)

    def sentence(self) -> str:
        """For people."""
        return (
            f"{self.events.right:,} of {self.events.all:,} events are in segment_events, "
            f"{self.memberships.right:,} of {self.memberships.all:,} memberships equal the fold, and "
            f"{self.toggles.right:,} of {self.toggles.all:,} toggles reached the webhook, each once; "
            f"{self.lake.right:,} of {self.lake.all:,} events are in the lake."
        )


def count_toggles(connection: psycopg.Connection[Any]) -> int:
    """How many toggles there are."""
    ((count,),) = connection.execute(COUNT_TOGGLES).fetchall()
    return int(count)


def compare(
    connection: psycopg.Connection[Any], lines: Iterable[bytes], documents: Iterable[Mapping[str, Any]], lake: Iterable[bytes]
) -> Result:
    """Fold the lines, in order, and count what the tables and the lake have of that, and the webhook of the tables' toggles."""
    events = list(dict.fromkeys(parse(json.loads(line)) for line in lines))  # a line that came before is a duplicate
    fold = Fold()
    for event in events:
        fold.add(event)
    return Result(
        Agreement.of(events, connection.execute(EVENTS).fetchall()),
        Agreement.of(fold.rows(), connection.execute(MEMBERSHIPS).fetchall()),
        Agreement.of(connection.execute(TOGGLES).fetchall(), map(parse_toggle, documents)),
        Agreement.of(events, (parse(json.loads(line)) for line in lake)),
    )


def parse_toggle(document: Mapping[str, Any]) -> tuple[object, ...]:
    """A document as the row of TOGGLES that it should come from."""
    return (*parse(document), *parse(document["previous"]))


def parse(fields: Mapping[str, Any]) -> Event:
    """A generated line, or a document, as an event."""
    segment = fields["segment"]
    return Event(
        fields["event"], datetime.fromisoformat(fields["timestamp"]), fields["user"], segment["vendor"], segment["name"],
        fields.get("value"), fields.get("remove", False),
    )  # fmt: skip
