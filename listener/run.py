"""Wires the listener: a stream that fills an outbox, a delivery that empties it, and what keeps both in step with the database.

On one event loop one task reads and one delivers, and others do at their time what must not wait for these. Before the next call
is made, what was delivered is written to the cursor, and as far as whole transactions go acknowledged to the server.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from math import nan

import psycopg
from psycopg import errors

from listener import slot
from listener.base import Renewal
from listener.cursor import WRITER, Cursor, DeadLetter, save, save_base
from listener.database import Database, away, check, check_publication, check_server, only, words
from listener.delivery import Delivery, Outcome, Policy, Posting, happened
from listener.errors import CursorMoved, NoDatabase, NoPublication, NoStream, PublicationMade, SlotBusy, SlotLost, StoppedWaiting
from listener.log import Level, say
from listener.metrics import Metrics
from listener.outbox import Outbox, Position
from listener.past import Recorded, Selection, batches, pages
from listener.replication import MOMENT, Replication, Stream, StreamEnded
from listener.webhook import Webhook, origin

TICK = 0.1
"""Seconds between looks at what is due."""

SAVE_EVERY = 1.0
"""Seconds: what is lost of the cursor when listener and server die together."""

MANY = 1000
"""So many documents wait before it is asked whether more are about to come."""

DENSE = 40_000
"""Documents a second; who gets as many is catching up."""

MEASURE_EVERY = 5.0
"""Seconds between questions to the server for the metrics."""

HEARD_WITHIN = 1.0
"""Seconds since the last word of the stream after which it is worth asking whether the slot is still ours."""

RESTARTS = 3
"""How often the server may be found gone, right after it was there, while the slot is made or waited for."""

BUFFER_BODIES = 8
"""How many bodies of the largest size the outbox may hold."""


MEASURES = """
select (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint, (select count(*) from webhook_dead_letters where slot = %s)
"""

BASE = "select pg_current_snapshot()::text, (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"
"""The snapshot is taken first, so that what it sees was committed before that position."""


@dataclass(frozen=True)
class Options(Posting):
    """What the command line says."""

    slot: str
    publication: str
    only: Sequence[str]
    whole_past: bool
    max_buffer: int
    stop_on_poison: bool
    wait: bool
    until_caught_up: bool
    metrics_address: str
    metrics_port: int | None

    @property
    def with_outcome(self) -> bool:
        """Whether documents tell their outcome: what is published besides toggles could not be told apart otherwise."""
        return self.publication != "segment_toggles"


class Restart(Exception):  # noqa: N818 - caught here
    """What is in memory is not the latest any more: begin anew from the cursor."""


async def listen(options: Options, stopping: asyncio.Event) -> None:
    """Deliver until `stopping` is set or, if asked for, everything is delivered."""
    database = Database()
    await database.open()
    try:
        async with Webhook(options.url, options.secrets, options.compress, options.timeout) as webhook:
            await database.run(lambda c: check(c, options.publication))
            metrics = Metrics(options.slot)
            with metrics.served(options.metrics_address, options.metrics_port):
                while not await Session(options, database, webhook, stopping, metrics).finished():
                    say(Level.WARNING, "beginning anew from the cursor")
    finally:
        await database.close()


class Session:
    """From taking hold of the slot until the end, or until somebody else had it meanwhile."""

    def __init__(self, options: Options, database: Database, webhook: Webhook, stopping: asyncio.Event, metrics: Metrics) -> None:
        self.options = options
        self.metrics = metrics
        self.database = database
        self.webhook = webhook
        self.stopping = stopping
        self.delivery = Delivery(webhook, Policy(options.max_bytes, options.stop_on_poison), stopping, self)
        self.room = asyncio.Event()
        self.arrived = asyncio.Event()
        self.connected = asyncio.Event()
        self.timeline: int | None = None
        self.target = 0
        self.caught_up: str | None = None
        """The base once delivery has reached the target."""
        self.lost = False
        self.oldest_of_past: datetime | None = None
        self.renewal = Renewal()
        self.stream: Stream
        self.outbox: Outbox
        self.cursor: Cursor

    async def finished(self) -> bool:
        """Run; return whether that is the end, rather than a reason to begin anew."""
        try:
            made = await self._prepare()
            if await self._take_hold():
                await self._listen(made)
        except (Restart, CursorMoved):
            return False
        except SlotLost:
            found = await self.database.run(lambda c: slot.find(c, self.options.slot))
            if found and not found.lost and not self.lost:
                raise  # it is there, and yet it does not stream
            return False
        return True

    async def _listen(self, made: bool) -> None:
        """Deliver, now that the slot is ours."""
        self.database.on_away = self._let_go
        try:
            await self._held()
            say(Level.INFO, "listening", slot=self.options.slot, slot_is_new=made, url=origin(self.options.url))
            await self._run()
        except BaseExceptionGroup as group:
            error = innermost(group)
            if isinstance(error, NoPublication):
                await self.database.run(lambda c: check_publication(c, self.options.publication))
                raise PublicationMade from None
            raise error from None
        finally:
            self.metrics.unknown()
            await self.stream.close()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            others = [self._receive(), self._keep_alive(), self._keep_up(), self._give_up()]
            if self.options.metrics_port is not None:
                others.append(self._measure())
            tasks = [group.create_task(other) for other in others]
            await self._deliver()
            for task in tasks:
                task.cancel()

    # Taking hold of the slot

    async def _prepare(self) -> bool:
        """See to it that there is a slot; return whether it is new. If the server goes away meanwhile, begin again."""
        for _ in range(RESTARTS):
            try:
                return await self._prepare_once()
            except psycopg.OperationalError as error:
                if not away(error):
                    raise
                say(Level.WARNING, "the slot could not be made; trying again", error=words(error))
            except NoStream:
                await happened(self.stopping, TICK)  # the server refuses, or went away just now: the next look tells
        return await self._prepare_once()

    async def _prepare_once(self) -> bool:
        """The same, unless the server goes away. To make a slot can take long: told to stop, let it be."""
        options = self.options
        fresh = Cursor(
            options.slot, options.publication, only=list(options.only), past="wanted" if options.whole_past else "none"
        )
        preparing = asyncio.create_task(slot.prepare(self.database, fresh, options.wait))
        stopping = asyncio.create_task(self.stopping.wait())
        await asyncio.wait([preparing, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not preparing.done():
            preparing.cancel()
            await asyncio.wait([preparing])
            return False
        return await preparing

    async def _take_hold(self) -> bool:
        """Start the stream, as soon as nobody else has it; false: told to stop meanwhile."""
        waited, failures = 0.0, 0
        while not self.stopping.is_set():
            self.outbox = self._new_outbox(await self._load())
            try:
                self.stream = await self._open()
            except errors.ObjectInUse:
                await self._busy(waited)
            except (psycopg.OperationalError, NoDatabase):
                failures += 1
                if failures > RESTARTS:
                    raise
            else:
                return True
            await happened(self.stopping, TICK)
            waited += TICK
        return False

    async def _busy(self, waited: float) -> None:
        """Another session has the slot: a killed listener's lets go of it soon."""
        if waited < slot.PATIENCE:
            return
        found = await self.database.run(lambda c: slot.find(c, self.options.slot))
        pid = found.active_pid if found else None
        if not self.options.wait:
            raise SlotBusy(f"{SlotBusy()} (Process {pid} holds it.)")
        if waited < slot.PATIENCE + TICK:
            say(Level.INFO, "standing by: another listener holds the slot", slot=self.options.slot, process=pid)

    async def _held(self) -> None:
        """The slot is ours, and so is the cursor: what its last holder wrote to it is there now."""
        position = await self._load()
        if position != self.outbox.position:
            self.stream.outbox = self.outbox = self._new_outbox(position)
        self.caught_up, self.target = await self.database.run(lambda c: only(c, BASE))
        await self._save()  # a commit, so that the log is written beyond the target
        self.connected.set()

    async def _load(self) -> Position:
        """Read the cursor; return where delivery goes on."""
        self.cursor, position = await self.database.run(lambda c: slot.position(c, self.options.slot))
        self.cursor.only = list(self.options.only)
        return position

    def _new_outbox(self, position: Position) -> Outbox:
        self.room.set()
        return Outbox(position, self.options.max_buffer, BUFFER_BODIES * self.options.max_bytes)

    async def _open(self) -> Stream:
        """Connect and stream from where the outbox stands."""
        replication = await Replication.open()
        try:
            await self._check(replication)
            options = self.options
            return await replication.start(options.slot, options.publication, self.outbox, options.with_outcome, options.only)
        except BaseException:
            await replication.connection.close()
            raise

    async def _check(self, replication: Replication) -> None:
        """Is it the server that it was? A promoted standby may lack what this listener has seen."""
        await check_server(replication.connection)
        await self.database.run(lambda c: check_publication(c, self.options.publication))
        if self.timeline not in (None, replication.timeline):
            raise Restart
        self.timeline = replication.timeline

    # Receiving

    async def _receive(self) -> None:
        """Read the stream, from a new connection whenever one was lost."""
        while True:
            try:
                await self.stream.read(self.room, self.arrived)
            except (psycopg.OperationalError, StreamEnded) as error:
                said = words(error) if isinstance(error, psycopg.Error) else "the server closed it"
                say(Level.WARNING, "the stream is lost; connecting again", error=said)
            self.connected.clear()
            self.renewal.forget()
            self.caught_up = None
            await self.stream.close()
            try:
                self.stream = await self._open_again()
            except SlotLost:
                self._lose()
                return
            self.connected.set()
            self.arrived.set()
            self.stream.acknowledge()  # what was said to the lost one may not have arrived

    def _lose(self) -> None:
        """The slot is lost: whoever waits for it is to take note of what was delivered, and then to end."""
        self.lost = True
        self.connected.set()
        self.arrived.set()

    async def _open_again(self) -> Stream:
        """Connect until it succeeds, for the server will be back; but if others had the slot meanwhile, begin anew."""
        waited = 0.0
        while True:
            await asyncio.sleep(TICK + waited / 4)
            waited = min(waited + TICK, 20.0)
            try:
                await self._nobody_else()
                return await self._open_alone()
            except errors.ObjectInUse:
                if waited > slot.PATIENCE:
                    raise Restart from None
            except (psycopg.OperationalError, NoDatabase) as error:
                said = words(error) if isinstance(error, psycopg.Error) else error
                say(Level.WARNING, "the stream cannot be opened; trying again", error=said)

    async def _open_alone(self) -> Stream:
        """Open, and look again: until now others may have had the slot, and left it."""
        stream = await self._open()
        try:
            await self._nobody_else()
        except BaseException:
            await stream.close()
            raise
        return stream

    async def _nobody_else(self) -> None:
        cursor, position = await self.database.run(lambda c: slot.position(c, self.options.slot))
        if position > self.outbox.position or self._is_of_another(cursor):
            raise Restart

    def _is_of_another(self, cursor: Cursor) -> bool:
        """Whether somebody else has written it since, or the server is another, which may lack what was written."""
        ours = cursor.writer == WRITER or (cursor.writer, cursor.version) == (self.cursor.writer, self.cursor.version)
        return not ours or cursor.timeline != self.cursor.timeline

    # Delivering

    async def _deliver(self) -> None:
        if self.cursor.past == "begun":
            await self._deliver_past()
        while not self.stopping.is_set():
            await self._gathered()
            self._done_with(0)  # what is not wanted needs no call
            batch = self.outbox.batch(min(self.options.max_documents, self.options.max_buffer), self.delivery.most_bytes)
            if batch:
                await self.delivery.deliver(batch, self._record)
            elif self._is_caught_up():
                break
            elif self.lost:
                raise SlotLost
            else:
                self.arrived.clear()
                await self.arrived.wait()
        if self._is_caught_up() and self.caught_up and self._is_ours():
            self.cursor.base = self.caught_up  # for retention and erasure go by it
            await self.database.run(lambda c: save_base(c, self.cursor))
        elif self._may_save():
            await self._save()

    def _is_caught_up(self) -> bool:
        """Whether all is delivered that there was at the beginning, where that is what is asked for."""
        return self.options.until_caught_up and self.outbox.position.lsn >= self.target and self.cursor.past != "begun"

    async def _gathered(self) -> None:
        """Wait while so much comes in that the next call will be far larger in a moment: many small ones would cost more."""
        most = min(self.options.max_documents, self.options.max_buffer)
        while MANY <= (waiting := len(self.outbox)) < most and not (self.outbox.full or self.stopping.is_set()):
            await asyncio.sleep(MOMENT)
            if len(self.outbox) - waiting < DENSE * MOMENT:
                break

    async def hold(self) -> None:
        """Return when the slot is certainly ours, or when stopping: who has lost it to a standby must not post any more."""
        while not self.stopping.is_set():
            if self.lost:
                raise SlotLost
            if self.connected.is_set() and await self._still_ours():
                return
            self.arrived.clear()
            await self.arrived.wait()

    async def _still_ours(self) -> bool:
        """Whether the stream is alive: it was just now, or the server says so."""
        now = asyncio.get_running_loop().time()
        if now - self.stream.heard_at < HEARD_WITHIN:
            return True
        found = await self.database.run(lambda c: slot.find(c, self.options.slot))
        if found and found.active_pid == self.stream.pid:
            self.stream.heard_at = now
            return True
        self.stream.abandon()
        self.room.set()
        return False

    async def _record(self, count: int, letters: Sequence[DeadLetter]) -> None:
        """So many documents are done with: make sure that they do not come again, whoever dies now."""
        self._done_with(count, letters)
        # The acknowledgement alone is not enough: the server may notice our end before it reads it.
        await self._note(count, letters, durable=bool(letters))
        self.stream.acknowledge()

    def _done_with(self, count: int, letters: Sequence[DeadLetter] = ()) -> None:
        """The first so many documents, and what is not wanted around them."""
        if places := self.outbox.delivered(count):
            self.cursor.deliver(count, letters, places)
            self.renewal.want()
        if not self.outbox.full:
            self.room.set()
        self.cursor.position = self.outbox.position
        self.cursor.committed_at = self.outbox.committed_at or self.cursor.committed_at

    async def _deliver_past(self) -> None:
        """Everything from before the slot, as far as it is not delivered yet."""
        before = self.cursor.delivered
        say(Level.INFO, "delivering what was recorded before the slot was made")
        recorded = pages(self.database, Selection.past(self.cursor))
        cut = batches(recorded, self.options.with_outcome, self.options.max_documents, self.delivery)
        async with aclosing(cut) as found:
            async for batch in found:
                self.oldest_of_past = batch[0].recorded_at
                documents = [each.document for each in batch]
                await self.delivery.deliver(documents, partial(self._record_past, iter(batch)))
                if self.stopping.is_set():
                    return
        self.oldest_of_past = None
        self.cursor.past, self.cursor.base = "done", self.cursor.snapshot
        await self.database.run(lambda c: save_base(c, self.cursor))
        say(Level.INFO, "delivered from the tables", toggles=self.cursor.delivered - before)

    async def _record_past(self, batch: Iterator[Recorded], count: int, letters: Sequence[DeadLetter]) -> None:
        """So many documents of the past are done with; only the cursor knows."""
        done = list(islice(batch, count))
        self.cursor.deliver(count, letters, {each.batch_id: each.seq for each in done})
        await self._note(count, letters, durable=True)

    async def _note(self, count: int, letters: Sequence[DeadLetter], durable: bool) -> None:
        """Save that documents are done with, as soon as the slot is ours again, or lost."""
        self.metrics.delivered.inc(count - len(letters))
        self.metrics.set_aside.inc(len(letters))
        await self.connected.wait()
        await self._save(durable or self.lost)
        for letter in letters:
            say(Level.WARNING, "set aside as a dead letter", webhook_id=letter.webhook_id, answer=letter.answer)

    # In time

    async def _keep_alive(self) -> None:
        """Send the server what is due."""
        loop = asyncio.get_running_loop()
        while True:
            if self.connected.is_set():
                self.stream.keep_alive(loop.time())
            oldest = self.oldest_of_past or self.outbox.oldest
            self.metrics.waiting(len(self.outbox), oldest, connected=self._is_ours())
            await asyncio.sleep(TICK)

    async def _measure(self) -> None:
        """Ask the server for what only it knows."""
        while True:
            written, letters = await self.database.run(lambda c: only(c, MEASURES, self.options.slot))
            self.metrics.lag_bytes.set(max(0, written - self.outbox.position.lsn))
            self.metrics.dead_letters.set(letters)
            await asyncio.sleep(MEASURE_EVERY)

    async def _keep_up(self) -> None:
        """Save the cursor, and while nothing is read look whether the server is still there."""
        while True:
            await asyncio.sleep(SAVE_EVERY)
            if await self._base_is_renewed():
                continue
            if self._may_save():
                await self._save()
            elif not self.room.is_set():
                await self.database.run(lambda c: only(c, "select 1"))

    async def _base_is_renewed(self) -> bool:
        """Give the cursor a new base: a snapshot taken a while ago, now that all is delivered that it sees."""
        if self.cursor.past == "begun" or not self._is_ours():
            return False
        if self.renewal.begin(asyncio.get_running_loop().time()):
            self.renewal.taken(*await self.database.run(lambda c: only(c, BASE)))
            if not self._is_ours():
                self.renewal.forget()
        if not self._is_ours() or (base := self.renewal.reached(self.outbox.position.lsn)) is None:
            return False
        self.cursor.base = base
        await self.database.run(lambda c: save_base(c, self.cursor))
        return True

    def _let_go(self) -> None:
        """The server is away, or on its way: it cannot shut down while a stream is open that nobody reads."""
        self.metrics.lag_bytes.set(nan)
        self.metrics.dead_letters.set(nan)
        if not self.room.is_set():
            self.stream.abandon()
            self.room.set()

    async def _give_up(self) -> None:
        """Told to stop, wait for the call in flight, but not for ever for a server that is away to take note of it."""
        await self.stopping.wait()
        self.arrived.set()
        while self.delivery.calling:
            await asyncio.sleep(TICK)
        await asyncio.sleep(slot.PATIENCE)
        raise StoppedWaiting

    def _may_save(self) -> bool:
        """Whether there is something to save, and the cursor is ours: without the stream it may be another's by now."""
        return self.cursor.changed and self._is_ours()

    def _is_ours(self) -> bool:
        return self.connected.is_set() and not self.lost

    async def _save(self, durable: bool = True) -> None:
        await self.database.run(lambda c: save(c, self.cursor, durable))

    def answered(self, outcome: Outcome) -> None:
        """Take note of the last call, for listener status."""
        self.cursor.called_at, self.cursor.answer = datetime.now(UTC), str(outcome.answer)
        self.cursor.changed = True
        self.metrics.answered(outcome)


def innermost(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first of the errors that made the tasks end."""
    first = group.exceptions[0]
    return innermost(first) if isinstance(first, BaseExceptionGroup) else first
