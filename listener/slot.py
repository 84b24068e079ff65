"""The replication slot and its cursor: found, or made so that its beginning and the past fit together, or found wanting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from psycopg import errors, sql

from listener.cursor import Cursor, load, save
from listener.database import Connection, Database, check_publication, connect_to_stream, one, only
from listener.errors import NoSuchSlot, OtherPublication, SlotBusy, SlotForeign, SlotGone, SlotLost
from listener.log import Level, say
from listener.outbox import Position

PATIENCE = 5.0
"""Seconds: for how long a killed listener's server process may still hold the slot, and after which a wait is worth a word."""

POLL = 0.1
"""Seconds between two looks at what is waited for."""

FIND = """
select plugin = 'pgoutput' and database = current_database(), active_pid,
  coalesce(confirmed_flush_lsn - '0/0'::pg_lsn, 0)::bigint, wal_status
from pg_replication_slots where slot_name = %s
"""

LOCK = "select pg_try_advisory_lock(hashtextextended('pgsegments listener: ' || %s, 0))"
UNLOCK = "select pg_advisory_unlock(hashtextextended('pgsegments listener: ' || %s, 0))"

WRITERS = """
select string_agg(distinct pid::text, ', ') from pg_locks
where locktype = 'transactionid' and mode = 'ExclusiveLock' and granted and pid <> pg_backend_pid()
"""
"""The processes whose transactions a new slot waits for."""

SEEN = """
select pg_snapshot_xmax(mine) >= pg_snapshot_xmax(its)
  and not exists (select from pg_snapshot_xip(mine) x where pg_visible_in_snapshot(x, its))
from (select pg_current_snapshot() as mine, %s::pg_snapshot as its) s
"""
"""Whether every session sees what a snapshot sees."""


class Slot(NamedTuple):
    """What the server says of a slot: is it one of ours, who holds it, and up to where was it acknowledged."""

    ours: bool
    active_pid: int | None
    confirmed_lsn: int
    wal_status: str | None

    @property
    def lost(self) -> bool:
        """Whether the server has given it up: it streams no more."""
        return self.wal_status == "lost"


async def find(connection: Connection, name: str) -> Slot | None:
    """The slot, if it exists."""
    if (row := await one(connection, FIND, name)) is None:
        return None
    return Slot(*row)


async def prepare(database: Database, fresh: Cursor, wait: bool) -> bool:
    """See to it that the slot and its cursor exist; return whether the slot was made now. `fresh` is the cursor if there is none.

    A cursor whose slot is lost gets a new one: what it shows as undelivered is the past of that, to be read from the tables.
    """
    name, publication = fresh.slot, fresh.publication
    await database.run(lambda c: check_publication(c, publication))
    async with only_one(database, name, wait):
        cursor = await database.run(lambda c: load(c, name))
        slot = await database.run(lambda c: find(c, name))
        if slot and not slot.ours:
            raise SlotForeign
        if cursor and cursor.begun and cursor.publication != publication:
            raise OtherPublication(f"{OtherPublication()} (It is for {cursor.publication}.)")
        if cursor and cursor.position:
            if slot and not slot.lost:
                return False
            await begin_again(database, cursor, "the server gave it up" if slot else "it is not there")
        elif cursor is None or not cursor.begun:
            if slot and slot.lost:
                raise SlotGone
            if slot:
                fresh.position, fresh.past = Position(slot.confirmed_lsn), "none"
                await database.run(lambda c: save(c, fresh))
                say(Level.INFO, "the slot was there without a cursor; going on where it stands", slot=name)
                return False
            cursor = fresh
        # Whoever made a slot that is there now did not live to say where it begins.
        await create(database, cursor, replace=slot is not None)
        return True


async def begin_again(database: Database, cursor: Cursor, why: str) -> None:
    """Make all that was not delivered the past of a slot that is still to be made."""
    if cursor.base is None and cursor.past in ("none", "done"):
        raise SlotGone
    say(
        Level.WARNING,
        "the slot is lost; making another, and delivering what the cursor lacks from the tables",
        slot=cursor.slot,
        why=why,
    )
    cursor.position, cursor.past, cursor.snapshot = None, "wanted", None
    await database.run(lambda c: save(c, cursor))


@asynccontextmanager
async def only_one(database: Database, name: str, wait: bool) -> AsyncIterator[None]:
    """Keep other listeners from making the same slot at the same time."""
    waited = 0.0
    while await database.run(lambda c: one(c, LOCK, name)) != (True,):
        if waited >= PATIENCE and not wait:
            raise SlotBusy(f"{SlotBusy()} (It is making the slot just now.)")
        await asyncio.sleep(POLL)
        waited += POLL
    try:
        yield
    finally:
        await database.run(lambda c: one(c, UNLOCK, name))


async def create(database: Database, cursor: Cursor, replace: bool) -> None:
    """Make the slot, in place of another if there is one. The cursor is written first, so that a slot whose maker was killed is
    known for what it is."""
    await database.run(lambda c: save(c, cursor))
    if replace:
        await database.run(lambda c: drop_slot(c, cursor.slot))
    replication = await connect_to_stream()
    try:
        lsn, exported = await made(database, replication, cursor.slot)
        begins = await database.run(lambda c: snapshot(c, exported))
        if cursor.past == "wanted":
            cursor.past, cursor.snapshot = "begun", begins
            await seen(database, begins)
        else:
            cursor.base, cursor.committed_at = begins, datetime.now(UTC)
        cursor.position = Position(lsn)
        await database.run(lambda c: save(c, cursor))
    finally:
        await replication.close()


async def made(database: Database, replication: Connection, name: str) -> tuple[int, str]:
    """Make the slot; return where it begins, and the exported snapshot of that moment."""
    command = sql.SQL("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput (SNAPSHOT 'export')").format(sql.Identifier(name))
    making = asyncio.create_task(replication.execute(command))
    try:
        if not (await asyncio.wait([making], timeout=PATIENCE))[0]:
            (pids,) = await database.run(lambda c: only(c, WRITERS))
            say(Level.WARNING, "the new slot waits for the transactions that were open when it was asked for", processes=pids)
        cursor = await making
    finally:
        making.cancel()
        await asyncio.wait([making])  # tells the server, too
    ((_, consistent_point, exported, _),) = await cursor.fetchall()
    return parse_lsn(consistent_point), exported


async def snapshot(connection: Connection, exported: str) -> str:
    """Which transactions an exported snapshot sees, as pg_snapshot takes it.

    Where the last transactions before it were rolled back, one made from the log ends (xmax) before it begins (xmin), which means
    the same as ending there, but pg_snapshot does not take it.
    """
    async with connection.transaction():
        await connection.execute("set transaction isolation level repeatable read, read only")
        await connection.execute(sql.SQL("set transaction snapshot {}").format(exported))
        (found,) = await only(connection, "select pg_current_snapshot()::text")
    begin, end, running = found.split(":")
    return f"{begin}:{max(int(begin), int(end))}:{running}"


async def seen(database: Database, snapshot: str) -> None:
    """Wait until whoever reads the past sees all of it: the slot's snapshot, made from the log, sees a transaction as soon as its
    commit is written there, others only when that has returned, which waits for synchronous standbys."""
    while await database.run(lambda c: one(c, SEEN, snapshot)) != (True,):
        await asyncio.sleep(POLL)


def parse_lsn(text: str) -> int:
    """An LSN such as 16/B374D848 as a number."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


async def position(connection: Connection, name: str) -> tuple[Cursor, Position]:
    """The cursor, and where delivery goes on: the cursor's position, or the slot's where that was acknowledged further."""
    cursor, slot = await load(connection, name), await find(connection, name)
    if slot is None or slot.lost or cursor is None or cursor.position is None:
        raise SlotLost
    lsn, commit_lsn, documents = cursor.position
    if slot.confirmed_lsn <= max(lsn, commit_lsn):
        return cursor, Position(max(lsn, slot.confirmed_lsn), commit_lsn, documents)
    return cursor, Position(slot.confirmed_lsn)


async def drop(connection: Connection, name: str) -> None:
    """Remove the slot and its cursor, in this order, so that what is left can be dropped again. Where the slot is another
    database's, as for a copy on the same server, the cursor came with the copy and goes alone."""
    slot, cursor = await find(connection, name), await load(connection, name)
    if slot is None and cursor is None:
        raise NoSuchSlot
    if slot and not slot.ours and cursor is None:
        raise SlotForeign
    if slot and slot.ours:
        await drop_slot(connection, name)
    await connection.execute("delete from webhook_cursors where slot = %s", [name])


async def drop_slot(connection: Connection, name: str) -> None:
    """Remove a slot that nobody holds; a killed listener's server process holds it a little longer."""
    waited = 0.0
    while True:
        try:
            await connection.execute("select pg_drop_replication_slot(%s)", [name])
        except errors.ObjectInUse:
            if waited >= PATIENCE:
                found = await find(connection, name)
                raise SlotBusy(f"{SlotBusy()} (Process {found and found.active_pid} holds it.)") from None
        except errors.UndefinedObject:
            return  # made by a server process that gave up
        else:
            return
        await asyncio.sleep(POLL)
        waited += POLL
