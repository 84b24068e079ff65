"""Erasure: a user goes from the database and from every lake, and does not come back.

    suppress   from here on no event of theirs is taken
    leave      they leave each segment that they are in, and every listener delivers that
    tables     their rows go, in one transaction
    quarantine and so do lines that name them
    lakes      each file that has events of theirs is written anew without them, put in place, and the old one removed

Each step may be done again: wherever this ends, the same command goes on. What is left says that somebody was erased, not who.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

import psycopg
from psycopg import errors

from lake import ledger, mark
from lake.database import exporting, one
from lake.errors import LakeError, StillInUse, Unfinished
from lake.layout import is_events, printable
from lake.progress import Bar
from lake.rewrite import without
from lake.store import Store, find_store
from lake.verify import digest
from loader.database import Connection, Session
from loader.rejects import Selection, pages
from loader.subject import users

HELD = "SG006"
"""The SQLSTATE of a user who is a member still, or whose leaving was not delivered."""

POLL_SECONDS = 0.2
SUPPRESS_SECONDS = 1.0
"""How long loaders have the list to themselves between two attempts."""


@dataclass(frozen=True)
class Report:
    """What was removed from one place."""

    where: str
    what: dict[str, int]

    def __str__(self) -> str:
        return f"{self.where}: {', '.join(f'{count:,} {name}' for name, count in self.what.items())}"


class Erase:
    """Erases one user; `stopping`, once set, ends it at the next point where it can go on from."""

    def __init__(self, session: Session, user: str, retry_for: float, stopping: Event, bar: Bar) -> None:
        self.session = session
        self.user = user
        self.retry_for = retry_for
        self.stopping = stopping
        self.bar = bar

    def run(self) -> Iterator[Report]:
        """Erase, and tell of each place once it is done; raise Unfinished where the user may be somewhere still."""
        self._suppress()
        yield self._tables()
        yield Report("quarantine", {"rejects": self._rejects()})
        unfinished: list[str] = []
        for destination, form in self.session.run(ledger.destinations):
            try:
                yield self._lake(find_store(destination), form)
            except LakeError as error:
                unfinished.append(f"{printable(destination)}: {error}")
        self._ask("select segment_erase_statistics()")
        if unfinished:
            raise Unfinished(f"{' '.join(unfinished)} {Unfinished()}")
        self._ask("select segment_erasure_finished(%s)", self.user)

    def _suppress(self) -> None:
        ends_at = time.monotonic() + self.retry_for
        while not self._is_suppressed():
            if self.stopping.wait(SUPPRESS_SECONDS) or time.monotonic() > ends_at:
                raise StillInUse("A transaction that adds events is open for long: end it, and run the command again.")

    def _is_suppressed(self) -> bool:
        """Suppress the user, unless that would have to wait for long."""
        try:
            self._ask("select segment_suppress(%s)", self.user)
        except errors.LockNotAvailable:
            return False
        return True

    def _tables(self) -> Report:
        """They leave, every listener delivers that, and their rows go; begun again where somebody has added them meanwhile."""
        left = 0
        ends_at = time.monotonic() + self.retry_for
        while True:
            left += self._ask("select segment_leave(%s)", self.user)[0]
            self._await_listeners(ends_at)
            try:
                removed = self._ask("select * from segment_erase_user(%s)", self.user)
            except psycopg.DatabaseError as error:
                if error.sqlstate != HELD:
                    raise
                if time.monotonic() > ends_at:
                    raise Unfinished(
                        "Somebody adds the user to segments all the while: end that, and run the command again."
                    ) from None
                continue
            names = ("events", "outcomes", "memberships", "dead letters")
            return Report("tables", {"segments left": left, **dict(zip(names, removed, strict=True))})

    def _await_listeners(self, ends_at: float) -> None:
        told = False
        while slots := self._ask("select segment_leave_awaited(%s)", self.user)[0]:
            named = ", ".join(map(printable, slots))
            if not told:
                self.bar.say(f"waiting until it is delivered that the user left: slot {named}")
            told = True
            if self.stopping.wait(POLL_SECONDS) or time.monotonic() > ends_at:
                raise Unfinished(
                    f"The listener of the slot {named} has not delivered yet that the user left: run it, or, if that webhook is "
                    "given up, listener drop; then run the same command again."
                )

    def _rejects(self) -> int:
        removed = 0
        for page in pages(self.session, Selection()):
            if numbers := [reject.number for reject in page if self.user in users(reject.bytes)]:
                removed += self._ask("select segment_erase_rejects(%s)", numbers)[0]
        return removed

    def _lake(self, store: Store, form: str) -> Report:
        """Write anew each file that has events of the user, and see that nothing else may."""
        with closing(exporting(store.name, self.retry_for, self.stopping)) as session:
            if not session.run(partial(mark.hold, store=store, form=form)):
                return Report(printable(store.name), {"events": 0, "files": 0})
            shutil.rmtree(store.workspace(), ignore_errors=True)  # of an export that was killed
            for path in session.run(partial(ledger.unwritten, destination=store.name)):
                store.remove(path)  # an export that was killed makes it anew, without the user
            events = files = 0
            for fragment in session.run(lambda connection: self._suspects(connection, store)):
                if self.stopping.is_set():
                    raise Unfinished(f"Stopped as asked at {printable(store.name)}.")
                self.bar.advance(fragment.size, "searching files")
                if gone := session.run(partial(self._replace, store=store, fragment=fragment)):
                    events += gone
                    files += 1
            for path in session.run(partial(ledger.removals, destination=store.name)):
                store.remove(path)
                session.run(partial(ledger.removed, destination=store.name, path=path))
            session.run(lambda connection: one(connection, "select lake_recount(%s)", store.name))
            session.run(partial(self._see_foreign, store=store))
        return Report(printable(store.name), {"events": events, "files": files})

    def _suspects(self, connection: Connection, store: Store) -> list[ledger.Recorded]:
        query = "select segment_erasure_files(%s, %s)"
        paths = {path for (path,) in connection.execute(query, [self.user, store.name])}
        return [fragment for fragment in ledger.fragments(connection, store.name) if fragment.path in paths]

    def _replace(self, connection: Connection, store: Store, fragment: ledger.Recorded) -> int:
        """Put a file without the user in another one's place; return how many events were theirs."""
        folder = store.workspace()
        try:
            written = without(store, fragment, self.user, folder)
            if written is None:
                return 0
            new = written.fragment if written.fragment.rows else None
            if new:
                ledger.record_instead(connection, store.name, fragment.path, new)
                store.place([written])
                if digest(store, new.path, self.bar) != new.checksum:
                    raise LakeError(f"{printable(new.path)} is not as it was written: see that its disk is sound.")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        ledger.replaced(connection, store.name, fragment.path, new.path if new else None)
        store.remove(fragment.path)
        ledger.removed(connection, store.name, fragment.path)
        return fragment.rows - (new.rows if new else 0)

    def _see_foreign(self, connection: Connection, store: Store) -> None:
        foreign = sorted(set(filter(is_events, store.sizes())) - ledger.paths(connection, store.name))
        if foreign:
            more = f" and {len(foreign) - 1:,} more" if foreign[1:] else ""
            raise LakeError(
                f"it has files that this database does not know ({printable(foreign[0])}{more}), "
                "which may have events of the user: look, and move them away."
            )

    def _ask(self, query: str, *values: Any) -> tuple[Any, ...]:
        return self.session.run(lambda connection: one(connection, query, *values)) or ()
