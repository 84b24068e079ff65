"""Fragments, as files in a folder of their own: the same events give the same bytes, and a name that tells of them.

Nothing here knows where they go to.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count, groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from isal import isal_zlib

from lake.events import Chunk
from lake.layout import path
from lake.ledger import Fragment

MOST_ROWS = 1_000_000
"""After how many events a file ends, give or take a chunk."""

GZIP = 31
"""zlib's word for a gzip file with the largest window; its header has no name and no time."""

LEVEL = 1
"""ISA-L's: as small as zlib's 4, at a fifth of zlib's time for its 1."""

ROW_GROUP = 122_880
"""How many rows DuckDB, too, takes for one."""

MOST_BYTES = 4 << 20
"""After how many bytes a row group ends that has fewer rows."""

PAGE = 64 << 10
PAGE_ROWS = 64
"""About how many bytes a page has, and after how many rows that is looked at: a reader has a page of each column in memory."""


class Writer(Protocol):
    """Writes the rows of chunks to a file."""

    def add(self, rows: list[bytes]) -> None:
        """Take more rows."""

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
        self._gzip = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, GZIP)

    def add(self, rows: list[bytes]) -> None:
        """Take more lines."""
        self._file.write(self._gzip.compress(b"".join(rows)))

    def finish(self) -> None:
        """Write what is left."""
        self._file.write(self._gzip.flush())


class Columns:
    """Parquet: the contract's fields as typed columns, all that it does not name as JSON in `extra`."""

    def __init__(self, file: Any) -> None:
        import pyarrow as arrow  # noqa: PLC0415 - takes half a second that jsonl.gz need not wait
        from pyarrow import csv  # noqa: PLC0415

        fields = [
            arrow.field("event", arrow.string(), nullable=False),
            arrow.field("timestamp", arrow.timestamp("us", "UTC"), nullable=False),
            arrow.field("user", arrow.string(), nullable=False),
            arrow.field("vendor", arrow.int32()),
            arrow.field("name", arrow.string()),
            arrow.field("value", arrow.string()),
            arrow.field("remove", arrow.bool_(), nullable=False),
            arrow.field("extra", arrow.string()),
            arrow.field("arrival", arrow.int64(), nullable=False),
            arrow.field("seq", arrow.int64(), nullable=False),
        ]
        segment = arrow.field("segment", arrow.struct(fields[3:5]), nullable=False)
        self._segment = partial(arrow.StructArray.from_arrays, fields=fields[3:5])
        self._schema = arrow.schema([*fields[:3], segment, *fields[5:]])
        self._table = arrow.Table.from_arrays
        self._read = partial(
            csv.read_csv,
            parse_options=csv.ParseOptions(delimiter="\x01", newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=arrow.schema(fields), null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,
                true_values=["t"], false_values=["f"],
            ),
        )  # fmt: skip
        self._options = partial(csv.ReadOptions, use_threads=False, column_names=[field.name for field in fields])
        self._buffer = arrow.py_buffer
        self._writer = parquet_writer(file, self._schema)
        self._rows: list[bytes] = []
        self._bytes = 0

    def add(self, rows: list[bytes]) -> None:
        """Take more rows."""
        self._rows += rows
        self._bytes += sum(map(len, rows))
        if len(self._rows) >= ROW_GROUP or self._bytes >= MOST_BYTES:
            self._write()

    def finish(self) -> None:
        """Write what is left, and the footer."""
        if self._rows:
            self._write()
        self._writer.close()

    def _write(self) -> None:
        options = self._options(block_size=self._bytes + 1)  # as one block: a row must not be longer
        table = self._read(self._buffer(b"".join(self._rows)), read_options=options).combine_chunks()
        columns = [column.chunk(0) for column in table.columns]
        self._writer.write_table(self._table([*columns[:3], self._segment(columns[3:5]), *columns[5:]], schema=self._schema))
        self._rows.clear()
        self._bytes = 0


def parquet_writer(file: Any, schema: Any) -> Any:
    """A writer of Parquet as the lake has it."""
    from pyarrow.parquet import ParquetWriter  # noqa: PLC0415

    pages = {"data_page_size": PAGE, "dictionary_pagesize_limit": PAGE, "write_batch_size": PAGE_ROWS}
    return ParquetWriter(file, schema, compression="zstd", **pages)


WRITERS: dict[str, Callable[[Any], Writer]] = {"jsonl.gz": Lines, "parquet": Columns}


def write(chunks: Iterable[Chunk], folder: Path, form: str) -> Iterator[Written]:
    """Write events, which come in order of their places, as files; yield each when it is complete and on the disk."""
    numbers = count()
    for _, of_place in groupby(chunks, attrgetter("place")):
        while written := _write(of_place, folder / str(next(numbers)), form):
            yield written


def _write(chunks: Iterator[Chunk], file: Path, form: str) -> Written | None:
    """Write a file of the next events, about as many as one may have; None: there is none left."""
    first = next(chunks, None)
    if first is None:
        return None
    batches, least, greatest, rows = {first.batch_id}, first.first_seq, first.last_seq, len(first.rows)
    with file.open("wb") as opened:
        writer = WRITERS[form](opened)
        writer.add(first.rows)
        while rows < MOST_ROWS and (chunk := next(chunks, None)):
            writer.add(chunk.rows)
            rows += len(chunk.rows)
            batches.add(chunk.batch_id)
            least = min(least, chunk.first_seq)
            greatest = max(greatest, chunk.last_seq)
        writer.finish()
        flush(opened)
    checksum = digest(file)
    name = path(first.place, least, greatest, checksum, form)
    return Written(file, Fragment(name, sorted(batches), rows, file.stat().st_size, checksum))


def flush(file: Any) -> None:
    """Have what was written on the disk."""
    file.flush()
    os.fsync(file.fileno())


def digest(file: Path) -> bytes:
    """SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
