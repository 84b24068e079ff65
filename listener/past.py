"""Toggles read from the tables, in the order in which they were recorded: by arrival of the batch, then seq.

Those from before the slot are its past: their batch's transaction is visible in the snapshot with which the slot was made; the
stream brings the others. Read in pages, each a short transaction, so that a slow receiver keeps no snapshot open.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, cast

from psycopg.pq.abc import PGresult

from listener.cursor import Cursor
from listener.database import Connection, Database, only
from listener.delivery import Delivery
from listener.toggles import Row, document, fitting

OUTCOMES = {"segment_toggles": ["left", "rejoined"], "segment_changes": ["left", "rejoined", "joined", "absent"]}
"""What each publication's row filter lets through."""

WANTED = """
(
  %(only)s::text[] = '{}' or 'vendor=' || vendor = any (%(only)s::text[])
  or 'segment=' || vendor || '/' || segment_name = any (%(only)s::text[])
)
"""
"""What listener run --only lets through."""

PAGE = 20_000
"""About how many rows are read at a time."""

ROWS = 500
"""How many are made into documents before other work has its turn: the next page is asked for, the stream is kept alive."""

FIRST = """
select coalesce(min(arrival + 0), 0) from segment_batches
where xact_id >= coalesce(pg_snapshot_xmin(%(base)s::pg_snapshot), '0')
  and recorded_at >= coalesce(%(since)s::timestamptz, '-infinity')
"""
"""Where to begin; + 0 keeps the planner from looking for it batch by batch from the very first on."""

BATCHES = """
select b.arrival, b.batch_id, greatest(b.first_seq, d.last_seq + 1), b.last_seq, b.recorded_at
from segment_batches b
left join webhook_delivered d on d.batch_id = b.batch_id and d.slot = %(slot)s
where b.arrival >= %(arrival)s and b.outcomes > 0 and b.last_seq > coalesce(d.last_seq, 0)
  and pg_visible_in_snapshot(b.xact_id, %(snapshot)s::pg_snapshot)
  and pg_visible_in_snapshot(b.xact_id, %(base)s::pg_snapshot) is not true
  and b.recorded_at >= coalesce(%(since)s::timestamptz, '-infinity')
  and b.recorded_at < coalesce(%(until)s::timestamptz, 'infinity')
order by b.arrival
limit 1000
"""

TOGGLES = f"""
select {", ".join(f"o.{name}" for name in Row._fields)}, extract(epoch from o.recorded_at)::float8
from unnest(%(arrivals)s::bigint[], %(batch_ids)s::bigint[], %(firsts)s::bigint[], %(lasts)s::bigint[], %(times)s::timestamptz[])
  b (arrival, batch_id, first_seq, last_seq, recorded_at)
join segment_outcomes o on o.batch_id = b.batch_id and o.recorded_at = b.recorded_at and o.seq between b.first_seq and b.last_seq
where o.outcome = any (%(outcomes)s)
  and o.recorded_at between %(first_time)s and %(last_time)s
  and o.seq between %(first_seq)s and %(last_seq)s
  and {WANTED}
  and o.user_id = coalesce(%(user)s::text, o.user_id)
order by b.arrival, o.seq
"""  # noqa: S608 - names of columns


@dataclass(frozen=True)
class Selection:
    """Which toggles: what `snapshot` sees and `base` does not, but for what is noted as delivered to `slot`; narrowed further by
    what `only` names as listener run does, a user, and the time of recording, from `since` on and before `until`."""

    outcomes: Sequence[str]
    snapshot: str
    slot: str = ""
    base: str | None = None
    only: Sequence[str] = ()
    user: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def past(cls, cursor: Cursor) -> "Selection":
        """What is undelivered of a cursor's past."""
        return cls(OUTCOMES[cursor.publication], cursor.snapshot or "", cursor.slot, cursor.base, cursor.only)

    @property
    def values(self) -> dict[str, object]:
        """As the queries take it."""
        return vars(self) | {"only": list(self.only), "outcomes": list(self.outcomes)}


class Piece(NamedTuple):
    """A batch, or a part of a large one."""

    arrival: int
    batch_id: int
    first_seq: int
    last_seq: int
    recorded_at: datetime


class Recorded(NamedTuple):
    """A document, its batch and seq, and when it was recorded."""

    document: bytes
    batch_id: int
    seq: int
    recorded_at: datetime


async def pages(database: Database, selection: Selection) -> AsyncIterator[PGresult]:
    """What is selected, page after page."""
    (arrival,) = await database.run(lambda c: only(c, FIRST, **selection.values))
    while pieces := [Piece(*row) for row in await database.run(lambda c: rows(c, selection.values | {"arrival": arrival}))]:  # type: ignore[arg-type]  # noqa: B023
        for page in grouped(cut(pieces)):
            yield await database.run(lambda c: read(c, page, selection))  # noqa: B023
        arrival = pieces[-1].arrival + 1


async def batches(
    pages: AsyncIterator[PGresult], with_outcome: bool, most: int, delivery: Delivery
) -> AsyncGenerator[list[Recorded]]:
    """The pages cut into what one call can hold; the next page is read while the one before it is being delivered."""
    waiting: list[Recorded] = []
    coming = asyncio.ensure_future(anext(pages, None))
    try:
        while (page := await coming) is not None:
            coming = asyncio.ensure_future(anext(pages, None))
            for first in range(0, page.ntuples, ROWS):
                waiting += recorded(page, range(first, min(first + ROWS, page.ntuples)), with_outcome)
                await asyncio.sleep(0)
            while len(waiting) >= most:
                yield take(waiting, most, delivery.most_bytes)
        while waiting:
            yield take(waiting, most, delivery.most_bytes)
    finally:
        coming.cancel()
        await asyncio.wait([coming])


def take(waiting: list[Recorded], most_documents: int, most_bytes: int) -> list[Recorded]:
    """Remove what fits into one body from the front."""
    count = fitting([recorded.document for recorded in waiting], most_documents, most_bytes)
    taken = waiting[:count]
    del waiting[:count]
    return taken


def cut(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Large batches in parts."""
    for piece in pieces:
        for start in range(piece.first_seq, piece.last_seq + 1, PAGE):
            yield piece._replace(first_seq=start, last_seq=min(piece.last_seq, start + PAGE - 1))


def grouped(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Pieces together, as long as they are about a page."""
    group: list[Piece] = []
    size = 0
    for piece in pieces:
        group.append(piece)
        size += piece.last_seq - piece.first_seq + 1
        if size >= PAGE:
            yield group
            group, size = [], 0
    if group:
        yield group


async def rows(connection: Connection, values: dict[str, object]) -> list[tuple[object, ...]]:
    """The next batches."""
    return await (await connection.execute(BATCHES.encode(), values)).fetchall()


async def read(connection: Connection, page: list[Piece], selection: Selection) -> PGresult:
    """The toggles of a page. The values stay as the server wrote them, as they do in the stream."""
    arrivals, batch_ids, firsts, lasts, times = (list(column) for column in zip(*page, strict=True))
    values = {"arrivals": arrivals, "batch_ids": batch_ids, "firsts": firsts, "lasts": lasts, "times": times}
    bounds = {"first_time": min(times), "last_time": max(times), "first_seq": min(firsts), "last_seq": max(lasts)}
    cursor = await connection.execute(TOGGLES.encode(), selection.values | values | bounds)
    return cast(PGresult, cursor.pgresult)


def recorded(page: PGresult, numbers: Iterable[int], with_outcome: bool) -> list[Recorded]:
    """The documents of these rows of a page."""
    columns = range(page.nfields)
    value = page.get_value
    found = []
    for number in numbers:
        *values, seconds = [value(number, column) for column in columns]
        row = Row(*values)  # type: ignore[arg-type]
        found.append(
            Recorded(
                document(row, with_outcome), int(row.batch_id), int(row.seq), datetime.fromtimestamp(float(seconds or b""), UTC)
            )
        )
    return found
