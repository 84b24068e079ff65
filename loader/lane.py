"""A lane: one connection, the buckets of users that it loads, one batch in the making and one in flight.

Users are split among lanes by their bucket, so that a key's events stay in order. The batch in flight is written by the lane's
own thread; handing over the next one waits for it, which bounds memory at two batches a lane.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from loader.copy import Copier, Counts, MissingPartition
from loader.database import Collision, Connection, Session, ensure_partitions
from loader.errors import SourceForgotten
from loader.event import Reject
from loader.rows import Rows
from loader.source import ADVANCE, Positions, Source, reread_positions

COUNT = """
update segment_sources
set
  loaded = loaded + %s, duplicates = duplicates + %s, rejected = rejected + %s, suppressed = suppressed + %s, updated_at = now()
where source = %s
"""


@dataclass
class Batch:
    """Lines on their way to one commit; `end`: every line of the lane's buckets that starts below it is here or done."""

    rows: Rows = field(default_factory=Rows)
    rejects: list[Reject] = field(default_factory=list)
    bytes: int = 0
    end: int = 0

    def __len__(self) -> int:
        return len(self.rows) + len(self.rejects)

    def add(self, rows: Rows) -> None:
        """Take more rows."""
        self.rows.extend(rows)
        self.bytes += sum(map(len, rows.lines))

    def add_reject(self, reject: Reject) -> None:
        """Take one more line that is no event."""
        self.rejects.append(reject)
        self.bytes += len(reject.bytes)

    def drop_done(self, positions: Positions) -> None:
        """Forget the lines that are below their bucket's position: they are committed."""
        self.rows = self.rows.missing(positions)
        self.rejects = [reject for reject in self.rejects if reject.position >= positions[reject.bucket]]


class Lane:
    """Collects lines into a batch and commits batches one after the other."""

    def __init__(self, session: Session, buckets: list[int]) -> None:
        self.batch = Batch()
        self.opened_at: float | None = None
        self._session = session
        self._buckets = buckets
        self._copier = Copier()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lane")
        self._flight: Future[Counts] | None = None
        self._table = bytes(bucket in buckets for bucket in range(256))
        self._known: Positions = {}
        self._doubtful = False

    def begin(self, source: Source) -> None:
        """Turn to another source; nothing of an earlier one is left."""
        self._source = source
        self._known = {bucket: source.positions[bucket] for bucket in self._buckets}
        self.batch.end = source.start

    def mine(self, rows: Rows) -> Rows:
        """The rows that belong to this lane."""
        return rows.only(rows.buckets.translate(self._table))

    def add(self, rows: Rows) -> None:
        """Take more rows into the batch in the making."""
        if rows:
            self.opened_at = self.opened_at or time.monotonic()
            self.batch.add(rows)

    def add_reject(self, reject: Reject) -> None:
        """Take one more line that is no event into the batch in the making."""
        self.opened_at = self.opened_at or time.monotonic()
        self.batch.add_reject(reject)

    def close_batch(self, end: int) -> Counts:
        """Send the batch off when the one before has landed; return what that one brought."""
        counts = self.land()
        self.batch.end = end
        self._flight = self._thread.submit(self._session.run, partial(self._commit, batch=self.batch))
        self.batch, self.opened_at = Batch(end=end), None
        return counts

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight, or what was has landed."""
        return self._flight is None or self._flight.done()

    def land(self) -> Counts:
        """Wait for the batch in flight; return what it brought or raise what went wrong with it."""
        flight, self._flight = self._flight, None
        return flight.result() if flight else Counts()

    def shut(self) -> None:
        """Wait for the thread and close the connection."""
        self._thread.shutdown(wait=True)
        self._session.close()

    def _commit(self, connection: Connection, batch: Batch) -> Counts:
        """Write the batch and move the positions, in one transaction; after a doubtful commit look at the positions first."""
        if self._source.seekable:
            if self._doubtful:
                positions = reread_positions(connection, self._source.name)
                self._known = {bucket: positions[bucket] for bucket in self._buckets}
            batch.drop_done(self._known)  # always: they may be far ahead, when somebody else has moved them
        self._doubtful = True
        try:
            counts = self._write(connection, batch)
        except MissingPartition as error:
            ensure_partitions(connection, batch.rows.days)
            raise Collision from error
        self._doubtful = False
        return counts

    def _write(self, connection: Connection, batch: Batch) -> Counts:
        with connection.transaction():
            counts = self._copier.write(connection, self._source.name, batch.rows, batch.rejects)
            self._advance(connection, batch.end)
            if any(counts) and connection.execute(COUNT, [*counts, self._source.name]).rowcount != 1:
                raise SourceForgotten
        return counts

    def _advance(self, connection: Connection, end: int) -> None:
        """Move the lane's positions up to `end`; raise Collision when they are not where this lane left them."""
        if not self._source.seekable:
            return
        moved = {bucket: max(end, position) for bucket, position in self._known.items()}
        values = [list(moved), [self._known[bucket] for bucket in moved], list(moved.values()), self._source.name]
        if connection.execute(ADVANCE, values).rowcount != len(moved):
            raise Collision
        self._known = moved
