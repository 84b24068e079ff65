"""The figures that are shown, read from the database as segment_reader; what grows without end is read from where it was left.

A query whose time grows with the tables is asked again only after two hundred times as long as it took: it costs a
two-hundredth of a core at most, however much there is.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, LiteralString, NamedTuple, TypeVar, cast

import psycopg

from demo.calls import Counters

Connection = psycopg.Connection[Any]
Found = TypeVar("Found")

BATCHES = """
select
  count(*), coalesce(sum(events), 0)::bigint, coalesce(sum(events - outcomes), 0)::bigint, min(first_seq), max(last_seq),
  array_agg(batch_id), pg_snapshot_xmin(pg_current_snapshot())::text, (select xmin::text::bigint from segment_settings)
from segment_batches
where xact_id >= %s::text::xid8 and xact_id < pg_snapshot_xmin(pg_current_snapshot())
"""
"""Each batch once, whoever wrote it: those of transactions below the oldest one running. Each reset writes the settings anew."""

COUNTED = "select outcome, count(*) from segment_outcomes where seq between %s and %s and batch_id = any (%s) group by outcome"

SOURCES = """
select
  coalesce(sum(loaded + duplicates + rejected) filter (where source = 'demo'), 0)::bigint,
  coalesce(sum(duplicates), 0)::bigint, coalesce(sum(rejected), 0)::bigint
from segment_sources
"""

SIZES = """
select
  segment_name, vendor, count(*) filter (where member) as members,
  (sum(count(*)) over ())::bigint, (sum(count(*) filter (where member)) over ())::bigint
from segment_memberships
group by segment_name, vendor
order by members desc, vendor, segment_name
limit 8
"""

OUTCOMES: Final = ("joined", "rejoined", "left", "absent", "repeat", "late", "duplicate", "rejected")
"""What can come of a line."""

IDLE: Final = 200
"""For how many times as long as a query took it is not asked again."""


class Seldom(Generic[Found]):
    """A question that is asked again when its answer has become old enough for what it costs."""

    def __init__(self, ask: Callable[[Connection], Found], found: Found) -> None:
        self._ask = ask
        self.found = found
        self._due = 0.0

    def latest(self, connection: Connection) -> Found:
        """The answer, which may be of a while ago."""
        began = time.monotonic()
        if began >= self._due:
            self.found = self._ask(connection)
            ended = time.monotonic()
            self._due = ended + IDLE * (ended - began)
        return self.found


class Segment(NamedTuple):
    """A segment and its members now."""

    name: str
    vendor: int
    members: int


class Sizes(NamedTuple):
    """How many memberships there are, how many of them are of members now, and where most are."""

    memberships: int = 0
    members: int = 0
    largest: tuple[Segment, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What the tables say at one moment, and what was sent and delivered before it; rates are those since the reading before."""

    sent: int = 0
    taken: int = 0
    events: int = 0
    batches: int = 0
    sizes: Sizes = field(default_factory=Sizes)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    delivered: int = 0
    events_per_second: float = 0.0
    batches_per_second: float = 0.0
    toggles_per_second: float = 0.0
    calls_per_second: float = 0.0
    documents_per_call: float = 0.0

    @property
    def on_their_way(self) -> int:
        """How many events were sent and are neither loaded, nor duplicates, nor rejected."""
        return max(0, self.sent - self.taken)

    @property
    def toggles(self) -> int:
        """How many there are to deliver."""
        return self.outcomes.get("left", 0) + self.outcomes.get("rejoined", 0)


@dataclass
class Totals:
    """What was counted since the tables were empty."""

    events: int = 0
    batches: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def toggles(self) -> int:
        """Outcomes that are toggles."""
        return self.outcomes["left"] + self.outcomes["rejoined"]


class Figures:
    """Reads them, on whatever connection there is; `epoch` is another one after each reset of the tables."""

    def __init__(self) -> None:
        self.epoch: int | None = None
        self._totals = Totals()
        self._next_xact = "0"
        self._sizes = Seldom[Sizes](sizes, Sizes())
        self._before = Totals()
        self._counters = Counters()
        self._read_at: float | None = None

    def read(self, connection: Connection, sent: int, counters: Counters) -> Reading:
        """Read everything anew, in one snapshot; `sent` and the receiver's counters were read before."""
        with connection.transaction():
            connection.execute("set transaction isolation level repeatable read read only")
            self._count(connection)
            taken, duplicates, rejected = one(connection, SOURCES)
            found = self._sizes.latest(connection)
        seconds, before, now = self._since_last(), self._before, self._totals
        calls, documents = counters.accepted - self._counters.accepted, counters.documents - self._counters.documents
        self._before, self._counters = Totals(now.events, now.batches, now.outcomes.copy()), counters
        return Reading(
            sent=sent, taken=taken, events=now.events, batches=now.batches, sizes=found,
            outcomes=dict(now.outcomes) | {"duplicate": duplicates, "rejected": rejected}, delivered=counters.documents,
            events_per_second=(now.events - before.events) / seconds,
            batches_per_second=(now.batches - before.batches) / seconds,
            toggles_per_second=(now.toggles - before.toggles) / seconds,
            calls_per_second=calls / seconds, documents_per_call=documents / calls if calls else 0.0,
        )  # fmt: skip

    def _count(self, connection: Connection) -> None:
        """Count the batches that came since."""
        batches, events, repeats, first, last, ids, self._next_xact, epoch = one(connection, BATCHES, self._next_xact)
        if epoch != self.epoch:
            self.epoch, self._totals, self._before = epoch, Totals(), Totals()
            self._sizes = Seldom[Sizes](sizes, Sizes())
        self._totals.batches += batches
        self._totals.events += events
        if batches:
            self._totals.outcomes["repeat"] += repeats
            self._totals.outcomes.update(dict(connection.execute(COUNTED, [first, last, ids]).fetchall()))

    def _since_last(self) -> float:
        """Seconds since the last reading; without end before the first one, so that what it finds has no rate."""
        now = time.monotonic()
        seconds, self._read_at = float("inf") if self._read_at is None else max(now - self._read_at, 0.001), now
        return seconds


def one(connection: Connection, query: LiteralString, *values: object) -> tuple[Any, ...]:
    """The row of a query that always has one."""
    (row,) = connection.execute(query, values or None).fetchall()
    return cast(tuple[Any, ...], row)


def sizes(connection: Connection) -> Sizes:
    """The sizes, in one pass."""
    rows = connection.execute(SIZES).fetchall()
    if not rows:
        return Sizes()
    (*_, memberships, members) = rows[0]
    return Sizes(memberships, members, tuple(Segment(name, vendor, found) for name, vendor, found, *_ in rows if found))
