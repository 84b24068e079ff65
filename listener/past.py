"""Toggles from before the slot, read from the tables in the order in which they were recorded: by arrival of the batch, then seq.

A toggle belongs to the past if its batch's transaction is visible in the snapshot with which the slot was made; the stream brings
the others. Read in pages, each a short transaction, so that a slow receiver keeps no snapshot open.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from typing import NamedTuple, cast

from psycopg.pq.abc import PGresult

from listener.cursor import Cursor
from listener.database import Connection, Database
from listener.delivery import Delivery
from listener.toggles import Row, document, fitting

OUTCOMES = {"segment_toggles": ["left", "rejoined"], "segment_changes": ["left", "rejoined", "joined", "absent"]}
"""What each publication's row filter lets through."""

PAGE = 20_000
"""About how many rows are read at a time."""

ROWS = 500
"""How many are made into documents before other work has its turn: the next page is asked for, the stream is kept alive."""

BATCHES = """
select arrival, batch_id, first_seq, last_seq, recorded_at
from segment_batches
where arrival >= %s and outcomes > 0 and pg_visible_in_snapshot(xact_id, %s::pg_snapshot)
order by arrival
limit 1000
"""

TOGGLES = f"""
select b.arrival, {", ".join(f"o.{name}" for name in Row._fields)}
from unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::timestamptz[])
  b (arrival, batch_id, first_seq, last_seq, recorded_at)
join segment_outcomes o on o.batch_id = b.batch_id and o.recorded_at = b.recorded_at and o.seq between b.first_seq and b.last_seq
where o.outcome = any (%s) and o.recorded_at between %s and %s and o.seq between %s and %s
order by b.arrival, o.seq
"""  # noqa: S608 - names of columns


class Piece(NamedTuple):
    """A batch, or a part of a large one."""

    arrival: int
    batch_id: int
    first_seq: int
    last_seq: int
    recorded_at: object


class Recorded(NamedTuple):
    """A document and its place in the order of recording."""

    arrival: int
    seq: int
    document: bytes


async def pages(database: Database, cursor: Cursor) -> AsyncIterator[PGresult]:
    """What is after the cursor of the past, page after page."""
    arrival, seq = cursor.arrival, cursor.seq
    outcomes = OUTCOMES[cursor.publication]
    while pieces := [Piece(*row) for row in await database.run(lambda c: rows(c, BATCHES, arrival, cursor.snapshot))]:  # type: ignore[arg-type]  # noqa: B023
        for page in grouped(cut(pieces, arrival, seq)):
            yield await database.run(lambda c: read(c, page, outcomes))  # noqa: B023
        arrival, seq = pieces[-1].arrival + 1, 0


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


def cut(pieces: Iterable[Piece], arrival: int, seq: int) -> Iterator[Piece]:
    """The batches from after (arrival, seq) on, large ones in parts."""
    for piece in pieces:
        first = max(piece.first_seq, seq + 1) if piece.arrival == arrival else piece.first_seq
        for start in range(first, piece.last_seq + 1, PAGE):
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


async def rows(connection: Connection, query: str, *values: object) -> list[tuple[object, ...]]:
    """All rows of a query."""
    return await (await connection.execute(query.encode(), values)).fetchall()


async def read(connection: Connection, page: list[Piece], outcomes: list[str]) -> PGresult:
    """The toggles of a page. The values stay as the server wrote them, as they do in the stream."""
    times = [piece.recorded_at for piece in page]
    seqs = min(piece.first_seq for piece in page), max(piece.last_seq for piece in page)
    columns = [list(column) for column in zip(*page, strict=True)]
    cursor = await connection.execute(TOGGLES.encode(), [*columns, outcomes, min(times), max(times), *seqs])  # type: ignore[type-var]
    return cast(PGresult, cursor.pgresult)


def recorded(page: PGresult, numbers: Iterable[int], with_outcome: bool) -> list[Recorded]:
    """The documents of these rows of a page."""
    columns = range(page.nfields)
    value = page.get_value
    found = []
    for number in numbers:
        arrival, *values = [value(number, column) for column in columns]
        row = Row(*values)  # type: ignore[arg-type]
        found.append(Recorded(int(arrival or b""), int(row.seq), document(row, with_outcome)))
    return found
