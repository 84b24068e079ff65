"""Fragments, as files in a folder of their own: the same events give the same bytes, and a name that tells of them.

Nothing here knows where they go to.
"""

import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count, groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lake.events import Event
from lake.layout import path
from lake.ledger import Fragment

MOST_ROWS = 1_000_000
"""After how many events a file ends."""

GZIP = 31
"""zlib's word for a gzip file with the largest window; its header has no name and no time."""

LEVEL = 3
"""How hard to compress: beyond it much time saves little."""

CHUNK = 1_000
ROW_GROUP = 100_000


class Writer(Protocol):
    """Writes the contents of events to a file."""

    def add(self, content: Any) -> None:
        """Take one more event."""

    def finish(self) -> None:
        """Write what is left."""


class Written(NamedTuple):
    """A fragment, and the file that holds it until it is in place."""

    file: Path
    fragment: Fragment


class Lines:
    """Gzip NDJSON."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._gzip = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)
        self._lines: list[bytes] = []

    def add(self, content: bytes) -> None:
        """Take one more line."""
        self._lines.append(content)
        if len(self._lines) == CHUNK:
            self._write()

    def finish(self) -> None:
        """Write what is left."""
        self._write()
        self._file.write(self._gzip.flush())

    def _write(self) -> None:
        self._file.write(self._gzip.compress(b"".join(self._lines)))
        self._lines.clear()


class Columns:
    """Parquet: the contract's fields as typed columns, all that it does not name as JSON in `extra`."""

    def __init__(self, file: Any) -> None:
        import pyarrow as arrow  # noqa: PLC0415 - takes half a second that jsonl.gz need not wait
        from pyarrow import parquet  # noqa: PLC0415

        self._schema = arrow.schema([
            arrow.field("event", arrow.string(), nullable=False),
            arrow.field("timestamp", arrow.timestamp("us", "UTC"), nullable=False),
            arrow.field("user", arrow.string(), nullable=False),
            arrow.field("segment", arrow.struct([("vendor", arrow.int32()), ("name", arrow.string())]), nullable=False),
            arrow.field("value", arrow.string()),
            arrow.field("remove", arrow.bool_(), nullable=False),
            arrow.field("extra", arrow.string()),
            arrow.field("arrival", arrow.int64(), nullable=False),
            arrow.field("seq", arrow.int64(), nullable=False),
        ])  # fmt: skip
        self._table = arrow.Table
        self._arrays = [partial(arrow.array, type=field.type) for field in self._schema]
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[tuple[Any, ...]] = []

    def add(self, content: tuple[Any, ...]) -> None:
        """Take one more row."""
        self._rows.append(content)
        if len(self._rows) == ROW_GROUP:
            self._write()

    def finish(self) -> None:
        """Write what is left, and the footer."""
        if self._rows:
            self._write()
        self._writer.close()

    def _write(self) -> None:
        columns = zip(*self._rows, strict=True)
        arrays = [array(column) for array, column in zip(self._arrays, columns, strict=True)]
        self._writer.write_table(self._table.from_arrays(arrays, schema=self._schema))
        self._rows.clear()


WRITERS: dict[str, Callable[[Any], Writer]] = {"jsonl.gz": Lines, "parquet": Columns}


def write(events: Iterable[Event], folder: Path, form: str) -> Iterator[Written]:
    """Write events, which come in order of their places, as files; yield each when it is complete and on the disk."""
    numbers = count()
    for _, of_place in groupby(events, attrgetter("place")):
        while written := _write(of_place, folder / str(next(numbers)), form):
            yield written


def _write(events: Iterator[Event], file: Path, form: str) -> Written | None:
    """Write a file of the next events, up to as many as one may have; None: there is none left."""
    first = next(events, None)
    if first is None:
        return None
    batches, least, greatest, rows = [first.batch_id], first.seq, first.seq, 1
    with file.open("wb") as opened:
        writer = WRITERS[form](opened)
        writer.add(first.content)
        while rows < MOST_ROWS and (event := next(events, None)):
            writer.add(event.content)
            rows += 1
            if event.batch_id != batches[-1]:
                batches.append(event.batch_id)
            if event.seq > greatest:
                greatest = event.seq
            elif event.seq < least:
                least = event.seq
        writer.finish()
        flush(opened)
    checksum = digest(file)
    name = path(first.place, least, greatest, checksum, form)
    return Written(file, Fragment(name, sorted(set(batches)), rows, file.stat().st_size, checksum))


def flush(file: Any) -> None:
    """Have what was written on the disk."""
    file.flush()
    os.fsync(file.fileno())


def digest(file: Path) -> bytes:
    """SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
