"""Exports: cut after cut, each written beside the lake, recorded, put in place, and marked.

    write     the cut's events become files under temporary names, complete and on the disk
    announce  one transaction records these files, and up to which batch they go
    place     they are renamed or uploaded
    advance   one transaction marks them, and moves the destination's position up to that batch

Ended before `announce`, nothing has happened. Ended after it, the same cut is written again: the same batches give the same
bytes under the same names, whatever of it is in place already. No transaction is open while anything is waited for.
"""

import shutil
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from lake import cut, held, ledger, mark
from lake.cut import Cut
from lake.database import exporting
from lake.errors import Forgotten, NotTheLake, StoreAway
from lake.events import Chunk, chunks
from lake.fragment import Written, write
from lake.held import Held, still_running
from lake.ledger import Progress
from lake.progress import Bar
from lake.store import Store, telling
from loader.database import Connection, Session

POLL_SECONDS = 0.1


class Stopped(Exception):  # noqa: N818 - raised within this module alone
    """Told to stop while a cut was being written."""


@dataclass(frozen=True)
class Options:
    """How to export; times in seconds."""

    form: str
    linger: float
    retry_for: float
    take_over: bool = False


@dataclass
class Counts:
    """What was exported."""

    events: int = 0
    files: int = 0
    bytes: int = 0

    def __str__(self) -> str:
        return f"{self.events:,} events in {self.files:,} files, {self.bytes:,} bytes"


class Export:
    """Exports to one destination; `stopping`, once set, ends it after the file that is being written."""

    def __init__(self, store: Store, options: Options, stopping: Event, bar: Bar) -> None:
        self.store = store
        self.options = options
        self.stopping = stopping
        self.bar = bar
        self.counts = Counts()

    def once(self) -> bool:
        """Export all that is committed now; return whether that was done, and not stopped. Raise StillRunning where it cannot."""
        with closing(self._session()) as session:
            last = session.run(cut.last_committed)
            if last is None:
                return True
            self.bar.begin(session.run(self._waiting))
            ends_at = time.monotonic() + held.OLDER_SECONDS
            while not self.stopping.is_set():
                passed = session.run(lambda connection: cut.passed(connection, last))
                while session.run(lambda connection: self._step(connection, str(last.xact_id), 0)):
                    pass
                if passed:
                    return not self.stopping.is_set()
                if time.monotonic() > ends_at:
                    raise still_running(session.run(cut.holders))
                self.stopping.wait(POLL_SECONDS)
        return False

    def every(self, seconds: float) -> None:
        """Export what gathers, again and again until told to stop."""
        away_since: float | None = None
        watch = Held(self.bar.say)
        with closing(self._session()) as session:
            while not self.stopping.is_set():
                began = time.monotonic()
                try:
                    while session.run(lambda connection: self._step(connection, cut.EVERYTHING, self.options.linger)):
                        away_since = None
                        self.bar.say(f"{self.counts} so far")
                except StoreAway:
                    if away_since is None:
                        away_since = began
                        self.bar.say(f"{self.store.name} does not answer: trying again for {self.options.retry_for:g} s")
                    if began - away_since >= self.options.retry_for:
                        raise
                session.run(watch.look)
                self.stopping.wait(max(0.0, seconds - (time.monotonic() - began)))

    def _session(self) -> Session:
        session = exporting(self.store.name, self.options.retry_for, self.stopping)
        try:
            session.run(lambda connection: mark.take(connection, self.store, self.options.form, self.options.take_over))
        except BaseException:
            session.close()
            raise
        return session

    def _waiting(self, connection: Connection) -> int:
        progress = ledger.find(connection, self.store.name, self.options.form)
        return cut.waiting(connection, progress.position) if progress else 0

    def _step(self, connection: Connection, last_xact: str, linger: float) -> bool:
        """Export one cut, if there is one that is due; return whether another may be."""
        if self.stopping.is_set():
            return False
        progress = ledger.find(connection, self.store.name, self.options.form)
        if progress is None:
            raise Forgotten
        chosen = self._choose(connection, progress, last_xact, linger)
        if chosen is None:
            return False
        if not mark.hold(connection, self.store, self.options.form):
            raise NotTheLake  # it was there when this began
        workspace = self.store.workspace()
        try:
            written = self._write(connection, chosen, workspace) if chosen.batches else []
            self._put(connection, progress, chosen, written)
        except Stopped:
            return False
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
        return True

    def _choose(self, connection: Connection, progress: Progress, last_xact: str, linger: float) -> Cut | None:
        """The cut that was begun, or else the next one, if it is due."""
        if progress.until:
            return cut.planned(connection, progress.position, progress.until)
        batches = cut.safe(connection, progress.position, last_xact)
        return cut.cut(batches) if cut.due(connection, batches, linger) else None

    def _write(self, connection: Connection, chosen: Cut, workspace: Path) -> list[Written]:
        written = []
        with telling(str(workspace)), chunks(connection, chosen, self.options.form) as found:
            for one in write(map(self._watched, found), workspace, self.options.form):
                written.append(one)
                if self.stopping.is_set():
                    raise Stopped
        return written

    def _watched(self, chunk: Chunk) -> Chunk:
        self.bar.advance(len(chunk.rows), "exporting events")
        return chunk

    def _put(self, connection: Connection, progress: Progress, chosen: Cut, written: list[Written]) -> None:
        """Record the files, put them in place, and record that."""
        name, fragments = self.store.name, [one.fragment for one in written]
        for path in ledger.unwritten(connection, name) - {fragment.path for fragment in fragments}:
            self.store.remove(path)  # from a library's other version, whose bytes differ
        ledger.announce(connection, name, progress.position, chosen.until, fragments)
        self.store.place(written)
        ledger.advance(connection, name, chosen.until)
        self.counts.events += sum(fragment.rows for fragment in fragments)
        self.counts.files += len(fragments)
        self.counts.bytes += sum(fragment.size for fragment in fragments)
