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
ROWS = 1_000
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
        except (EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
            raise bad(f"{store.name}/{path}", str(error)) from None


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
        for row in text:
            if row.strip():
                yield line.arrived(row.rstrip(b"\r\n"))


def parquet(file: io.RawIOBase) -> Iterator[line.Arrived]:
    """The rows of a Parquet file of ours."""
    import pyarrow as arrow  # noqa: PLC0415 - takes half a second that jsonl.gz need not wait
    from pyarrow.parquet import ParquetFile  # noqa: PLC0415

    try:
        opened = ParquetFile(file, pre_buffer=False)
        if not set(opened.schema_arrow.names) >= COLUMNS:
            raise ValueError("it has not the columns of a lake")
        for batch in opened.iter_batches(ROWS, use_threads=False):
            for row in batch.to_pylist():
                yield line.Arrived((row["arrival"], row["seq"]), line.of_columns(row))
    except arrow.ArrowException as error:
        raise ValueError(str(error)) from None
