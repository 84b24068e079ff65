"""A session with PostgreSQL that survives it: found by libpq's environment, made anew for as long as the server is away.

`Database.run` may call its work again, so the work must be one that can be repeated.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, TypeVar

import psycopg
from psycopg import errors

from listener.access import WARNING, exposed
from listener.errors import (
    ListenerError,
    NoDatabase,
    NoPublication,
    NoReplication,
    NoStream,
    NotAllowed,
    NotLogical,
    NotMigrated,
    WrongServer,
)
from listener.log import Level, say

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Result = TypeVar("Result")

REVISION = "0007"
"""The migration that the listener needs; a later one does as well."""

SETTINGS = """
select set_config(name, setting, false)
from (
  values
    ('search_path', 'public'), ('timezone', 'UTC'), ('datestyle', 'ISO'),
    ('default_transaction_isolation', 'read committed'), ('default_transaction_read_only', 'off')
) s (name, setting)
"""
"""What the listener relies on, whatever the role, the database or PGOPTIONS set."""

SAME_SERVER = "select from public.segment_settings join pg_control_system() using (system_identifier)"

OPTIONS = {
    "autocommit": True,
    "client_encoding": "UTF8",
    "fallback_application_name": "pgsegments listener",
    # So that a peer that vanished without a word is noticed in a minute or two.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}

# Class 08: the connection; 53: the server is out of something (disk, memory, connections); 57P01 to 57P05: it stops or starts.
_AWAY = ("08", "53", "57P", "58")


async def connect() -> Connection:
    """Connect as psql would; raise NoDatabase with libpq's own words where that fails."""
    connection = await _connect(NoDatabase)
    try:
        await connection.execute(SETTINGS)
    except BaseException:
        await connection.close()
        raise
    return connection


async def connect_to_stream() -> Connection:
    """Connect for replication; raise NoStream where that fails. Values come as they do in the sessions of `Database`."""
    return await _connect(NoStream, replication="database", options="-c datestyle=ISO -c timezone=UTC")


async def _connect(failure: type[NoDatabase], **options: str) -> Connection:
    try:
        connection = await psycopg.AsyncConnection.connect(**OPTIONS | options)  # type: ignore[arg-type]
    except psycopg.OperationalError as error:
        raise failure(f"{failure()} ({words(error)})") from None
    if exposed(connection.info.hostaddr, connection.info.get_parameters().get("sslmode")):
        warn()
    return connection


@cache
def warn() -> None:
    """Say it once, however many connections there are."""
    say(Level.WARNING, WARNING)


def words(error: psycopg.Error) -> str:
    """What the server or libpq said, on one line."""
    return " ".join((error.diag.message_primary or str(error)).split())


def away(error: psycopg.Error) -> bool:
    """Whether the server may do the same later: the connection is lost, it stops, starts, or is out of room."""
    return isinstance(error, psycopg.OperationalError) and (error.sqlstate or "08").startswith(_AWAY)


def _nothing() -> None:
    pass


class Database:
    """One connection, for one piece of work at a time."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None
        self.on_away: Callable[[], None] = _nothing
        """Called whenever the server is found to be away."""

    async def open(self) -> None:
        """Connect, and raise if that fails: later, the session waits for a server that is gone."""
        await self._alive()

    async def close(self) -> None:
        """Close the connection."""
        if self._connection:
            await self._connection.close()

    async def run(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Return what the work returns; while the server is away wait, without end, for it is what everything else waits for."""
        async with self._lock:
            wait = 0.1
            while True:
                try:
                    return await work(await self._alive())
                except NoDatabase as error:
                    say(Level.WARNING, "waiting for the database", error=error)
                except psycopg.OperationalError as error:
                    if not away(error):
                        raise
                    say(Level.WARNING, "the database is away; trying again", error=words(error))
                self.on_away()
                await asyncio.sleep(wait)
                wait = min(5.0, wait * 2)

    async def _alive(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = await connect()
        return self._connection


async def check_migrated(connection: Connection) -> None:
    """Raise unless the database has the listener's tables and the role may use them."""
    try:
        revision = await one(connection, "select version_num from segment_alembic_version")
    except errors.UndefinedTable:
        raise NotMigrated from None
    except errors.InsufficientPrivilege:
        raise NotAllowed from None
    if revision is None or revision[0] < REVISION:
        raise NotMigrated


async def check(connection: Connection, publication: str) -> None:
    """Raise unless the database is migrated far enough, the server's log can be streamed and the role may."""
    await check_migrated(connection)
    await check_server(connection)
    if await one(connection, "show wal_level") != ("logical",):
        raise NotLogical
    if await one(connection, "select from pg_roles where rolname = current_user and (rolreplication or rolsuper)") is None:
        raise NoReplication
    await check_publication(connection, publication)


async def check_server(connection: Connection) -> None:
    """Raise unless the database was made on this server, or adopted by it."""
    if await one(connection, SAME_SERVER) is None:
        raise WrongServer


async def check_publication(connection: Connection, name: str) -> None:
    """Raise unless there is such a publication: PostgreSQL 18 would stream nothing, and only warn."""
    if await one(connection, "select from pg_publication where pubname = %s", name) is None:
        raise NoPublication


async def one(connection: Connection, query: str, *values: object) -> tuple[Any, ...] | None:
    """The first row of a query, if it has one."""
    return await (await connection.execute(query.encode(), values or None)).fetchone()


async def only(connection: Connection, query: str, *values: object, **named: object) -> tuple[Any, ...]:
    """The row of a query that always has one."""
    (row,) = await (await connection.execute(query.encode(), values or named or None)).fetchall()
    return row


def sentence(error: psycopg.Error) -> ListenerError:
    """An error of the server that nothing here expects, in its own words."""
    if isinstance(error, errors.InsufficientPrivilege):
        return NotAllowed(f"{NotAllowed()} (The server said: {words(error)})")
    return ListenerError(f"The server refused: {words(error).rstrip('.')}. What was not delivered stays.")
