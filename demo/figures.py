"""The figures on the screen, read from the database as segment_reader; what grows without end is read from where it was left."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString, cast

import psycopg

from demo.calls import Counters

BATCHES = "select count(*), coalesce(sum(events), 0)::bigint, coalesce(sum(events - outcomes), 0)::bigint from segment_batches"

OUTCOMES = "select outcome, count(*), max(seq) from segment_outcomes where seq > %s group by outcome"

MEMBERSHIPS = "select count(*), count(*) filter (where member) from segment_memberships"

REJECTS = "select count(*) from segment_rejects"


@dataclass(frozen=True)
class Reading:
    """What the tables say at one moment, and what was sent before it."""

    sent: int
    events: int
    events_per_second: float
    batches: int
    memberships: int
    members: int
    rejects: int
    outcomes: Mapping[str, int]
    delivered: int
    calls_per_second: float
    documents_per_call: float

    @property
    def on_their_way(self) -> int:
        """How many events were sent and are not reduced."""
        return max(0, self.sent - self.events - self.rejects)

    @property
    def toggles(self) -> int:
        """How many there are to deliver."""
        return self.outcomes.get("left", 0) + self.outcomes.get("rejoined", 0)


class Figures:
    """A connection for reading; the demo's loader has one lane, so seq grows in the order of commits."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._outcomes: Counter[str] = Counter()
        self._last_seq = -1
        self._events = 0
        self._counters = Counters()
        self._read_at = time.monotonic()

    def __enter__(self) -> "Figures":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def read(self, sent: int, counters: Counters) -> Reading:
        """Read everything anew, in one snapshot; `sent` and the receiver's counters were read before."""
        with self._connection.transaction():
            self._connection.execute("set transaction isolation level repeatable read read only")
            batches, events, repeats = self._one(BATCHES)
            memberships, members = self._one(MEMBERSHIPS)
            (rejects,) = self._one(REJECTS)
            self._count_outcomes()
        seconds = self._since_last()
        rate = (events - self._events) / seconds
        calls, documents = counters.accepted - self._counters.accepted, counters.documents - self._counters.documents
        self._events, self._counters = events, counters
        outcomes = {**self._outcomes, "repeat": repeats}
        return Reading(
            sent, events, rate, batches, memberships, members, rejects, outcomes,
            counters.documents, calls / seconds, documents / calls if calls else 0.0,
        )  # fmt: skip

    def _one(self, query: LiteralString) -> tuple[int, ...]:
        (row,) = self._connection.execute(query).fetchall()
        return cast(tuple[int, ...], row)

    def _count_outcomes(self) -> None:
        rows = self._connection.execute(OUTCOMES, [self._last_seq]).fetchall()
        self._outcomes.update({outcome: count for outcome, count, _ in rows})
        self._last_seq = max((last_seq for _, _, last_seq in rows), default=self._last_seq)

    def _since_last(self) -> float:
        """Seconds since the last reading."""
        now = time.monotonic()
        seconds, self._read_at = max(now - self._read_at, 0.001), now
        return seconds
