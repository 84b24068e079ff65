"""What is done to the pipeline: one function for each kind of fault, which returns when the fault is over.

The disk is full for the lake by a limit on the size of the export's files: the system then says EFBIG, "File too large", where a
disk says ENOSPC; either comes out of the same write, needs no root, and leaves the disk to everybody else.
"""

import errno
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from threading import Event
from typing import Final, Literal

import psycopg

from chaos.pipeline import LISTENERS, SLOT, NotSettledError, Pipeline
from chaos.program import Program
from chaos.schedule import TRACKS, Fault
from demo.postgres import SUPERUSER
from lake.database import REVISION as LAKE_REVISION
from loader.database import REVISION as LOADER_REVISION

TICK: Final = 0.05
SMALL: Final = 512
"""Bytes that a file of the export may have while its disk is full."""

TOO_LARGE: Final = os.strerror(errno.EFBIG)

OLDEST: Final = max(LAKE_REVISION, LOADER_REVISION)
"""The oldest revision with which everything that runs goes on."""

LONGEST_SECONDS: Final = 60.0
"""In which a fault has to be there, and what recovers by itself has to."""

AWAY: Final = ("PostgreSQL stopped fast", "PostgreSQL stopped immediate", "PostgreSQL killed", "backend killed")
"""Faults while which there is no server: who is starting then, or is told to stop, ends with a sentence."""

BUILD: Final = "dbt build"
UNTRUE: Final = ("configured to fail if", " differs from ")
"""What dbt says of a test that has found something, rather than come to no answer, and of a unit test."""

OURS: Final = "from pg_stat_activity where usename like 'segment_%'"
BACKENDS: Final = f"select pid {OURS} order by pid"
END_SESSIONS: Final = f"select pg_terminate_backend(pid, 5000) {OURS}"
HOLDER: Final = """
select application_name from pg_replication_slots join pg_stat_activity on pid = active_pid where slot_name = %s
"""
SLEEP: Final = "select pg_sleep(10)"
WRITE_LOG: Final = "select pg_switch_wal() from pg_logical_emit_message(false, 'x', repeat('x', 1000))"
GIVEN_UP: Final = b"invalidating obsolete replication slot"
OWN_INDEX: Final = "create index concurrently our_index on segment_memberships (last) where member"
DROP_OWN_INDEX: Final = "drop index concurrently our_index"


@dataclass
class Happened:
    """A fault, between which Unix times it was there, and whether it did anything to anybody."""

    kind: str
    began: float
    ended: float = inf
    hit: bool = True

    def met(self, began: float, ended: float) -> bool:
        """Whether it was there at any time between these."""
        return self.began <= ended and self.ended >= began


class NotMadeError(Exception):
    """A fault could not be made."""


class Faults:
    """Makes faults; `over`, once set, cuts them short."""

    def __init__(self, pipeline: Pipeline, over: Event) -> None:
        self.pipeline = pipeline
        self.over = over
        self.happened: list[Happened] = []
        self._builds: Counter[str] = Counter()
        self._kinds: dict[str, Callable[[Fault], bool]] = {
            **dict.fromkeys(TRACKS["receiver"].kinds, self._receiver),
            "receiver down": self._receiver_down,
            "PostgreSQL stopped fast": partial(self._stop_server, "fast"),
            "PostgreSQL stopped immediate": partial(self._stop_server, "immediate"),
            "PostgreSQL killed": self._kill_server,
            "backend killed": self._kill_backend,
            "sessions ended": self._end_sessions,
            "slot invalidated": self._invalidate_slot,
            "disk full": self._fill_disk,
            "migration": self._migrate,
            "loader killed": lambda fault: self._ask(Program.kill, fault, "a", "b"),
            "loader stopped": lambda fault: self._ask(Program.stop, fault, "a", "b"),
            "piped loader killed": lambda _: self._ask_program(Program.kill, self.pipeline.pipe.loader),
            "batch loader killed": lambda fault: self.pipeline.load_batch(fault.seconds),
            "listener killed": self._kill_listener,
            "listener stopped": lambda fault: self._ask(Program.stop, fault, *LISTENERS),
            "export killed": lambda fault: self._ask(Program.kill, fault, "export"),
            "export stopped": lambda fault: self._ask(Program.stop, fault, "export"),
            "events redelivered": self._redeliver,
            BUILD: self._build,
        }

    @property
    def counts(self) -> Counter[str]:
        """How often each kind hit something; dbt's builds by how they ended."""
        return Counter(fault.kind for fault in self.happened if fault.hit and fault.kind != BUILD) + self._builds

    def make(self, fault: Fault) -> None:
        """Make a fault, and take note of when it was there."""
        if fault.kind == "listener killed":  # the time until then would excuse calls that no kill has met
            self._comes(lambda: self._holder() in LISTENERS)
        happened = Happened(fault.kind, time.time(), hit=False)
        self.happened.append(happened)
        try:
            happened.hit = self._kinds[fault.kind](fault)
        finally:
            happened.ended = time.time()

    def _ask(self, ask: Callable[[Program], bool], fault: Fault, *names: str) -> bool:
        """Kill or stop one of these services."""
        return self._ask_program(ask, self.pipeline.services[names[int(fault.chance * len(names))]])

    def _ask_program(self, ask: Callable[[Program], bool], program: Program) -> bool:
        """The same, as soon as it runs: it may have ended just before."""
        self._until(lambda: ask(program), f"{program.name} did not run")
        return True

    def _kill_listener(self, fault: Fault) -> bool:
        """Kill mostly the one that holds the slot, for the other has nothing in flight."""
        holder = self._holder()
        first, other = sorted(LISTENERS, key=lambda name: name != holder)
        return self._ask(Program.kill, fault, *[first] * 4, other)

    def _holder(self) -> str:
        """The program that holds the slot, as far as there is a server to ask, and somebody does."""
        with suppress(psycopg.OperationalError), self.pipeline.connect() as connection:
            if row := connection.execute(HOLDER, [SLOT]).fetchone():
                return str(row[0])
        return ""

    def _redeliver(self, fault: Fault) -> bool:
        self.pipeline.pipe.redeliver(fault.chance)
        return True

    def _receiver(self, fault: Fault) -> bool:
        """Behave so, and until a call has come to see it."""
        behaviour = self.pipeline.behaviour
        behaviour.become(fault.kind)
        self.over.wait(fault.seconds)
        hit = self._comes(lambda: behaviour.hit)
        behaviour.become("")
        return hit

    def _receiver_down(self, fault: Fault) -> bool:
        try:
            self.pipeline.receiver.stop()
            self.over.wait(fault.seconds)
        finally:
            self.pipeline.receiver.start()
        return True

    def _stop_server(self, mode: Literal["fast", "immediate"], fault: Fault) -> bool:
        return self._server_away(partial(self.pipeline.server.stop, mode), fault)

    def _kill_server(self, fault: Fault) -> bool:
        return self._server_away(self.pipeline.server.kill, fault)

    def _server_away(self, end: Callable[[], None], fault: Fault) -> bool:
        try:
            end()
            self.over.wait(fault.seconds)
        finally:
            self.pipeline.server.start()
        return True

    def _kill_backend(self, fault: Fault) -> bool:
        """Kill -9 one session's process: the server ends all the others, and recovers by itself."""
        with closing(self.pipeline.connect()) as connection:

            def killed() -> bool:
                pids = [pid for (pid,) in connection.execute(BACKENDS).fetchall()]
                with suppress(IndexError, ProcessLookupError):  # nobody is connected, or not any more
                    os.kill(pids[int(fault.chance * len(pids))], signal.SIGKILL)
                    return True
                return False

            self._until(killed, "nobody is connected")
            with suppress(psycopg.OperationalError):  # this session is ended, too
                connection.execute(SLEEP)
        self._until(self._answers, "the server did not recover")
        return True

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError), self.pipeline.connect():
            return True
        return False

    def _end_sessions(self, _fault: Fault) -> bool:
        with self.pipeline.connect() as connection:
            self._until(lambda: bool(connection.execute(END_SESSIONS).fetchall()), "nobody is connected")
        return True

    def _invalidate_slot(self, _fault: Fault) -> bool:
        """Have the server give the slot up for the log that it keeps, though a listener reads it."""
        before = self._given_up()
        with self.pipeline.connect() as connection:
            connection.execute("alter system set max_slot_wal_keep_size = '1MB'")
            connection.execute("select pg_reload_conf()")

            def given_up() -> bool:
                for _ in range(3):
                    connection.execute(WRITE_LOG)
                connection.execute("checkpoint")
                return self._given_up() > before

            try:
                self._until(given_up, "the server did not give the slot up")
            finally:
                connection.execute("alter system reset max_slot_wal_keep_size")
                connection.execute("select pg_reload_conf()")
        return True

    def _given_up(self) -> int:
        """How often the server says that it gave a slot up."""
        return (self.pipeline.server.folder / "server.log").read_bytes().count(GIVEN_UP)

    def _fill_disk(self, fault: Fault) -> bool:
        """Have no file of the export's grow, and until it has ended for that."""
        began, earlier = time.monotonic(), len(self.pipeline.ends)

        def full() -> bool:
            self._limit_export(SMALL)
            met = any(end.name == "export" and TOO_LARGE in end.said for end in self.pipeline.ends[earlier:])
            return met and time.monotonic() > began + fault.seconds

        try:
            return self._comes(full)
        finally:
            self._limit_export(resource.RLIM_INFINITY)

    def _limit_export(self, size: int) -> None:
        """Limit the files of the export that runs now, if one does."""
        process = self.pipeline.services["export"].process
        with suppress(ProcessLookupError):
            if process and process.poll() is None:
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def _migrate(self, _fault: Fault) -> bool:
        """An index of one's own, and the schema a revision or so back and up again, as when an upgrade is undone."""
        with self.pipeline.connect() as connection:
            connection.execute(OWN_INDEX)
            for words in (("downgrade", OLDEST), ("upgrade", "head")):
                self.pipeline.run(SUPERUSER, "alembic", *words)
            connection.execute(DROP_OWN_INDEX)
        return True

    def _build(self, _fault: Fault) -> bool:
        """Have dbt build and test everything; where the server goes away or changes meanwhile it may come to no answer."""
        began = time.time()
        try:
            self.pipeline.build()
        except NotSettledError as error:
            if not is_cut_off(str(error), began, self.happened):
                raise
            self._builds[f"{BUILD}, cut off"] += 1
        else:
            self._builds[f"{BUILD}, all of it true"] += 1
        return True

    def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Wait until it holds, but not for ever."""
        if not self._comes(condition):
            raise NotMadeError(otherwise)

    def _comes(self, condition: Callable[[], bool]) -> bool:
        """The same; false: it does not come to hold."""
        ends_at = time.monotonic() + LONGEST_SECONDS
        while not (held := condition()) and time.monotonic() < ends_at and not self.over.is_set():
            time.sleep(TICK)
        return held


def is_cut_off(said: str, began: float, happened: Iterable[Happened]) -> bool:
    """Whether a build that began then may have failed so until now: no test has found anything, and the server was hit."""
    hits = (fault for fault in happened if fault.kind in (*AWAY, "migration"))
    return not any(words in said for words in UNTRUE) and any(fault.met(began, time.time()) for fault in hits)


def misses(happened: Sequence[Happened]) -> list[str]:
    """A sentence for each kind of fault that never did anything to anybody."""
    hit = {fault.kind for fault in happened if fault.hit}
    return [f"The fault {kind!r} was made and hit nothing." for kind in sorted({fault.kind for fault in happened} - hit)]
