"""A file of the lake written anew without a user's events: everything else in it stays as it is, in its order."""

import gzip
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from lake.fragment import Lines, Written, digest, flush, parquet_writer
from lake.layout import CHECKSUM_DIGITS, checksum_of
from lake.ledger import Fragment, Recorded
from lake.reading import CHUNK, Checked, Watched, bad, unreadable
from lake.store import Store, telling


class Whose(msgspec.Struct):
    """What is read of a line."""

    user: str = ""


_WHOSE = msgspec.json.Decoder(Whose)


def without(store: Store, file: Recorded, user: str, folder: Path) -> Written | None:
    """The file without the user's events, on the disk in `folder`; None where it has none of theirs. No rows: none are left."""
    removed = rewritten(store, file.path, user, None)
    if not removed:
        return None
    path = folder / "rewritten"
    with path.open("wb") as target:
        rewritten(store, file.path, user, target)
        flush(target)
    checksum = digest(path)
    old = checksum_of(file.path) or ""
    name = file.path.replace(old, checksum.hex()[:CHECKSUM_DIGITS])
    return Written(path, Fragment(name, [], file.rows - removed, os.path.getsize(path), checksum))


def rewritten(store: Store, path: str, user: str, target: IO[bytes] | None) -> int:
    """Write what is not the user's, if there is a target; return how many events are."""
    rewrite = parquet if path.endswith(".parquet") else ndjson
    with telling(f"{store.name}/{path}"), store.open(path) as source:
        try:
            return rewrite(source, path, user, target)
        except unreadable() as error:
            raise bad(f"{store.name}/{path}", str(error)) from None


def ndjson(source: IO[bytes], path: str, user: str, target: IO[bytes] | None) -> int:
    """Gzip NDJSON, a portion at a time."""
    removed = 0
    writer = Lines(target) if target else None
    with gzip.GzipFile(fileobj=io.BufferedReader(Checked(source, lambda _: None, path), CHUNK)) as lines:
        for portion in portions(lines):
            kept = [line for line in portion if _WHOSE.decode(line).user != user]
            removed += len(portion) - len(kept)
            if writer:
                writer.add(kept)
    if writer:
        writer.finish()
    return removed


def portions(lines: gzip.GzipFile) -> Iterator[list[bytes]]:
    """Lines with their line ends, about a megabyte at a time."""
    while portion := lines.readlines(1 << 20):
        yield portion


def parquet(source: IO[bytes], _path: str, user: str, target: IO[bytes] | None) -> int:
    """Parquet, a row group at a time."""
    from pyarrow import compute  # noqa: PLC0415 - takes half a second that jsonl.gz need not wait
    from pyarrow.parquet import ParquetFile  # noqa: PLC0415

    opened = ParquetFile(Watched(source, lambda _: None), pre_buffer=False, buffer_size=CHUNK)
    writer = parquet_writer(target, opened.schema_arrow) if target else None
    removed = 0
    for group in range(opened.num_row_groups):
        rows = opened.read_row_group(group, columns=None if writer else ["user"], use_threads=False)
        others = compute.not_equal(rows["user"], user)
        removed += rows.num_rows - compute.sum(others).as_py()
        if writer and compute.any(others).as_py():
            writer.write_table(rows.filter(others), row_group_size=max(rows.num_rows, 1))
    if writer:
        writer.close()
    return removed
