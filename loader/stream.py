"""Wires the loader: sources are read and decoded here, lanes commit.

The main thread reads, decodes and hands lines out; each lane has a thread that talks to the server. A batch closes on count,
bytes, or, once the batch before has landed, on time: so a fast stream makes large batches and a slow one shows up at once.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Event
from typing import cast

from loader.copy import Counts
from loader.database import Connection, Result, Session, check, ensure_partitions
from loader.event import Limits, Reject
from loader.lane import Lane
from loader.ndjson import Block, Lines, decode
from loader.rows import Rows
from loader.source import BEGUN, BUCKETS, Source, lock, resume, unlock

MAX_BATCH_BYTES = 8 * 1024 * 1024
LIMITS_SECONDS = 10.0
"""How old the server's clock and horizon, as the loader knows them, may become."""

PACE_SECONDS = 0.05
"""With a rate: how long a burst may be."""

LIMITS = "select clock_timestamp(), horizon, first_day::text from segment_settings"
COUNTED = "select loaded, duplicates, rejected, suppressed from segment_sources where source = %s"


@dataclass(frozen=True)
class Options:
    """How to load; times in seconds."""

    rate: float | None = None
    lanes: int = 2
    batch_size: int = 40_000
    linger: float = 0.1
    max_future: timedelta = timedelta(days=1)
    max_line: int = 1024 * 1024
    retry_for: float = 60.0


class Clock:
    """The server's clock and horizon, asked for now and then."""

    def __init__(self, control: Session, max_future: timedelta) -> None:
        self._control = control
        self._max_future = max_future
        self._asked_at = float("-inf")
        self.first_day = ""

    def limits(self) -> Limits:
        """Which timestamps are valid at this moment."""
        now = time.monotonic()
        if now - self._asked_at > LIMITS_SECONDS:
            self._asked_at = now
            self._server_now, self._horizon, self.first_day = self._control.run(ask_limits)
        since = timedelta(seconds=now - self._asked_at)
        return Limits(later(self._server_now, since + self._max_future), self._horizon)


def later(moment: datetime, by: timedelta) -> datetime:
    """The moment moved by so much, or the last one there is."""
    return moment + min(by, datetime.max.replace(tzinfo=UTC) - moment)


def ask_limits(connection: Connection) -> tuple[datetime, datetime | None, str]:
    """The server's time, the horizon, and the first UTC day with a partition of its own."""
    return cast(tuple[datetime, datetime | None, str], connection.execute(LIMITS).fetchone())


class Stream:
    """Loads sources one after the other; `stopping`, once set, ends it after the batches in flight."""

    def __init__(self, options: Options, stopping: Event, on_progress: Callable[[Counts], None]) -> None:
        self.options = options
        self.stopping = stopping
        self.on_progress = on_progress
        self.counts = Counts()
        self._days: set[str] = set()
        self._began_at: float | None = None
        self._paced = 0

    def __enter__(self) -> "Stream":
        with ExitStack() as undo:
            self._control = Session(self.options.retry_for, self.stopping)
            undo.callback(self._control.close)
            self._lanes: list[Lane] = []
            for number in range(self.options.lanes):
                lane = Lane(Session(self.options.retry_for, self.stopping), list(range(number, BUCKETS, self.options.lanes)))
                self._lanes.append(lane)
                undo.callback(lane.shut)
            self._undo = undo.pop_all()
        self._clock = Clock(self._control, self.options.max_future)
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def open(self, source: Source, enter: Callable[[Connection, Source], str] = resume) -> str:
        """Lock the source and find out how far it was read, as `enter` does; return a sentence about that."""

        def relock(connection: Connection) -> None:
            check(connection)
            lock(connection, source)

        self._control.run(lambda connection: lock(connection, source))
        self._control.on_connect = relock
        self.ask(lambda connection: connection.execute(BEGUN, [source.name]))
        return self.ask(lambda connection: enter(connection, source))

    def ask(self, work: Callable[[Connection], Result]) -> Result:
        """Return what `work` returns on the connection that loads nothing."""
        return self._control.run(work)

    def load(self, source: Source) -> bool:
        """Load the source from where it is to its end, or until stopping; return whether the end was reached."""
        self._source = source
        self._skip_below = max(source.positions.values())
        self._done = source.start
        before, counted_before = self.counts, self._counted()
        for lane in self._lanes:
            lane.begin(source)
        complete = self._read(Lines(self.options.max_line, source.start))
        for lane in self._lanes:
            self._count(lane.close_batch(self._done))
        for lane in self._lanes:
            self._count(lane.land())
        self._control.run(partial(unlock, source=source))
        if source.seekable:  # exact even where a commit had stayed unclear
            self.counts = before.plus(Counts(*(now - was for now, was in zip(self._counted(), counted_before, strict=True))))
        return complete

    def _read(self, lines: Lines) -> bool:
        for chunk in self._source.chunks(self.options.linger):
            self._take_all(lines.feed(chunk), lines.position)
            self._close_lingering()
            if self.stopping.is_set():
                return False
        if not self._source.gone:
            self._take_all(lines.finish(), lines.position)
        return self._done == lines.position

    def _take_all(self, pieces: list[Block | Reject], end: int) -> None:
        """Take pieces that lie one after the other up to `end`, or only the first ones when told to stop."""
        ends = [piece.position for piece in pieces[1:]] + [end]
        for piece, piece_end in zip(pieces, ends, strict=False):
            rows, rejects = decode(piece, self._clock.limits()) if isinstance(piece, Block) else (Rows(), [piece])
            self._ensure_partitions(rows)
            at = 0
            next_rejects = [reject.position for reject in rejects[1:]] + [piece_end]
            for reject, next_reject in zip(rejects, next_rejects, strict=False):
                before = bisect_left(rows.positions, reject.position, at)
                self._take(rows.part(at, before), reject.position)
                at = before
                self._take(reject, min(next_reject, rows.positions[at]) if at < len(rows) else next_reject)
            self._take(rows.part(at, len(rows)) if at else rows, piece_end)

    def _take(self, taken: Rows | Reject, end: int) -> None:
        """Hand out lines that lie before `end`, when they are due."""
        if isinstance(taken, Reject):
            for _ in self._paces(1):
                self._reject(taken, end)
            return
        for start, stop in self._paces(len(taken)):
            self._hand_out(taken.part(start, stop), taken.positions[stop] if stop < len(taken) else end)

    def _paces(self, count: int) -> Iterator[tuple[int, int]]:
        """Cut `count` lines into bursts and wait before each until it is due, until told to stop; without a rate it is one."""
        if self.options.rate is None:
            if not self.stopping.is_set():
                yield 0, count
            return
        self._began_at = self._began_at or time.monotonic()
        burst = max(1, int(self.options.rate * PACE_SECONDS))
        for start in range(0, max(count, 1), burst):
            due = self._began_at + self._paced / self.options.rate
            while not self.stopping.is_set() and (early := due - time.monotonic()) > 0:
                self.stopping.wait(min(early, max(self.options.linger, PACE_SECONDS)))
                self._close_lingering()
            if self.stopping.is_set():
                return
            stop = min(start + burst, count)
            self._paced += stop - start
            yield start, stop

    def _hand_out(self, rows: Rows, end: int) -> None:
        """Give each row to the lane of its bucket, unless it was committed by an earlier run; `end` is where the next line is."""
        if rows and rows.positions[0] < self._skip_below:
            rows = rows.missing(self._source.positions)
        for lane in self._lanes:
            mine = lane.mine(rows)
            while len(lane.batch) + len(mine) >= self.options.batch_size:
                room = self.options.batch_size - len(lane.batch)
                lane.add(mine.part(0, room))
                mine = mine.part(room, len(mine))
                self._count(lane.close_batch(mine.positions[0] if mine else end))
            lane.add(mine)
            if lane.batch.bytes >= MAX_BATCH_BYTES:
                self._count(lane.close_batch(end))
        self._done = end

    def _reject(self, reject: Reject, end: int) -> None:
        """Give a reject to the lane of its bucket, unless it was committed by an earlier run; `end` is where the next line is."""
        self._done = end
        if reject.position < self._source.positions[reject.bucket]:
            return
        lane = self._lanes[reject.bucket % len(self._lanes)]
        lane.add_reject(reject)
        if len(lane.batch) >= self.options.batch_size or lane.batch.bytes >= MAX_BATCH_BYTES:
            self._count(lane.close_batch(end))

    def _close_lingering(self) -> None:
        """Close batches whose first line has waited long enough, and let idle lanes keep up with the others."""
        now = time.monotonic()
        for lane in self._lanes:
            if not lane.idle:
                continue
            lingers = lane.opened_at is not None and now - lane.opened_at >= self.options.linger
            if lingers or self._done - lane.batch.end > MAX_BATCH_BYTES:
                self._count(lane.close_batch(self._done))
            else:
                self._count(lane.land())

    def _ensure_partitions(self, rows: Rows) -> None:
        """Make the partitions that the rows need; days before the first one share a partition that is there."""
        days = rows.days - self._days
        if not days:
            return
        wanted = {day for day in days if day >= self._clock.first_day}
        if wanted:
            self._control.run(lambda connection: ensure_partitions(connection, wanted))
        self._days |= wanted

    def _counted(self) -> Counts:
        """What the database has counted for the source."""
        row = self._control.run(lambda connection: connection.execute(COUNTED, [self._source.name]).fetchone())
        return Counts(*cast(tuple[int, int, int, int], row or (0, 0, 0, 0)))

    def _count(self, counts: Counts) -> None:
        self.counts = self.counts.plus(counts)
        self.on_progress(self.counts)
