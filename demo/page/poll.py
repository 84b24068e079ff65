"""Asks everything that the page shows, whether somebody looks at it or not, and keeps the last minutes.

Two threads, as `listener status` gives a listener up to two seconds to acknowledge. Nobody waits for them: they put what they
found into `Poll`, whose fields are only ever replaced. A database that is away is asked again every second, without end.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

import psycopg

from demo import proof
from demo.delivery import SLOT
from demo.figures import Connection, Figures, Reading, Seldom
from demo.page.charts import Point
from demo.pipeline import DATABASE, Pipeline
from demo.proof import Standing, Toggles
from demo.record import Answered, Arrival
from listener.status import Status, status

TICK_SECONDS: Final = 1.0
KEPT_POINTS: Final = 180
READER: Final = "segment_reader"
LISTENER: Final = "segment_listener"
OPTIONS: Final = "-c timezone=UTC -c statement_timeout=5s -c max_parallel_workers_per_gather=0"

FILES: Final = """
select path, rows, bytes, written_at, count(*) over () from lake_fragments
where written_at is not null
order by written_at desc, path limit 8
"""


class File(NamedTuple):
    """A file of the lake."""

    path: str
    events: int
    bytes: int
    written_at: datetime


@dataclass(frozen=True)
class Found:
    """What the tables said last; `unlike` is the most keys that one sample has found unlike their fold."""

    reading: Reading = field(default_factory=Reading)
    standing: Standing = field(default_factory=Standing)
    dead_letters: int = 0
    sample: tuple[int, int] = (0, 0)
    unlike: int = 0
    files: tuple[File, ...] = ()
    file_count: int = 0
    files_per_second: float = 0.0

    @property
    def lost(self) -> int:
        """Toggles that were neither received nor set aside, though everything was delivered."""
        return max(0, self.standing.overdue - self.dead_letters)

    @property
    def on_their_way(self) -> int:
        """Toggles that are still to be delivered."""
        return max(0, self.reading.toggles - self.standing.matched - self.standing.overdue)


class Poll:
    """What was found last: `away` says why PostgreSQL could not be asked, `slot` is None where its state is not known."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.found = Found()
        self.slot: Status | None = None
        self.away = ""
        self.points: deque[Point] = deque(maxlen=KEPT_POINTS)
        self._pipeline = pipeline
        self._record = pipeline.delivery.record
        self._stopping = threading.Event()
        self._connection: Connection | None = None
        self._figures = Figures()
        self._epoch: int | None = None
        self._begin()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Ask for as long as the block runs."""
        threads = [threading.Thread(target=run, name=run.__name__) for run in (self._watch_tables, self._watch_slot)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def _begin(self) -> None:
        """Forget what was found and received: the tables are new."""
        self._toggles = Toggles()
        self._arrivals: list[Arrival] = []
        self._sample = Seldom(proof.sample, (0, 0))
        self._files = Seldom[tuple[tuple[File, ...], int]](files, ((), 0))
        self._file_count = self._unlike = 0

    def _watch_tables(self) -> None:
        for _ in ticks(TICK_SECONDS, self._stopping):
            self._pipeline.mend()
            try:
                self._look()
            except psycopg.Error as error:
                self.away = words(error)
                self.points.append(Point(time.time(), delay=self._delay))
                self._disconnect()
        self._disconnect()

    def _look(self) -> None:
        if self._connection is None:
            self._connection = self._pipeline.server.connect(DATABASE, READER, autocommit=True, options=OPTIONS)
        if (known := self._pipeline.epoch) is None:  # the tables are being emptied
            return
        if self._epoch != known:
            self._epoch = known
            self._begin()
        # What is delivered is asked before what was received is taken, which is then all of that.
        delivered, dead = self._toggles.delivered_count, self.slot.dead_letters if self.slot else 0
        self._arrivals += self._record.take()  # they stay where reading fails
        sent, counters = self._pipeline.stream.sent, self._pipeline.delivery.receiver.counters
        reading = self._figures.read(self._connection, sent, counters)
        if self._pipeline.epoch != known:  # they have been emptied meanwhile: all this is of before
            return
        if self._figures.epoch != known:
            self._pipeline.follow_reset(known)
            return
        self._toggles.receive(self._arrivals)
        self._arrivals.clear()
        self._toggles.read(self._connection)
        found = self._found(self._connection, reading, self._toggles.standing(delivered), dead)
        if self._pipeline.epoch == known:
            self.found = found
            self.points.append(self._point(reading))
        self.away = ""

    def _found(self, connection: Connection, reading: Reading, standing: Standing, dead: int) -> Found:
        listed, count = self._files.latest(connection)
        written, self._file_count = max(0, count - self._file_count), count
        keys, equal = self._sample.latest(connection)
        self._unlike = max(self._unlike, keys - equal)
        return Found(reading, standing, dead, (keys, equal), self._unlike, listed, count, written)

    def _point(self, reading: Reading) -> Point:
        latencies = self._toggles.latencies()
        return Point(
            time.time(), reading.events_per_second, reading.toggles_per_second,
            quantile(latencies, 0.5), quantile(latencies, 0.99), self._delay, reading.documents_per_call or None,
        )  # fmt: skip

    @property
    def calls(self) -> list[Answered]:
        """The latest calls, the newest first."""
        return self._record.calls

    @property
    def _delay(self) -> float:
        return self._pipeline.delivery.receiver.settings.delay

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def _watch_slot(self) -> None:
        with asyncio.Runner() as runner:
            connection: psycopg.AsyncConnection[Any] | None = None
            for _ in ticks(TICK_SECONDS, self._stopping):
                toggles, read_count = self._toggles, self._toggles.read_count
                try:
                    connection = connection or runner.run(self._connect_to_ask())
                    self.slot = found = runner.run(status(connection, SLOT))
                    if found.caught_up:
                        toggles.delivered_count = read_count
                except psycopg.Error:  # the other thread says so
                    self.slot = None
                    connection = runner.run(closed(connection))
            runner.run(closed(connection))

    async def _connect_to_ask(self) -> psycopg.AsyncConnection[Any]:
        where = self._pipeline.server.address(DATABASE, LISTENER)
        return await psycopg.AsyncConnection.connect(**where, autocommit=True, options=OPTIONS)


async def closed(connection: psycopg.AsyncConnection[Any] | None) -> None:
    """Close a connection, if there is one; return that there is none."""
    if connection:
        await connection.close()


def ticks(seconds: float, stopping: threading.Event) -> Iterator[None]:
    """Now and then again, until stopping."""
    yield
    while not stopping.wait(seconds):
        yield


def files(connection: Connection) -> tuple[tuple[File, ...], int]:
    """The newest files of the lake, and how many there are."""
    found = connection.execute(FILES).fetchall()
    return tuple(File(*row[:-1]) for row in found), found[0][-1] if found else 0


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The value below which a share of them is; None where there are none."""
    return ordered[int(share * (len(ordered) - 1))] if ordered else None


def words(error: psycopg.Error) -> str:
    """What the server or libpq said, on one line."""
    return " ".join((error.diag.message_primary or str(error)).split())
