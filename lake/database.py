"""What a session of the lake's relies on: the loader's sessions, for another role and purpose.

`Session.run` may call its work again, so the work must be one that can be repeated.
"""

from contextlib import suppress
from threading import Event
from typing import Any

import psycopg
from psycopg import errors

from lake.errors import KeeperBusy, LakeBusy, LakeError, NotAllowed, NotKeeper, NotMigrated, WrongServer
from loader.database import Connection, Session

REVISION = "0009"
"""The migration that the lake needs; a later one does as well."""

SAME_SERVER = "select from public.segment_settings join pg_control_system() using (system_identifier)"

# The last one is new in PostgreSQL 17.
PATIENCE = """
select set_config(name, '0', false) from pg_settings
where name in (
  'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout'
)
"""
"""What a database or a role sets of these is meant for others: an export takes as long as it takes."""

LOCK = "select pg_advisory_lock(hashtextextended('pgsegments lake ' || %s, 0))"

LOCK_SECONDS = 3
"""How long an export that was killed may take to be gone from the server."""

KEEPER = "select pg_advisory_lock(hashtextextended('pgsegments keeper', 0))"

IS_KEEPER = "select has_function_privilege('segment_prune_events(date)', 'execute')"

HOLDER = """
with key as (select hashtextextended('pgsegments lake ' || %s, 0) as id)
select pid from pg_locks, key
where locktype = 'advisory' and granted and objsubid = 1
  and database = (select oid from pg_database where datname = current_database())
  and (classid::bigint << 32 | objid::bigint) = id
"""


def reading(patience: float, stopping: Event) -> Session:
    """A session that may look at the lake's tables."""
    return Session(patience, stopping, check)


def exporting(destination: str, patience: float, stopping: Event) -> Session:
    """A session that has the destination for itself, whenever it is connected."""

    def take(connection: Connection) -> None:
        check(connection)
        if one(connection, SAME_SERVER) is None:
            raise WrongServer
        lock(connection, destination)

    return Session(patience, stopping, take)


def keeping(patience: float, stopping: Event) -> Session:
    """A session that may remove what has had its time, the only one of the database that does."""

    def take(connection: Connection) -> None:
        with suppress(NotAllowed):
            begin(connection)
        if one(connection, IS_KEEPER) == (False,):
            raise NotKeeper
        if one(connection, SAME_SERVER) is None:
            raise WrongServer
        lock_keeper(connection)

    return Session(patience, stopping, take)


def lock_keeper(connection: Connection) -> None:
    """Be the only one who removes anything, or raise KeeperBusy; one that was killed is waited for."""
    try:
        with connection.transaction():
            connection.execute(f"set local lock_timeout = '{LOCK_SECONDS}s'")
            connection.execute(KEEPER)
    except errors.LockNotAvailable:
        raise KeeperBusy from None


def begin(connection: Connection) -> None:
    """Raise unless the database has the lake's tables."""
    connection.execute("set application_name = 'pgsegments lake'")
    connection.execute(PATIENCE)
    try:
        check_migrated(connection)
    except errors.InsufficientPrivilege:
        raise NotAllowed from None


def check(connection: Connection) -> None:
    """Raise unless the database has the lake's tables and the role may use them."""
    begin(connection)
    try:
        connection.execute("select from lake_destinations limit 0")
    except errors.InsufficientPrivilege:
        raise NotAllowed from None


def check_migrated(connection: Connection) -> None:
    """Raise unless the database has the lake's tables as they are now."""
    try:
        revision = one(connection, "select version_num from segment_alembic_version")
    except errors.UndefinedTable:
        raise NotMigrated from None
    if revision is None or revision[0] < REVISION:
        raise NotMigrated


def lock(connection: Connection, destination: str) -> None:
    """Take the destination for this session, or raise LakeBusy naming the server process that has it."""
    try:
        with connection.transaction():
            connection.execute(f"set local lock_timeout = '{LOCK_SECONDS}s'")
            connection.execute(LOCK, [destination])
    except errors.LockNotAvailable:
        holder = one(connection, HOLDER, destination)
        pid = f" (PostgreSQL's process {holder[0]} holds it)" if holder else ""
        raise LakeBusy(f"{LakeBusy().args[0].removesuffix('.')}{pid}.") from None


def one(connection: Connection, query: str, *values: object) -> tuple[Any, ...] | None:
    """The first row of a query, if it has one."""
    return connection.execute(query.encode(), values or None).fetchone()


def sentence(error: psycopg.Error) -> LakeError:
    """An error of the server that nothing here expects, in its own words."""
    said = " ".join((error.diag.message_primary or str(error)).split()).rstrip(".")
    if isinstance(error, errors.InsufficientPrivilege):
        return NotAllowed(f"{NotAllowed()} (The server said: {said}.)")
    return LakeError(f"The server refused: {said}. What is done stays.")
