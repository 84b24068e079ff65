"""The events of a cut, in order of the files that they go to and within a file of (arrival, seq).

The server sorts, on its disk where need be, and formats the lines: so one file is written at a time, and memory is bounded
whatever the size, at half of the wall-clock that formatting here would take.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, NamedTuple

from lake.cut import Cut, bounded
from lake.layout import Place
from loader.database import Connection

# No nested loops: the statistics of a day that has just begun are not to be trusted.
SETTINGS = "set local work_mem = '128MB'; set local enable_nestloop = off"

EVENTS = """
from segment_events e join segment_batches b using (batch_id)
where ({ranges}) and (b.xact_id, b.batch_id) > (%s::xid8, %s) and (b.xact_id, b.batch_id) <= (%s::xid8, %s)
order by e.vendor, 2, 3, b.arrival, e.seq
"""

PLACE = "e.vendor, to_char(b.recorded_at, 'YYYY-MM-DD'), to_char(b.recorded_at, 'HH24'), e.batch_id, e.seq"

# The contract's fields in its order, then those that it does not name, then _meta. jsonb's text is valid JSON, numbers exact.
LINE = """
'{"event":"' || e.event_id
|| '","timestamp":"' || to_char(e.occurred_at, 'YYYY-MM-DD"T"HH24:MI:SS')
|| case when e.occurred_at = date_trunc('second', e.occurred_at) then '' else to_char(e.occurred_at, '.US') end
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

# In JSON no control character stands for itself, so CSV quotes nothing where these separate and quote.
LINES = f"copy (select {PLACE}, {LINE} {EVENTS}) to stdout with (format csv, delimiter e'\\x01', quote e'\\x02')"

ROWS = f"""
select {PLACE}, e.event_id::text, e.occurred_at, e.user_id, e.segment_name, e.value, e.remove, e.extra::text, b.arrival {EVENTS}
"""

ROWS_AT_A_TIME = 5_000
"""How many rows the server hands over at a time."""


class Event(NamedTuple):
    """An event on its way to a file."""

    place: Place
    batch_id: int
    seq: int
    content: Any
    """Of jsonl.gz the line with its line end, of parquet the values of the columns that `fragment.SCHEMA` has."""


_EVENT = partial(tuple.__new__, Event)  # rather than Event(…): half the time


@contextmanager
def lines(connection: Connection, chosen: Cut) -> Iterator[Iterator[Event]]:
    """The events as lines."""
    query, values = bounded(LINES, chosen)
    with connection.transaction(), connection.cursor() as cursor:
        connection.execute(SETTINGS)
        with cursor.copy(query.encode(), values) as copy:
            yield map(line, copy)


def line(row: Any) -> Event:
    """A row of LINES; as COPY hands it over it is a row of its own."""
    vendor, day, hour, batch_id, seq, text = bytes(row).split(b"\x01", 5)
    return _EVENT((place(vendor, day, hour), int(batch_id), int(seq), text))


@lru_cache
def place(vendor: bytes, day: bytes, hour: bytes) -> Place:
    """The place that these stand for, the same object as before: most events have that of the one before."""
    return Place(int(vendor), day.decode(), hour.decode())


@contextmanager
def rows(connection: Connection, chosen: Cut) -> Iterator[Iterator[Event]]:
    """The events as columns."""
    query, values = bounded(ROWS, chosen)
    with connection.transaction():
        connection.execute(SETTINGS)
        with connection.cursor("lake", binary=True) as cursor:
            cursor.itersize = ROWS_AT_A_TIME
            cursor.execute(query.encode(), values)
            yield map(columns, cursor)


def columns(row: tuple[Any, ...]) -> Event:
    """A row of ROWS."""
    vendor, day, hour, batch_id, seq, event, timestamp, user, name, value, remove, extra, arrival = row
    segment = {"vendor": vendor, "name": name}
    return Event(Place(vendor, day, hour), batch_id, seq, (event, timestamp, user, segment, value, remove, extra, arrival, seq))
