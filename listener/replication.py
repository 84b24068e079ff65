"""One connection that streams a slot into an outbox, and tells the server how far delivery has come.

psycopg lets START_REPLICATION succeed and leaves the rest to libpq's level (`pgconn`); what is needed of that is here alone.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime

import psycopg
from psycopg import errors, sql
from psycopg.pq import ExecStatus

from listener.database import Connection, connect_to_stream, only, words
from listener.errors import BadMessage, NoPublication, SlotLost
from listener.outbox import Outbox
from listener.pgoutput import (
    INSERT,
    KEEPALIVE,
    PAYLOAD,
    XLOG_DATA,
    Begin,
    Commit,
    Insert,
    Relation,
    decode,
    keepalive,
    status_update,
)
from listener.toggles import Read, passes, reader

FRAMES = 500
"""About how many messages are taken before other work has its turn; some milliseconds."""

FRAME, ROW = XLOG_DATA.decode(), INSERT.decode()
ROW_OF = slice(PAYLOAD, PAYLOAD + 5)
"""Where a frame says that it holds a row, and of which table."""

FEW = 50
MOMENT = 0.002
"""Seconds after which to look again when more than a few messages came: there are more then, and each look costs."""

LONGEST_SILENCE = 10.0
"""Seconds between status updates, at most."""


class StreamEnded(Exception):  # noqa: N818 - it is no failure of ours
    """The server closed the stream; it shuts down, or the connection is lost."""


class Replication:
    """A replication connection before it streams."""

    def __init__(self, connection: Connection, timeline: int, silence: float) -> None:
        self.connection = connection
        self.timeline = timeline
        self.silence = silence

    @classmethod
    async def open(cls) -> "Replication":
        """Connect, and ask what the server is."""
        connection = await connect_to_stream()
        try:
            _, timeline, *_ = await only(connection, "IDENTIFY_SYSTEM")
            (timeout,) = await only(connection, "select setting from pg_settings where name = 'wal_sender_timeout'")
            silence = min(int(timeout) / 3000 or LONGEST_SILENCE, LONGEST_SILENCE)
            return cls(connection, timeline, silence)
        except BaseException:
            await connection.close()
            raise

    async def start(self, slot: str, publication: str, outbox: Outbox, with_outcome: bool, only: Iterable[str]) -> "Stream":
        """Stream from where the outbox stands; raises ObjectInUse while another session holds it, SlotLost if it is gone."""
        names = sql.Literal(sql.Identifier(publication).as_string(self.connection))
        command = sql.SQL("START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names {})").format(
            sql.Identifier(slot), sql.SQL(format_lsn(outbox.received_lsn)), names
        )
        try:
            await self.connection.execute(command)
        except (errors.UndefinedObject, errors.ObjectNotInPrerequisiteState) as error:
            raise SlotLost(f"{SlotLost()} (The server said: {words(error)})") from None
        return Stream(self, outbox, with_outcome, only)


def format_lsn(lsn: int) -> str:
    """A number as an LSN such as 16/B374D848."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


class Stream:
    """The log as it comes. Whoever reads it also sends status updates in time, whether it reads or not."""

    def __init__(self, replication: Replication, outbox: Outbox, with_outcome: bool, only: Iterable[str]) -> None:
        self.replication = replication
        self._connection = replication.connection
        self._pgconn = self._connection.pgconn
        self.outbox = outbox
        self._with_outcome = with_outcome
        self._only = frozenset(str(wanted.encode(), "latin-1") for wanted in only)
        self._readers: dict[str, Callable[[str], Read]] = {}
        self._written = outbox.received_lsn
        self._told = 0
        self._told_at = 0.0
        self._unpublished = False
        self._abandoned = False
        self._ready = asyncio.Event()
        self.pid = self._pgconn.backend_pid
        """The server process that holds the slot."""
        self.heard_at = asyncio.get_running_loop().time()
        """When the server was heard last, by the loop's clock."""
        self._connection.add_notice_handler(self._notice)

    async def close(self) -> None:
        """Close the connection; the slot is free as soon as the server has noticed."""
        await self._connection.close()

    async def read(self, room: asyncio.Event, arrived: asyncio.Event) -> None:
        """Read without end, as long as there is room; raises StreamEnded or OperationalError when the connection is lost."""
        taken = FRAMES  # some may have come with the answer to START_REPLICATION, which no socket tells of any more
        while True:
            await room.wait()
            await (asyncio.sleep(MOMENT * (taken < FRAMES)) if taken > FEW else self._readable())
            if self._abandoned:
                raise StreamEnded
            try:
                taken = self._take_what_came(room)
            finally:
                arrived.set()

    def abandon(self) -> None:
        """Read no more: whoever does, or waits for room, is to find the stream ended."""
        self._abandoned = True
        self._ready.set()

    def acknowledge(self) -> None:
        """Tell how far delivery has come, and that more is on its way, if it is."""
        self._tell(self.outbox.position.lsn)
        if self._pending():
            self._tell(0)

    def keep_alive(self, now: float) -> None:
        """Send what is due: a sign of life, or that an idle log need not be kept."""
        idle_at = 0 if self._pending() else self.outbox.position.lsn
        if idle_at > self._told or now - self._told_at > self.replication.silence:
            self._tell(idle_at)
            self._told_at = now

    def _pending(self) -> bool:
        return len(self.outbox) > 0 or self.outbox.position.documents > 0

    def _tell(self, flushed: int) -> None:
        """Send a status update. While something is undelivered `flushed` must be 0: the server's shutdown would wait for it."""
        self._told = max(self._told, flushed)
        self._written = max(self._written, self.outbox.received_lsn)
        with suppress(psycopg.OperationalError):  # whoever reads will notice, too
            self._pgconn.put_copy_data(status_update(self._written, flushed, datetime.now(UTC)))
            self._pgconn.flush()

    async def _readable(self) -> None:
        if not self._abandoned:
            self._ready.clear()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pgconn.socket, self._ready.set)
        try:
            await self._ready.wait()
        finally:
            loop.remove_reader(self._pgconn.socket)

    def _take_what_came(self, room: asyncio.Event) -> int:
        """Take messages until there are none, or enough; return how many, and FRAMES at least where more may be at hand.

        None must be seen twice: TLS may hold back what has left the socket.
        """
        taken = 0
        while taken < FRAMES and not self.outbox.full:
            if not (count := self._take() or self._take()):
                break
            taken += count
        if taken:
            self.heard_at = asyncio.get_running_loop().time()
        if self.outbox.full:
            room.clear()
            return max(taken, FRAMES)
        return taken

    def _take(self) -> int:
        """Take the messages of one read from the socket."""
        self._pgconn.consume_input()
        count = 0
        while True:
            size, data = self._pgconn.get_copy_data(1)
            if size <= 0:
                break
            count += 1
            # As text, a character a byte, for Python takes that apart fastest.
            frame = str(data, "latin-1")
            read = self._readers.get(frame[ROW_OF])
            if read is not None and frame[0] == FRAME:
                document, place, key = read(frame)
                self.outbox.add(document if passes(self._only, key) else b"", place)
            else:
                self._handle(bytes(data))
        if size < 0:
            self._ended()
        return count

    def _handle(self, frame: bytes) -> None:
        if frame[:1] == KEEPALIVE:
            self._alive(frame)
            return
        if frame[:1] != XLOG_DATA:
            raise BadMessage
        match decode(frame[PAYLOAD:]):
            case Begin(commit_lsn, committed_at):
                self.outbox.begin(commit_lsn, committed_at)
            case Commit(_, end_lsn):
                self.outbox.commit(end_lsn)
            case Insert():
                raise BadMessage  # a row before its relation
            case Relation() as relation:
                # By number, for the partition is described after the table under whose number its rows come.
                self._readers[ROW + relation.oid.to_bytes(4).decode("latin-1")] = reader(relation, self._with_outcome)

    def _alive(self, frame: bytes) -> None:
        wal_end, reply_requested = keepalive(frame)
        self._written = max(self._written, wal_end)
        if self._unpublished:
            raise NoPublication
        self.outbox.idle(wal_end)
        if reply_requested:
            self._tell(0 if self._pending() else self.outbox.position.lsn)

    def _ended(self) -> None:
        result = self._pgconn.get_result()
        if result is None or result.status == ExecStatus.COMMAND_OK:
            raise StreamEnded
        error = psycopg.errors.error_from_result(result)
        if isinstance(error, errors.UndefinedObject):
            raise NoPublication
        raise error

    def _notice(self, diagnostic: errors.Diagnostic) -> None:
        """PostgreSQL 18 only warns of a publication that is gone, and streams nothing."""
        self._unpublished |= diagnostic.sqlstate == errors.ObjectNotInPrerequisiteState.sqlstate
