"""Which batches are exported next: in order of their transactions, and only those of which no older one can appear any more.

A batch is safe when its transaction is older than the oldest one running: whatever is below that is over, and there to be seen.
So what a position in that order has passed is final, while loaders run, and nothing is open in between.
"""

from bisect import bisect_left
from itertools import accumulate
from typing import NamedTuple

from lake.database import one
from lake.layout import ranges
from lake.ledger import Position, as_text
from loader.database import Connection

MOST_EVENTS = 1_000_000
"""After how many events a cut ends. A batch is not divided."""

MOST_BATCHES = 10_000
MOST_RANGES = 20
LEAST_ROWS = 10_000
"""How many events a file should have, on average, lest a slow stream shatters into small ones."""

# In an order by, xact_id alone would be the text of it.
BATCHES = """
select
  b.xact_id::text, b.batch_id, b.arrival, b.events, to_char(b.recorded_at, 'YYYY-MM-DD HH24'),
  extract(epoch from clock_timestamp() - b.recorded_at)::float, b.first_seq
from segment_batches b
where (b.xact_id, b.batch_id) > (%s::xid8, %s) and {until}
order by b.xact_id, b.batch_id
"""

SAFE = BATCHES.format(until="b.xact_id < pg_snapshot_xmin(pg_current_snapshot()) and b.xact_id <= %s::xid8") + "limit %s"
PLANNED = BATCHES.format(until="(b.xact_id, b.batch_id) <= (%s::xid8, %s)")

LAST = "select b.xact_id::text, b.batch_id from segment_batches b order by b.xact_id desc, b.batch_id desc limit 1"

WAITING = "select coalesce(sum(b.events), 0)::bigint from segment_batches b where (b.xact_id, b.batch_id) > (%s::xid8, %s)"

PASSED = "select pg_snapshot_xmin(pg_current_snapshot()) > %s::xid8"

HELD = """
select batch_id from segment_batches where xact_id >= pg_snapshot_xmin(pg_current_snapshot()) order by xact_id, batch_id limit 1
"""

HOLDERS = """
with oldest as (select pg_snapshot_xmin(pg_current_snapshot())::xid as xid)
select format(
  'PostgreSQL''s process %s (%s, database %s)', pid, coalesce(nullif(application_name, ''), 'without a name'), datname
)
from pg_stat_activity join oldest on backend_xid = xid
union all
select format('the prepared transaction %L (database %s)', gid, database) from pg_prepared_xacts join oldest on transaction = xid
"""

EVENTS = """
from unnest(%s::bigint[], %s::bigint[], %s::text[], %s::bigint[]) with ordinality b (batch_id, arrival, received, first_seq, rank)
join segment_events e using (batch_id)
where {ranges}
"""
"""The events of a cut: the ranges let each partition use its index."""

# By vendor, batch and seq: almost always by one number alone, which is three times as fast as by three. MOST_BATCHES fit into 14
# bits; of a batch that is drawn out over more seqs than 18 bits have, the last ones are in order by the second key.
ORDER = "(e.vendor::bigint << 32) | (b.rank << 18) | least(e.seq - b.first_seq, (1 << 18) - 1), e.seq"

FILES = f"select count(*) from (select distinct e.vendor, b.received {EVENTS}) files"  # noqa: S608

# No nested loops: the statistics of a day that has just begun are not to be trusted. No parallel workers: they are the loader's.
SETTINGS = """
set local work_mem = '128MB';
set local enable_nestloop = off;
set local max_parallel_workers_per_gather = 0;
set local jit = off
"""

EVERYTHING = str(2**64 - 1)
"""Greater than any transaction's id."""


class Batch(NamedTuple):
    """A batch that is to be exported."""

    xact_id: str
    batch_id: int
    arrival: int
    events: int
    received: str
    """The UTC hour, `YYYY-MM-DD HH`."""
    age: float
    """Seconds since its transaction began."""
    first_seq: int


class Cut(NamedTuple):
    """What is exported in one go: the batches up to a position, in order of their files and within these of arrival."""

    until: Position
    batches: list[Batch]


def safe(connection: Connection, after: Position, last_xact: str = EVERYTHING) -> list[Batch]:
    """The next batches after a position that are safe, up to a transaction."""
    rows = connection.execute(SAFE, [*as_text(after), last_xact, MOST_BATCHES])
    return [Batch(*row) for row in rows]  # type: ignore[arg-type]


def cut(batches: list[Batch]) -> Cut:
    """The first of the batches, as many as make a cut."""
    sums = list(accumulate(batch.events for batch in batches))
    chosen = batches[: bisect_left(sums, MOST_EVENTS) + 1]
    return whole(chosen, Position(int(chosen[-1].xact_id), chosen[-1].batch_id))


def planned(connection: Connection, after: Position, until: Position) -> Cut:
    """The cut that was begun with these bounds; of its batches erasure may have removed some since, even all."""
    rows = connection.execute(PLANNED, [*as_text(after), *as_text(until)])
    return whole([Batch(*row) for row in rows], until)  # type: ignore[arg-type]


def whole(batches: list[Batch], until: Position) -> Cut:
    """The cut of all these batches, up to a position."""
    return Cut(until, sorted(batches, key=lambda batch: (batch.received, batch.arrival)))


def due(connection: Connection, batches: list[Batch], linger: float) -> bool:
    """Whether the batches are worth their files: by the oldest one's age, or by how many events each file would have."""
    events = sum(batch.events for batch in batches)
    if not batches:
        return False
    if events >= MOST_EVENTS or len(batches) == MOST_BATCHES or max(batch.age for batch in batches) >= linger:
        return True
    return events >= LEAST_ROWS and events >= LEAST_ROWS * files(connection, cut(batches))


def files(connection: Connection, chosen: Cut) -> int:
    """How many files a cut would make."""
    query, values = bounded(FILES, chosen)
    with connection.transaction():
        connection.execute(SETTINGS)
        found = one(connection, query, *values)
    return found[0] if found else 0


def bounded(query: str, chosen: Cut) -> tuple[str, list[object]]:
    """A query of the cut's events, with its values."""
    ids = [batch.batch_id for batch in chosen.batches]
    conditions = " or ".join(f"e.batch_id between {first} and {last}" for first, last in ranges(ids, MOST_RANGES))
    batches = chosen.batches
    values = [
        ids, [batch.arrival for batch in batches], [batch.received for batch in batches], [batch.first_seq for batch in batches]
    ]  # fmt: skip
    return query.replace("{ranges}", f"({conditions})"), values


def last_committed(connection: Connection) -> Position | None:
    """The last batch that there is at this moment."""
    row = one(connection, LAST)
    return Position(int(row[0]), row[1]) if row else None


def waiting(connection: Connection, after: Position) -> int:
    """How many events are not exported yet."""
    row = one(connection, WAITING, *as_text(after))
    return int(row[0]) if row else 0


def passed(connection: Connection, position: Position) -> bool:
    """Whether all transactions up to the position's are over."""
    row = one(connection, PASSED, str(position.xact_id))
    return bool(row and row[0])


def first_held(connection: Connection) -> int | None:
    """The first batch that is not safe yet, if there is one."""
    row = one(connection, HELD)
    return row[0] if row else None


def holders(connection: Connection) -> str:
    """Who has the oldest transaction that is still running."""
    return " and ".join(str(holder) for (holder,) in connection.execute(HOLDERS)) or "a transaction that is about to end"
