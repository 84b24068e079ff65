"""Files of a lake as events: gzip NDJSON of ours or of others, and our Parquet; one after the other, with bounded memory.

A file that cannot be read to its end, or whose bytes are not those that its name tells of, is named by BadFragment.
"""

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

from lake import line
from lake.errors import BadFragment
from lake.layout import CHECKSUM_DIGITS, checksum_of
from lake.store import Store, telling

CHUNK = 64 * 1024
MOST_LINE = 32 << 20
"""The longest line; what is longer is not read, for it might have no end."""

ROWS = 1_000
BATCH_BYTES = 64 << 10
"""About how much of a Parquet file is taken at a time, in no more than so many rows: many files are open at once."""

COLUMNS = {"event", "timestamp", "user", "segment", "value", "remove", "extra", "arrival", "seq"}


class Item(NamedTuple):
    """An event's line with its line end, and where it belongs in the order of the whole lake."""

    place: tuple[int, int]
    """(arrival, seq): that of the line before where the file does not say, and (0, 0) at its beginning."""
    file: int
    """The number of its file, in order of paths: so what has no arrival comes file by file."""
    line: bytes


def items(store: Store, path: str, file: int, on_read: Callable[[int], None]) -> Iterator[Item]:
    """The events of a file in its order; `on_read` is told how many bytes of it were read."""
    with telling(f"{store.name}/{path}"), store.open(path) as opened:
        events = parquet(Watched(opened, on_read)) if path.endswith(".parquet") else ndjson(Checked(opened, on_read, path))
        place = (0, 0)
        try:
            for event in events:
                place = event.place or place
                yield Item(place, file, event.line + b"\n")
        except unreadable() as error:
            raise bad(f"{store.name}/{path}", str(error)) from None


def unreadable() -> tuple[type[Exception], ...]:
    """What a file that is not whole raises."""
    return EOFError, zlib.error, gzip.BadGzipFile, ValueError


def bad(name: str, said: str) -> BadFragment:
    """The error that names a file."""
    rest = (BadFragment().args[0]).removeprefix("A file of the lake cannot be read to its end")
    return BadFragment(f"{name} cannot be read to its end ({' '.join(said.split()).rstrip('.')}){rest}")


class Watched(io.RawIOBase):
    """A file whose reading is told of."""

    def __init__(self, file: IO[bytes], on_read: Callable[[int], None]) -> None:
        self._file = file
        self._on_read = on_read

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to where the next read begins."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where the next read begins."""
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        """Read what comes next."""
        data = self._file.read(len(buffer))
        self._on_read(len(data))
        buffer[: len(data)] = data
        return len(data)


class Checked(Watched):
    """A file that is read from its beginning, and must have the checksum that its name tells, if that does."""

    def __init__(self, file: IO[bytes], on_read: Callable[[int], None], path: str) -> None:
        super().__init__(file, on_read)
        self._expected = checksum_of(path)
        self._digest = hashlib.sha256()

    def readinto(self, buffer: Any) -> int:
        """Read what comes next; raise ValueError at the end of a file with another checksum."""
        size = super().readinto(buffer)
        self._digest.update(buffer[:size])
        if not size and self._expected not in (None, self._digest.hexdigest()[:CHECKSUM_DIGITS]):
            raise ValueError("its checksum is not the one in its name")
        return size


def ndjson(file: io.RawIOBase) -> Iterator[line.Arrived]:
    """The lines of a gzip file; blank ones are none."""
    with gzip.GzipFile(fileobj=io.BufferedReader(file, CHUNK)) as text:
        for row in iter(lambda: text.readline(MOST_LINE + 2), b""):
            found = row.rstrip(b"\r\n")
            if len(found) > MOST_LINE:
                raise ValueError(f"it has a line of more than {MOST_LINE >> 20} MiB")
            if found.strip():
                yield line.arrived(found)


def parquet(file: io.RawIOBase) -> Iterator[line.Arrived]:
    """The rows of a Parquet file of ours."""
    import pyarrow as arrow  # noqa: PLC0415 - takes half a second that jsonl.gz need not wait
    from pyarrow.parquet import ParquetFile  # noqa: PLC0415

    try:
        opened = ParquetFile(file, pre_buffer=False, buffer_size=CHUNK)
        if not set(opened.schema_arrow.names) >= COLUMNS:
            raise ValueError("it has not the columns of a lake")
        for group in range(opened.num_row_groups):
            rows = rows_at_a_time(opened.metadata.row_group(group))
            for batch in opened.iter_batches(rows, row_groups=[group], use_threads=False):
                for row in batch.to_pylist():
                    yield line.Arrived((row["arrival"], row["seq"]), line.of_columns(row))
    except arrow.ArrowException as error:
        raise ValueError(str(error)) from None


def rows_at_a_time(group: Any) -> int:
    """How many rows of a row group are taken at a time: its metadata tell how long they are."""
    fitting: int = BATCH_BYTES * group.num_rows // max(1, group.total_byte_size)
    return min(ROWS, max(1, fitting))
