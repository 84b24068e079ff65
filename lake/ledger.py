"""What the database knows of a lake: how far it has come, and the files that it consists of.

A fragment is recorded before it is in place, in the transaction that says which batches are on their way, and marked in the
transaction that says that the lake has them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from psycopg.types.multirange import Int8Multirange
from psycopg.types.range import Int8Range

from lake.database import one
from lake.errors import LakeMoved, NotExported, OtherFormat
from loader.database import Connection

BEGIN = """
insert into lake_destinations (destination, format, system_identifier)
select %s, %s, system_identifier from segment_settings
on conflict do nothing
"""

KNOWN = """
select format, xact_id::text, batch_id, until_xact_id::text, until_batch_id from lake_destinations where destination = %s
"""

# From where this export knows it to be: two exports would otherwise overtake each other.
ANNOUNCE = """
update lake_destinations
set until_xact_id = %s::xid8, until_batch_id = %s, updated_at = now()
where destination = %s and (xact_id, batch_id) = (%s::xid8, %s)
"""

FORGET = "delete from lake_fragments where destination = %s and written_at is null"

RECORD = """
insert into lake_fragments (destination, path, batches, rows, bytes, checksum) values (%s, %s, %s, %s, %s, %s)
"""

ADVANCE = """
update lake_destinations
set xact_id = until_xact_id, batch_id = until_batch_id, until_xact_id = null, until_batch_id = null, updated_at = now()
where destination = %s and (until_xact_id, until_batch_id) = (%s::xid8, %s)
"""

MARK = "update lake_fragments set written_at = now() where destination = %s and written_at is null"

PATHS = "select path from lake_fragments where destination = %s"

UNWRITTEN = "select path from lake_fragments where destination = %s and written_at is null order by path"

FRAGMENTS = """
select path, rows, bytes, checksum, written_at is not null from lake_fragments where destination = %s order by path
"""


DESTINATIONS = "select destination, format from lake_destinations order by destination"

# A file without some of its events has the same batches, so that each batch stays in some file.
RECORD_INSTEAD = """
insert into lake_fragments (destination, path, batches, rows, bytes, checksum)
select destination, %s, batches, %s, %s, %s from lake_fragments where destination = %s and path = %s
on conflict do nothing
"""

TO_REMOVE = "insert into lake_removals (destination, path) values (%s, %s) on conflict do nothing"
REMOVED = "delete from lake_removals where destination = %s and path = %s"
REMOVALS = "select path from lake_removals where destination = %s order by path"
FORGET_FILE = "delete from lake_fragments where destination = %s and path = %s"
MARK_FILE = "update lake_fragments set written_at = now() where destination = %s and path = %s"


class Position(NamedTuple):
    """A batch in the order in which batches are exported; all up to it are meant."""

    xact_id: int
    batch_id: int


class Progress(NamedTuple):
    """How far a lake has come: it has all up to `position`; up to `until` fragments may be in place."""

    position: Position
    until: Position | None


class Fragment(NamedTuple):
    """A file of the lake."""

    path: str
    batches: list[int]
    rows: int
    size: int
    checksum: bytes


class Recorded(NamedTuple):
    """What is recorded of a file; `written`: it is known to be there."""

    path: str
    rows: int
    size: int
    checksum: bytes
    written: bool


def find(connection: Connection, destination: str, form: str | None) -> Progress | None:
    """How far a destination has come; None: nothing was ever exported to it. Raise where this cannot be gone on from."""
    row = one(connection, KNOWN, destination)
    if row is None:
        return None
    known, xact_id, batch_id, until_xact_id, until_batch_id = row
    if form not in (None, known):
        raise OtherFormat(f"{destination} holds {known}: choose --format {known}, or another destination.")
    until = None if until_batch_id is None else Position(int(until_xact_id), until_batch_id)
    return Progress(Position(int(xact_id), batch_id), until)


def exported(progress: Progress | None) -> bool:
    """Whether the lake has files, or may have."""
    return bool(progress and (progress.position.batch_id or progress.until))


def begin(connection: Connection, destination: str, form: str) -> None:
    """Record a destination to which nothing was exported yet, unless it is recorded."""
    connection.execute(BEGIN, [destination, form])


def unwritten(connection: Connection, destination: str) -> set[str]:
    """The files that are recorded and perhaps not there."""
    return {str(path) for (path,) in connection.execute(UNWRITTEN, [destination])}


def paths(connection: Connection, destination: str) -> set[str]:
    """Every file that is recorded, there or not."""
    return {str(path) for (path,) in connection.execute(PATHS, [destination])}


def announce(
    connection: Connection, destination: str, position: Position, until: Position, fragments: Sequence[Fragment]
) -> None:
    """Record what is about to be put in place, and nothing else that is."""
    with connection.transaction():
        if connection.execute(ANNOUNCE, [str(until.xact_id), until.batch_id, destination, *as_text(position)]).rowcount != 1:
            raise LakeMoved
        connection.execute(FORGET, [destination])
        with connection.cursor() as cursor:
            cursor.executemany(RECORD, [recorded(destination, fragment) for fragment in fragments])


def advance(connection: Connection, destination: str, until: Position) -> None:
    """Record that everything announced is in place."""
    with connection.transaction():
        if connection.execute(ADVANCE, [destination, *as_text(until)]).rowcount != 1:
            raise LakeMoved
        connection.execute(MARK, [destination])


def fragments(connection: Connection, destination: str) -> list[Recorded]:
    """Every file that is recorded."""
    if one(connection, KNOWN, destination) is None:
        raise NotExported
    return [Recorded(*row) for row in connection.execute(FRAGMENTS, [destination])]  # type: ignore[arg-type]


def as_text(position: Position) -> tuple[str, int]:
    """A position as parameters: xid8 is read from text."""
    return str(position.xact_id), position.batch_id


def recorded(destination: str, fragment: Fragment) -> tuple[object, ...]:
    """A fragment as lake_fragments has it."""
    batches = Int8Multirange([Int8Range(batch, batch + 1) for batch in fragment.batches])
    return destination, fragment.path, batches, fragment.rows, fragment.size, fragment.checksum


def destinations(connection: Connection) -> list[tuple[str, str]]:
    """Every lake that is known, and its format."""
    return [(str(name), str(form)) for name, form in connection.execute(DESTINATIONS)]


def record_instead(connection: Connection, destination: str, old: str, new: Fragment) -> None:
    """Record a file that is about to be put in place instead of another, which has the same batches."""
    connection.execute(RECORD_INSTEAD, [new.path, new.rows, new.size, new.checksum, destination, old])


def replaced(connection: Connection, destination: str, old: str, new: str | None) -> None:
    """Record that a file is in place instead of another, or that nothing is, and that the other one is to be removed."""
    with connection.transaction():
        connection.execute(TO_REMOVE, [destination, old])
        connection.execute(FORGET_FILE, [destination, old])
        connection.execute(MARK_FILE, [destination, new])


def removals(connection: Connection, destination: str) -> list[str]:
    """Files that were replaced and may be there still."""
    return [str(path) for (path,) in connection.execute(REMOVALS, [destination])]


def removed(connection: Connection, destination: str, path: str) -> None:
    """Record that a replaced file is gone."""
    connection.execute(REMOVED, [destination, path])
