"""A lake as a source of the loader's: its events in order of (arrival, seq), merged across all files, however old.

The merged stream is the same whenever it is read, so a byte of it is a position as in a file, which the loader commits with its
batches: a rebuild that was ended anywhere goes on with exactly what is missing. What is not the same any more is refused.
"""

import gzip
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import IO

from lake.database import check_migrated, one
from lake.errors import LakeChanged, NotEmpty, NothingToRebuild
from lake.layout import is_events, is_hidden
from lake.merge import Waiting, merged
from lake.reading import MOST_LINE, Item, items
from lake.store import Store, telling
from loader.database import Connection
from loader.source import Source
from loader.stream import Options

MOST_OPEN = 100
"""How many files may be open at once: for memory's sake, and for a limit of 256 descriptors."""

PEEKING = 8
"""How many files are looked into at the same time, before the first is read."""

CHUNK = 256 * 1024
ENDLESS = 1 << 62
"""Beyond every position: how long the stream is shows at its end alone."""

OPTIONS = Options(max_future=timedelta(days=10_000 * 366), max_line=MOST_LINE)
"""Whatever the original database took this one takes, if it can be read: what was too far ahead then is not in the lake."""

FOUND = """
select
  exists (select from segment_events) or exists (select from segment_settings where horizon is not null),
  fingerprint, loaded = (select coalesce(sum(events), 0) from segment_batches)
from (select) here left join segment_sources on source = %s
"""


class Lake(Source):
    """All files of a lake as one stream of lines."""

    def __init__(self, store: Store, on_read: Callable[[int], None]) -> None:
        super().__init__(f"lake {store.name}", -1, seekable=True, grows=False)
        self._store = store
        self._on_read = on_read
        sizes = sorted(store.sizes().items())
        self._files = {path: size for path, size in sizes if is_events(path)}
        self.unread = [path for path, _ in sizes if not is_events(path) and not is_hidden(path)]
        if not self._files:
            raise NothingToRebuild

    @property
    def total_bytes(self) -> int:
        """How many there are to read."""
        return sum(self._files.values())

    @property
    def size(self) -> int:
        """More than there is."""
        return ENDLESS

    def fingerprint(self, length: int) -> bytes:  # noqa: ARG002 - a file's is that of its first bytes
        """SHA-256 of the list of files with their sizes; names of ours tell their contents."""
        return hashlib.sha256(json.dumps(list(self._files.items())).encode()).digest()

    def chunks(self, linger: float) -> Iterator[bytes]:  # noqa: ARG002 - there is always something to read
        """Yield the stream from the least position on, in whole lines."""
        at, chunk, size = 0, [], 0
        for item in merged(self._waiting(), MOST_OPEN, spill):
            at += len(item.line)
            if at <= self.start:
                continue
            chunk.append(item.line)
            size += len(item.line)
            if size >= CHUNK:
                yield b"".join(chunk)
                chunk, size = [], 0
        yield b"".join(chunk)

    def _waiting(self) -> list[Waiting]:
        """The files that hold events, in order of their first ones."""
        paths = list(self._files)
        with ThreadPoolExecutor(PEEKING) as threads:
            firsts = threads.map(self._first, paths, range(len(paths)))
            found = [(first, path, file) for file, (first, path) in enumerate(zip(firsts, paths, strict=True)) if first]
        return [Waiting(first, partial(items, self._store, path, file, self._on_read)) for first, path, file in sorted(found)]

    def _first(self, path: str, file: int) -> Item | None:
        return next(items(self._store, path, file, ignored), None)


def ignored(_: int) -> None:
    """What is read before the stream begins counts for nothing."""


def check_empty(connection: Connection, lake: Lake) -> None:
    """Raise unless the database is empty, or what it has comes from a rebuild of this very lake."""
    check_migrated(connection)
    filled, fingerprint, alone = one(connection, FOUND, lake.name) or (False, None, None)
    if fingerprint not in (None, lake.fingerprint(0)):
        raise LakeChanged
    if filled and not alone:
        raise NotEmpty


def spill(run: Iterator[Item]) -> Iterator[Item]:
    """Write items to a file that nobody sees, and that is gone with the process; they are read as they are asked for."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever reads it closes it
    with telling(tempfile.gettempdir()), gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as packed:
        for item in run:
            packed.write(b"%d %d %d %b" % (*item.place, item.file, item.line))
    file.seek(0)
    return unspilled(file)


def unspilled(file: IO[bytes]) -> Iterator[Item]:
    """The items of a file that `spill` wrote."""
    with file, gzip.GzipFile(fileobj=file) as packed:
        for row in packed:
            arrival, seq, number, line = row.split(b" ", 3)
            yield Item((int(arrival), int(seq)), int(number), line)
