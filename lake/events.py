"""The events of a cut, in order of the files that they go to and within a file of (arrival, seq).

The server sorts, on its disk where need be, and formats the lines: so one file is written at a time, and memory is bounded
whatever the size. What is sorted by are numbers, for a place and an hour are those of the batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, NamedTuple

import psycopg

from lake.cut import EVENTS, ORDER, SETTINGS, Cut, bounded
from lake.layout import Place
from loader.database import Connection

# The contract's fields in its order, then those that it does not name, then _meta. jsonb's text is valid JSON, numbers exact;
# a time's zone, +00:00, is written as Z.
LINE = """
'{"event":"' || e.event_id
|| '","timestamp":' || left(to_json(e.occurred_at)::text, -7)
|| 'Z","user":' || to_json(e.user_id)
|| ',"segment":{"vendor":' || e.vendor || ',"name":' || to_json(e.segment_name)
|| case when e.extra ? 'segment' and e.extra -> 'segment' <> '{}' then ',' || substr((e.extra -> 'segment')::text, 2) else '}' end
|| coalesce(',"value":' || to_json(e.value), '')
|| case when e.remove then ',"remove":true' else '' end
|| case
  when e.extra - 'segment' - '_meta' <> '{}' then ',' || substr(left((e.extra - 'segment' - '_meta')::text, -1), 2)
  else ''
end
|| ',"_meta":{"arrival":' || b.arrival || ',"seq":' || e.seq
|| case when e.extra ? '_meta' then ',"event":' || (e.extra -> '_meta')::text else '' end || '}}'
"""

COLUMNS = "e.event_id, e.occurred_at, e.user_id, e.vendor, e.segment_name, e.value, e.remove, e.extra, b.arrival, e.seq"

# In JSON no control character stands for itself, so nothing of a line needs quotes when these separate and quote.
FORMS = {"jsonl.gz": (LINE, "delimiter e'\\x01', quote e'\\x02'"), "parquet": (COLUMNS, "delimiter e'\\x01'")}

COPY = """
copy (select e.vendor || ' ' || b.rank, e.seq, {content} {events} order by {order})
to stdout with (format csv, {options})
"""

ROWS = 25
PORTION = 1 << 20
"""How many rows go from hand to hand, or of long ones about as many as have so many bytes."""


class Chunk(NamedTuple):
    """Some events on their way to a file, all of one batch."""

    place: Place
    batch_id: int
    first_seq: int
    last_seq: int
    rows: list[bytes]
    """Of jsonl.gz the lines, of parquet rows of CSV with the fields of COLUMNS; each with its line end."""


@contextmanager
def chunks(connection: Connection, chosen: Cut, form: str) -> Iterator[Iterator[Chunk]]:
    """The events of a cut as `form` needs them."""
    content, options = FORMS[form]
    query, values = bounded(
        COPY.replace("{events}", EVENTS).replace("{order}", ORDER).replace("{content}", content).replace("{options}", options),
        chosen,
    )
    with lost_as_lost(connection), connection.transaction(), connection.cursor() as cursor:
        connection.execute(SETTINGS)
        with cursor.copy(query.encode(), values) as copy:
            yield gathered(map(split, copy), chosen)


@contextmanager
def lost_as_lost(connection: Connection) -> Iterator[None]:
    """Have a connection that is lost be an OperationalError: when COPY ends with two errors, psycopg takes it for misuse."""
    try:
        yield
    except psycopg.ProgrammingError as error:
        if not connection.closed:
            raise
        raise psycopg.OperationalError("the connection was lost") from error


def split(row: Any) -> list[bytes]:
    """A row of COPY: whose it is, its seq, and its content; as COPY hands it over it is a row of its own."""
    return bytes(row).split(b"\x01", 2)


def gathered(rows: Iterator[list[bytes]], chosen: Cut) -> Iterator[Chunk]:
    """Rows of COPY as chunks."""
    many = 1
    for head, run in groupby(rows, itemgetter(0)):
        vendor, rank = map(int, head.split(b" "))
        batch = chosen.batches[rank - 1]
        place = Place(vendor, *batch.received.split(" "))
        while some := list(islice(run, many)):
            many = min(ROWS, PORTION // len(some[-1][2]) + 1)
            yield Chunk(place, batch.batch_id, int(some[0][1]), int(some[-1][1]), [row[2] for row in some])
