"""Where lines come from, and how far each source has been read.

A regular file has a position for each of 16 buckets of users, in the database, where it commits with the batches: whatever was
read before is skipped. Anything else (stdin, a pipe) has none, and relies on the events' identity. Of a compressed file all is
known by its uncompressed bytes, positions and fingerprint too, so that it may be compressed anew, or no more.
"""

import errno
import glob
import hashlib
import os
import select
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import cast

from psycopg.errors import LockNotAvailable

from loader.compressed import COMPRESSIONS, Compression, Unsound, measure, pieces, recognise
from loader.database import Connection
from loader.errors import BadSource, SourceBusy, SourceForgotten

BUCKETS = 16
CHUNK = 64 * 1024
FINGERPRINT = 4096

Positions = dict[int, int]

POLL_SECONDS = (0.01, 0.5)
"""How long to wait for input at a time: no less, lest it spin; no more, so that a wish to stop is noticed."""

LOCK = "select pg_advisory_lock(hashtextextended('pgsegments source ' || %s, 0))"

UNLOCK = "select pg_advisory_unlock(hashtextextended('pgsegments source ' || %s, 0))"

LOCK_SECONDS = 3
"""How long a loader that was killed may take to be gone from the server."""

HOLDER = """
with key as (select hashtextextended('pgsegments source ' || %s, 0) as id)
select pid from pg_locks, key
where locktype = 'advisory' and granted and objsubid = 1
  and database = (select oid from pg_database where datname = current_database())
  and (classid::bigint << 32 | objid::bigint) = id
"""

START = """
insert into segment_sources (source, fingerprint, fingerprint_length) values (%s, %s, %s)
on conflict (source) do update set
  fingerprint = excluded.fingerprint, fingerprint_length = excluded.fingerprint_length,
  loaded = 0, duplicates = 0, rejected = 0, suppressed = 0, first_seen_at = now(), updated_at = now(), finished_at = null
"""

BEGUN = "update segment_sources set finished_at = null where source = %s"
"""Retention forgets none that is being read."""

FINISHED = "update segment_sources set finished_at = now() where source = %s"

START_POSITIONS = """
insert into segment_source_positions (source, bucket, position) select %s, bucket, 0 from generate_series(0, 15) bucket
on conflict (source, bucket) do update set position = 0
"""

BACK = "update segment_source_positions set position = least(position, %s) where source = %s"

# A position moves only from where this loader knows it to be: whoever else moved it has committed these lines already.
ADVANCE = """
update segment_source_positions p set position = moved.position
from unnest(%s::integer[], %s::bigint[], %s::bigint[]) as moved (bucket, known, position)
where p.source = %s and p.bucket = moved.bucket and p.position = moved.known
"""


@dataclass
class Source:
    """One input: its name in the database, its open file, and for a regular file the positions read so far."""

    name: str
    descriptor: int
    seekable: bool
    end: int = 0
    """Where a regular file ended when it was looked at: what is written later is for the next run, whole lines at a time."""
    grows: bool = True
    """Whether its last line may have been read before it was whole."""
    gone: bool = False
    """Whether its end went away before it was read: what was read of a last line is none."""
    positions: Positions = field(default_factory=lambda: dict.fromkeys(range(BUCKETS), 0))

    def chunks(self, linger: float) -> Iterator[bytes]:
        """Yield what there is to read, from the least position on; an empty chunk when nothing came for `linger` seconds."""
        least, most = POLL_SECONDS
        if self.seekable:
            os.lseek(self.descriptor, self.start, os.SEEK_SET)
        begun = self.seekable
        while (chunk := self._read(max(least, min(linger, most)))) is not None:
            if chunk and not begun:
                check_uncompressed(self.name, chunk)
                begun = True
            yield chunk

    def _read(self, patience: float) -> bytes | None:
        """Return what there is, empty when nothing came in time; None at the end."""
        try:
            ready, _, _ = select.select([self.descriptor], [], [], patience)
            most = min(CHUNK, self.end - os.lseek(self.descriptor, 0, os.SEEK_CUR)) if self.seekable else CHUNK
            return os.read(self.descriptor, max(most, 0)) or None if ready else b""
        except OSError as error:
            raise unreadable(self.name, error) from None

    @property
    def start(self) -> int:
        """The byte offset to read from: nothing below it is missing."""
        return min(self.positions.values())

    @property
    def size(self) -> int:
        """Bytes in the file now."""
        return os.fstat(self.descriptor).st_size

    def read(self, position: int, length: int) -> bytes:
        """Up to `length` bytes from a position of the file."""
        return os.pread(self.descriptor, length, position)

    def line_start(self, position: int) -> int:
        """Where the line begins that the byte before the position belongs to."""
        while position:
            chunk = self.read(max(0, position - CHUNK), min(position, CHUNK))
            position -= len(chunk)
            if (newline := chunk.rfind(b"\n")) >= 0:
                return position + newline + 1
        return 0

    def fingerprint(self, length: int) -> bytes:
        """SHA-256 of the first `length` bytes."""
        return hashlib.sha256(self.read(0, length)).digest()

    def identity(self) -> tuple[bytes, int]:
        """What a new file is to be known by: its fingerprint, and of how many bytes it is."""
        length = min(FINGERPRINT, self.end)
        return self.fingerprint(length), length

    @property
    def problem(self) -> str:
        """Why the file holds less than it should, as a sentence; empty when it does not."""
        return ""


@dataclass
class CompressedSource(Source):
    """A compressed file; it is read through once to know how much of it is sound, and once more to load that."""

    compression: Compression = COMPRESSIONS[0]

    def chunks(self, linger: float) -> Iterator[bytes]:  # noqa: ARG002 - there is always something to read
        """Yield the uncompressed bytes from the least position to the end; empty chunks on the way to that position."""
        start, at = self.start, 0
        if start >= self.end:
            return
        try:
            for piece, _ in self._pieces():
                yield piece[max(start - at, 0) : self.end - at]
                at += len(piece)
                if at >= self.end:
                    return
        except Unsound:
            raise BadSource(f"{self.name} was changed while it was read: run the same command again to go on.") from None

    def read(self, position: int, length: int) -> bytes:
        """Up to `length` uncompressed bytes from a position."""
        found, at = b"", 0
        try:
            for piece, _ in self._pieces():
                found += piece[max(position - at, 0) : max(position + length - at, 0)]
                at += len(piece)
                if at >= position + length:
                    break
        except Unsound:
            pass  # as if it ended here
        return found

    @property
    def size(self) -> int:
        """Uncompressed bytes that are sound."""
        return self._measured[0]

    @property
    def problem(self) -> str:
        """That it is cut off or damaged."""
        end, error = self._measured
        if error is None:
            return ""
        return (
            f"{self.name} {error}: only the whole lines up to its uncompressed byte {end:,} can be loaded;"
            f" {error.repair} and run the same command again to go on."
        )

    @cached_property
    def _measured(self) -> tuple[int, Unsound | None]:
        return measure(self._pieces())

    def _pieces(self) -> Iterator[tuple[bytes, bool]]:
        return pieces(self._compressed(), self.compression)

    def _compressed(self) -> Iterator[bytes]:
        at = 0
        try:
            while chunk := os.pread(self.descriptor, CHUNK, at):
                at += len(chunk)
                yield chunk
        except OSError as error:
            raise unreadable(self.name, error) from None


def expand(names: Iterable[str]) -> list[str]:
    """Return the files that the names stand for: a pattern, unless a file has that very name, for all it matches, sorted."""
    return list(chain.from_iterable(map(matches, names)))


def matches(name: str) -> list[str]:
    """Return the file of this name, or those that it matches as a pattern; raise BadSource when there are none."""
    if os.path.lexists(name) or not glob.has_magic(name):
        return [name]
    if found := sorted(path for path in glob.glob(name, recursive=True) if not os.path.isdir(path)):
        return found
    raise BadSource(f"No file matches {printable(name)}: there is nothing to load.")


def check_uncompressed(name: str, beginning: bytes) -> None:
    """Raise BadSource for a pipe of compressed bytes, of which nobody knows how much is sound before it has ended."""
    if compression := recognise(beginning):
        raise BadSource(f"{name} is {compression.name}: name the file, or pipe it through {compression.program}.")


def is_empty(path: str) -> bool:
    """Whether it is a regular file without a byte."""
    with suppress(OSError):
        found = os.stat(path)
        return stat.S_ISREG(found.st_mode) and found.st_size == 0
    return False


def check_readable(path: str) -> None:
    """Raise BadSource for a file that cannot be read or holds nothing."""
    try:
        found = os.stat(0 if path == "-" else path)
    except OSError as error:
        raise unreadable(path, error) from None
    if stat.S_ISDIR(found.st_mode):
        raise BadSource(f"{printable(path)} is a directory: name the files in it.")
    if path != "-" and is_empty(path):
        raise BadSource(f"{printable(path)} is empty: there is nothing to load.")
    if path != "-" and not os.access(path, os.R_OK):
        raise unreadable(path, PermissionError(errno.EACCES, ""))
    if path != "-" and stat.S_ISREG(found.st_mode):
        with open_source(path, None):
            pass  # it begins as its name says


@contextmanager
def open_source(path: str, name: str | None) -> Iterator[Source]:
    """Open a file, or stdin for "-", for the length of the block; raise BadSource for what cannot be read."""
    if path == "-":
        yield Source(printable(name or path), 0, seekable=False)
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(path, error) from None
    try:
        name = printable(name or str(Path(path).absolute()))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            yield Source(name, descriptor, seekable=False)
        elif compression := find_compression(path, descriptor):
            yield CompressedSource(name, descriptor, seekable=True, compression=compression)
        else:
            yield Source(name, descriptor, seekable=True)
    finally:
        os.close(descriptor)


def find_compression(path: str, descriptor: int) -> Compression | None:
    """Return how the file is compressed, as its first bytes tell; raise BadSource when its name says what they do not."""
    try:
        found = recognise(os.pread(descriptor, 4, 0))
    except OSError as error:
        raise unreadable(path, error) from None
    named = named_compression(path)
    if named and not found:
        raise BadSource(f"{printable(path)} does not begin as {named.name} does: repair it, or name it without {named.ending}.")
    return found


def named_compression(path: str) -> Compression | None:
    """Return how the file is compressed, as its name tells."""
    return next((compression for compression in COMPRESSIONS if path.lower().endswith(compression.ending)), None)


def unreadable(name: str, error: OSError) -> BadSource:
    """The error that a source cannot be read, in the system's words."""
    reason = os.strerror(error.errno or 0)
    return BadSource(f"{printable(name)} cannot be read: {reason}. Name a file of events, or - for stdin.")


def printable(name: str) -> str:
    r"""The name as text that PostgreSQL stores: a byte that is no UTF-8 becomes \xNN."""
    return os.fsencode(name).decode(errors="backslashreplace")


def visible(text: str) -> str:
    r"""The text without what a terminal would obey, or show as something else: such a character becomes its escape, like \x1b."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def lock(connection: Connection, source: Source) -> None:
    """Take the source for this session, or raise SourceBusy naming the server process that has it."""
    if not source.seekable:
        return
    try:
        with connection.transaction():
            connection.execute(f"set local lock_timeout = '{LOCK_SECONDS}s'")
            connection.execute(LOCK, [source.name])
    except LockNotAvailable:
        holder = connection.execute(HOLDER, [source.name]).fetchone()
        pid = f" (PostgreSQL's process {holder[0]} holds it)" if holder else ""
        raise SourceBusy(f"Another loader is reading {source.name}{pid}: wait for it, or stop it.") from None


def unlock(connection: Connection, source: Source) -> None:
    """Give the source up, so that another loader may read it while this one goes on with the next."""
    if source.seekable:
        connection.execute(UNLOCK, [source.name])


def resume(connection: Connection, source: Source) -> str:
    """Set the source's positions from the database, making or resetting them as needed; say what that means."""
    if not source.seekable:
        connection.execute("insert into segment_sources (source) values (%s) on conflict (source) do nothing", [source.name])
        return f"loading {source.name}"
    source.end = source.size
    known = connection.execute(
        "select fingerprint, fingerprint_length from segment_sources where source = %s", [source.name]
    ).fetchone()
    positions = read_positions(connection, source.name)
    if known is None or known[0] is None or not positions:
        begin(connection, source)
        return f"loading {source.name}"
    fingerprint, length = cast(tuple[bytes, int], known)
    if source.problem and source.end < length:
        raise BadSource(source.problem)
    if source.fingerprint(length) != fingerprint or (source.end < max(positions.values()) and not source.problem):
        begin(connection, source)
        return f"{source.name} was replaced by another file: loading it from its beginning"
    if source.grows and max(positions.values()) < source.end:
        positions = reread_last_line(connection, source, positions)
    source.positions = positions
    if source.start >= source.end:
        return f"{source.name} was loaded already, nothing to do"
    return f"going on with {source.name} at byte {source.start:,}"


def finish(connection: Connection, source: Source) -> None:
    """Record that the file was read to its end, so that retention may forget it together with its events."""
    if source.seekable:
        connection.execute(FINISHED, [source.name])


def reread_last_line(connection: Connection, source: Source, positions: Positions) -> Positions:
    """Take back a last line that had no line end when it was read, if it has grown since: only now is it whole."""
    end = max(positions.values())
    if end == 0:
        return positions
    around = source.read(end - 1, 3)
    if around[:1] == b"\n" or around[1:] in (b"\r", b"\r\n") or around[1:2] == b"\n":
        return positions
    start = source.line_start(end)
    connection.execute(BACK, [start, source.name])
    return {bucket: min(position, start) for bucket, position in positions.items()}


def begin(connection: Connection, source: Source) -> None:
    """Record the source as new: its fingerprint, no counts, every position at the beginning."""
    with connection.transaction():
        connection.execute(START, [source.name, *source.identity()])
        connection.execute(START_POSITIONS, [source.name])


def read_positions(connection: Connection, name: str) -> Positions:
    """Every bucket's position; empty for a source without any."""
    rows = connection.execute("select bucket, position from segment_source_positions where source = %s", [name])
    return dict(cast(list[tuple[int, int]], rows.fetchall()))


def reread_positions(connection: Connection, name: str) -> Positions:
    """Every bucket's position, which must be there."""
    positions = read_positions(connection, name)
    if len(positions) != BUCKETS:
        raise SourceForgotten
    return positions
