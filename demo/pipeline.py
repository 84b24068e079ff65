"""The demo's parts: what starts, stops, pauses and breaks them.

All of that happens in one thread, one thing after the other: programs end with the thread that started them, and a restart of
PostgreSQL never meets a reset. Others may read the state at any time.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import psycopg

from demo import postgres
from demo.calls import Settings
from demo.delivery import Delivery
from demo.errors import StepFailedError
from demo.lake import Lake
from demo.program import Program
from demo.stream import Stream

DATABASE: Final = "demo"
START_AGAIN_SECONDS: Final = 5.0
"""A program that ends by itself is started again, but not more often than this."""

KEPT_NOTES: Final = 50

TAKEN: Final = "select coalesce(sum(loaded + duplicates + rejected), 0)::bigint from segment_sources where source = 'demo'"

EPOCH: Final = "select xmin::text::bigint from segment_settings"
EMPTY: Final = "select segment_reset(); truncate segment_activity, segment_overlap; delete from webhook_dead_letters"


class Note(NamedTuple):
    """Something that was done to the parts, or that happened to them."""

    at: datetime
    text: str


class Pipeline:
    """Stream, loader, listener, receiver and lake on a server.

    With `keep` the receiver keeps every document; with `recorded` somebody takes what the record has, again and again.
    """

    def __init__(self, server: postgres.Server, rate: float, *, keep: bool, recorded: bool) -> None:
        environment = server.environment(DATABASE)
        self.server = server
        self.rate = rate
        self.paused = self.listener_paused = self.cut = False
        self.epoch: int | None = None  # another one after each reset of the tables; none while they are emptied
        self.notes: deque[Note] = deque(maxlen=KEPT_NOTES)
        self.stream = Stream(environment)
        self.delivery = Delivery(environment, keep=keep, recorded=recorded)
        self.lake = Lake(environment)
        self._starts: dict[Program, Callable[[], object]] = {
            self.delivery.listener: self.delivery.listener.start,
            self.lake.export: self.lake.export.start,
            self.stream.loader: self._start_stream,
        }
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pipeline")
        self._mending: Future[None] | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run for as long as the block does; however it ends, no process and no socket is left."""
        try:
            self._worker.submit(self._start).result()
            yield
        finally:
            self._worker.submit(self._stop).result()
            self._worker.shutdown()

    def check(self) -> None:
        """Raise what a program said that has ended by itself."""
        for program in self._starts:
            if program.down:
                raise program.failed()

    def mend(self) -> None:
        """Soon, start what has ended by itself."""
        if self._mending is None or self._mending.done():
            self._mending = self._worker.submit(self._mend)

    def finish(self) -> None:
        """End stream and export; then every event that was sent is in the table and in the lake."""
        self._worker.submit(self._finish).result()

    def set_rate(self, rate: float) -> Future[None]:
        """Send so many events a second from now on."""
        self.rate = rate
        return self._worker.submit(self._flow)

    def pause_stream(self, paused: bool) -> Future[None]:
        """Let the stream rest, or go on."""
        self.paused = paused
        return self._do(f"the stream {'rests' if paused else 'goes on'}", self._flow)

    def pause_listener(self, paused: bool) -> Future[None]:
        """Stop the listener, or start it again."""
        self.listener_paused, listener = paused, self.delivery.listener
        text = f"the listener is {'stopped' if paused else 'started'}"
        return self._do(text, (lambda: rest(listener)) if paused else self._start_listener)

    def kill_listener(self) -> Future[None]:
        """Kill -9 the listener; like a service it is started again."""
        return self._do("the listener is killed with -9", self.delivery.listener.kill)

    def restart_postgres(self) -> Future[None]:
        """Have the server end at once, as in a crash, and start again."""
        return self._do("PostgreSQL is stopped at once, as in a crash, and started", self._restart_postgres)

    def cut_receiver(self, cut: bool) -> Future[None]:
        """Have the receiver refuse connections and end those that there are, or take them again."""
        self.cut = cut
        return self._do(f"the receiver is {'cut off' if cut else 'connected again'}", self._connect)

    def reset(self) -> Future[None]:
        """Empty the tables and the lake, and start anew, with everything running."""
        self.paused = self.listener_paused = self.cut = False
        return self._do("the tables and the lake are emptied", self._reset)

    def follow_reset(self, epoch: int) -> None:
        """Somebody has emptied the tables, so that this is not their epoch any more: begin anew with them."""
        if self.epoch == epoch:
            self.epoch = None
            self._do("somebody has emptied the tables: the lake is emptied, too", self._reset)

    def _do(self, text: str, work: Callable[[], object]) -> Future[None]:
        """Note that something is done, when its turn comes, and do it."""

        def noted() -> None:
            self._note(text)
            work()

        return self._worker.submit(noted)

    def _note(self, text: str) -> None:
        self.notes.append(Note(datetime.now(UTC), text))

    def _start(self) -> None:
        self.lake.clear()
        for start in self._starts.values():
            start()
        with self.server.connect(DATABASE, autocommit=True) as connection:
            self._find_epoch(connection)

    def _find_epoch(self, connection: psycopg.Connection[Any]) -> None:
        ((self.epoch,),) = connection.execute(EPOCH).fetchall()

    def _start_stream(self) -> None:
        """With one lane lines are committed in their order, so those after as many as were taken died with the loader before."""
        with self.server.connect(DATABASE, autocommit=True) as connection:
            ((taken,),) = connection.execute(TAKEN).fetchall()
        self.stream.start(taken)
        self._flow()

    def _start_listener(self) -> None:
        if not self.delivery.listener.wanted:
            self.delivery.listener.start()

    def _flow(self) -> None:
        self.stream.flow(0 if self.paused else self.rate)

    def _mend(self) -> None:
        if self.epoch is None:  # a reset has failed
            with self.server.connect(DATABASE, autocommit=True) as connection:
                self._find_epoch(connection)
        for program, start in self._starts.items():
            if program.down and time.monotonic() - program.started_at > START_AGAIN_SECONDS:
                end = program.end()
                with contextlib.suppress(psycopg.OperationalError):  # then it is tried again
                    start()
                    self._note(f"the {program.name} {end} and is started again")

    def _finish(self) -> None:
        """Whatever knobs were turned, what is on its way is delivered at once."""
        self.cut, self.listener_paused = False, False
        vars(self.delivery.receiver.settings).update(vars(Settings()))
        self._connect()
        rest(self.delivery.listener)  # it may be waiting for its next try
        self.delivery.listener.start()
        self.stream.stop()
        self.lake.export.stop()
        self.lake.finish()

    def _restart_postgres(self) -> None:
        self.server.stop("immediate")
        self.server.start()

    def _reset(self) -> None:
        """Nothing writes or reads while the tables are emptied; the slot begins anew, as what it would deliver is gone."""
        for program in (self.stream, self.lake.export, self.delivery.listener):
            rest(program)
        try:
            with self.server.connect(DATABASE, autocommit=True) as connection:
                self.delivery.drop()
                self.delivery.clear()
                self.epoch = None
                connection.execute(EMPTY)
                self.lake.clear()
                self.stream.legs.clear()
                self._find_epoch(connection)
        finally:
            self._connect()
            for program, start in self._starts.items():
                program.wanted = True
                with contextlib.suppress(psycopg.OperationalError):  # then it is tried again
                    start()

    def _connect(self) -> None:
        """Have the receiver's port as it is wanted."""
        receiver = self.delivery.receiver
        if self.cut:
            receiver.stop()
        elif not receiver.listening:
            receiver.start()

    def _stop(self) -> None:
        """Stop whatever runs, first what brings more; a program's own bad end is told when everything is stopped."""
        with contextlib.ExitStack() as ends:
            ends.callback(self.delivery.drop)
            ends.callback(self.delivery.receiver.close)
            ends.callback(self.delivery.listener.stop)
            ends.callback(self.lake.export.stop)
            ends.callback(self.stream.stop)


def rest(program: Program | Stream) -> None:
    """Stop it; it may just have been killed."""
    with contextlib.suppress(StepFailedError):
        program.stop()
