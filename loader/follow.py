"""Follows one file as it grows, through its rotations: the old file is finished before the next one is begun.

The database knows the file that was read last by its fingerprint, which here grows with what was read, up to 4096 bytes. When
that file is not under the path any more (it was rotated while nobody read, or truncated after it had been copied), it is looked
for beside the path. Where it is not found, a sentence says what may be lost, and says so again at the end.
"""

import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from loader.database import Connection
from loader.errors import BadSource, BytesLost, SourceBusy
from loader.growing import POLL_SECONDS, Growing, look
from loader.rotation import Record, beside, best, differs, read_record, recorded, rotated, succeeds
from loader.source import (
    FINGERPRINT,
    CompressedSource,
    Source,
    begin,
    named_compression,
    open_source,
    printable,
    reread_last_line,
    reread_positions,
    unreadable,
)
from loader.stream import Stream

EXTEND = "update segment_sources set fingerprint = %s, fingerprint_length = %s where source = %s"

Enter = Callable[[Connection, Source], str]


def check_followable(path: str) -> None:
    """Raise BadSource for what does not grow in place; a file that is not there may come."""
    if path == "-":
        raise BadSource("stdin cannot be followed, and need not: without --follow it is read until it ends.")
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        regular = True
    except OSError as error:
        raise unreadable(path, error) from None
    if not regular:
        raise BadSource(f"{printable(path)} is no regular file: only those can be followed.")
    compressed = named_compression(path) is not None
    if look(path):
        with open_source(path, None) as source:
            compressed = isinstance(source, CompressedSource)
    if compressed:
        raise BadSource(f"{printable(path)} is compressed and cannot be followed: load it without --follow.")


def begin_new(connection: Connection, source: Source) -> str:
    """Make the source this file, which is read from its beginning; return a sentence about that."""
    source.end = source.size
    begin(connection, source)
    return f"loading {source.name}"


def go_on(connection: Connection, source: Source, record: Record, path: str, live: bool) -> str:
    """Set the positions of a file that was read before; return a sentence about that.

    While it grows (`live`), a last line without a line end that was loaded already is taken back, to be read when it is whole.
    """
    now = read_record(connection, source.name)
    if now is None or now[:2] != record[:2]:
        raise SourceBusy(f"Another loader has just read {source.name}: run the same command again.")
    source.end = source.size
    source.positions = reread_positions(connection, source.name)
    if live or now.furthest < source.end:
        source.positions = reread_last_line(connection, source, source.positions)
    where = "" if live else f", in {printable(path)}"
    return f"going on with {source.name} at byte {source.start:,}{where}"


def is_whole(head: bytes) -> bool:
    """Whether a file that begins so has a line, or enough of one to know it by."""
    return b"\n" in head or len(head) == FINGERPRINT


class Follower:
    """Loads the file under a path, and those that take its place, until the stream is told to stop."""

    def __init__(self, streaming: Stream, path: str, name: str | None, say: Callable[[str], None]) -> None:
        self.name = printable(name or str(Path(path).absolute()))
        self._streaming = streaming
        self._path = path
        self._say = say
        self._loss = ""

    def run(self) -> None:
        """Follow; in the end, raise BytesLost if anything may have been."""
        before: Source | None = None
        held = ExitStack()  # before's file: while it is open, no other has its inode
        try:
            while not self._streaming.stopping.is_set():
                now = ExitStack()
                opened = self._open_next(before, now)
                held.close()
                held = now
                if opened:
                    before = self._load(*opened)
        finally:
            held.close()
        if self._loss:
            raise BytesLost(self._loss)

    def _load(self, source: Source, enter: Enter) -> Source | None:
        """Load a file until there is no more to come; return it when it was finished."""
        self._say(self._streaming.open(source, enter))
        if self._streaming.load(source) and source.problem:
            raise BadSource(source.problem)
        return None if source.gone else source

    def _open_next(self, before: Source | None, stack: ExitStack) -> tuple[Source, Enter] | None:
        """Open what is to be read after `before`, or where an earlier run has left off; None when told to stop."""
        if before is None and (record := self._streaming.ask(partial(read_record, name=self.name))):
            if opened := self._open_recorded(record, stack):
                return opened
            self._lose(record)
        first: Source | None = None
        waiting = False
        while True:
            if before:
                source = self._open_new(before, stack)
            else:
                first = first or self._open_first(stack)
                source = self._ready(first, stack) if first else None
            if source:
                return source, begin_new
            if not waiting:
                self._say(f"waiting for {printable(self._path)}: there is nothing to read yet")
            waiting = True
            if self._streaming.stopping.wait(POLL_SECONDS):
                return None

    def _open_first(self, stack: ExitStack) -> Source | None:
        """Open what is under the path where nothing was read before, though it may be empty still: it could be rotated so."""
        if not os.path.isfile(self._path):
            return None
        with suppress(BadSource):
            return stack.enter_context(open_source(self._path, self.name))
        return None

    def _ready(self, first: Source, stack: ExitStack) -> Source | None:
        """The file once it has a line; or when another has one, and this one is all that it will be."""
        after = None if self._is_current(first) else self._open_new(first, stack)
        head = first.read(0, FINGERPRINT)  # after that: the writer is done with it then
        if is_whole(head) or (head and after):
            return self._growing(first, head)
        return after

    def _open_recorded(self, record: Record, stack: ExitStack) -> tuple[Source, Enter] | None:
        """Open the file that was read last, under the path or beside it."""
        for paths in ([self._path], beside(self._path, ".*")):
            if found := best(paths, self.name, partial(recorded, record), stack):
                path, source = found
                enter = partial(go_on, record=record, path=path, live=path == self._path)
                return self._growing(source, source.read(0, record.length)), enter
        return None

    def _open_new(self, before: Source, stack: ExitStack) -> Source | None:
        """Open the file that was begun after `before`: that under the path once it has a line, unless others came between."""
        path = self._path
        current = best([path], self.name, partial(differs, before), stack)  # first, lest it be moved aside unseen
        head = current[1].read(0, FINGERPRINT) if current else b""  # nor emptied: what it held is in another by then
        if between := best(rotated(path), self.name, partial(succeeds, before, path), stack):
            return self._growing(between[1], between[1].read(0, FINGERPRINT))
        return self._growing(current[1], head) if current and is_whole(head) else None

    def _succeeded(self, source: Source) -> bool:
        """Whether a later file has lines: the writer is done with this one then."""
        with ExitStack() as stack:
            return not self._is_current(source) and self._open_new(source, stack) is not None

    def _is_current(self, source: Source) -> bool:
        """Whether the file is the one under the path."""
        with suppress(OSError):
            return os.path.samestat(os.stat(self._path), os.fstat(source.descriptor))
        return False

    def _growing(self, source: Source, seen: bytes) -> Source:
        """The source as one that grows; a compressed one is as it is."""
        if isinstance(source, CompressedSource):
            return source
        return Growing(
            source.name,
            source.descriptor,
            seekable=True,
            seen=seen,
            extend=self._extend,
            succeeded=self._succeeded,
            pause=self._streaming.stopping.wait,
        )

    def _extend(self, head: bytes) -> None:
        """Let the file be known by more of its first bytes."""
        values = [hashlib.sha256(head).digest(), len(head), self.name]
        self._streaming.ask(lambda connection: connection.execute(EXTEND, values))

    def _lose(self, record: Record) -> None:
        """Say that a file went away, now and again in the end."""
        loss = (
            f"{self.name} is another file now, and the earlier one is not beside it: its bytes from {record.start:,} on"
            " may be lost; load it by name if you have it."
        )
        self._say(loss)
        self._loss = self._loss or loss
