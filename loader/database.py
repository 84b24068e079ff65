"""Sessions with PostgreSQL that survive it: connections by libpq's environment, retries with a bound, errors as sentences.

`Session.run` may call its work again after a rollback, so the work must be one that can be repeated: either it is a transaction
of its own, or it finds out first how far it had come.
"""

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import cache
from itertools import groupby
from threading import Event
from typing import TypeVar

import psycopg
from psycopg import errors

from loader.access import WARNING, exposed
from loader.errors import (
    LoaderError,
    NoDatabase,
    NotAllowed,
    NotMigrated,
    ServerGone,
    StoppedWaiting,
    TooManyCollisions,
    TooOld,
    WrongServer,
)

Connection = psycopg.Connection[tuple[object, ...]]
Result = TypeVar("Result")

REVISION = "0009"
"""The migration that the loader needs; a later one does as well."""

SETTINGS = """
select set_config(name, setting, false)
from (
  values ('search_path', 'public'), ('timezone', 'UTC'), ('datestyle', 'ISO'), ('default_transaction_isolation', 'read committed')
) s (name, setting)
"""
"""What the loader relies on, whatever the role, the database or PGOPTIONS set."""

SAME_SERVER = "select from public.segment_settings join pg_control_system() using (system_identifier)"

MOST_DAYS = 500
"""How many partitions are asked for in one call, that is made in one transaction."""

COLLISIONS = 20
"""How often a deadlock or a serialization failure is tried again before it is taken for more than bad luck."""

# Class 08: the connection; 53: the server is out of something (disk, memory, connections); 57P01 to 57P03: it stops or starts.
_AWAY = ("08", "53", "57P01", "57P02", "57P03")


class Collision(Exception):  # noqa: N818 - raised to be tried again, never shown
    """Somebody else committed what this transaction was about to: look again and go on."""


def connect() -> Connection:
    """Connect as psql would; raise NoDatabase with libpq's own words where that fails."""
    try:
        connection = psycopg.connect(autocommit=True, fallback_application_name="pgsegments loader", client_encoding="UTF8")
    except psycopg.OperationalError as error:
        raise NoDatabase(f"{NoDatabase.__doc__} ({' '.join(str(error).split())})") from None
    if exposed(connection.info.hostaddr, connection.info.get_parameters().get("sslmode")):
        warn()
    return begun(connection, lambda connection: connection.execute(SETTINGS))


@cache
def warn() -> None:
    """Say it once, however many connections there are."""
    logging.getLogger("loader").warning("Warning: %s", WARNING)  # to stderr, where there is one


def begun(connection: Connection, begin: Callable[[Connection], object]) -> Connection:
    """The connection, once `begin` has done its work on it; where that fails it is closed, and the next attempt starts over."""
    try:
        begin(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def away(error: psycopg.Error) -> bool:
    """Whether the server may take the same work later: it was stopped, is starting, or is out of room."""
    return (error.sqlstate or "").startswith(_AWAY)


def check(connection: Connection, revision: str = REVISION) -> None:
    """Raise unless the database is migrated as far as `revision`, the role may load, and the server is the database's own."""
    try:
        found = connection.execute("select version_num from segment_alembic_version").fetchone()
        same = connection.execute(SAME_SERVER).fetchone()
    except errors.UndefinedTable:
        raise NotMigrated from None
    except errors.InsufficientPrivilege:
        raise NotAllowed from None
    if found is None or str(found[0]) < revision:
        raise TooOld
    if same is None:
        raise WrongServer


def ensure_partitions(connection: Connection, days: Iterable[str]) -> None:
    """Make the partitions of these UTC days, `YYYY-MM-DD`, where they are missing: a call for each run of days on end."""
    for first, last in runs(days):
        connection.execute("select segment_ensure_partitions(%s, %s)", [first, last])


def runs(days: Iterable[str]) -> Iterator[tuple[date, date]]:
    """First and last of each run of days on end, cut after MOST_DAYS."""
    ordinals = sorted(date.fromisoformat(day).toordinal() for day in days)
    for _, run in groupby(enumerate(ordinals), key=lambda numbered: (numbered[1] - numbered[0], numbered[0] // MOST_DAYS)):
        ordinals_of_run = [ordinal for _, ordinal in run]
        yield date.fromordinal(ordinals_of_run[0]), date.fromordinal(ordinals_of_run[-1])


class Session:
    """A connection that is made anew when it was lost, for as long as `patience` seconds; `stopping` cuts the wait short."""

    def __init__(self, patience: float, stopping: Event, on_connect: Callable[[Connection], None] = check) -> None:
        self.patience = patience
        self.stopping = stopping
        self.on_connect = on_connect
        self._connection = begun(connect(), on_connect)

    def close(self) -> None:
        """Close the connection; the session is done."""
        self._connection.close()

    def run(self, work: Callable[[Connection], Result]) -> Result:
        """Return what `work` returns, calling it again after a lost connection or a collision, both with a bound."""
        gone_since: float | None = None
        collisions = 0
        while True:
            try:
                return work(self._alive())
            except (Collision, errors.DeadlockDetected, errors.SerializationFailure):
                collisions += 1
                if collisions > COLLISIONS:
                    raise TooManyCollisions from None
                self.stopping.wait(random.uniform(0, 0.01 * 2 ** min(collisions, 6)))  # noqa: S311 - spreads, hides nothing
            except (psycopg.OperationalError, NoDatabase) as error:
                if isinstance(error, psycopg.Error) and not (self._connection.closed or away(error)):
                    raise
                # A connection that the server had ended while it was idle says nothing of the server: look at once.
                at_once = gone_since is None and self._connection.closed and isinstance(error, psycopg.Error)
                gone_since = gone_since or time.monotonic()
                if not at_once:
                    self._wait(gone_since, error)

    def _alive(self) -> Connection:
        if self._connection.closed:
            self._connection = begun(connect(), self.on_connect)  # lock and all
        return self._connection

    def _wait(self, gone_since: float, error: Exception) -> None:
        """Wait a little, or give up: patience is at its end, or the user wants to go."""
        waited = time.monotonic() - gone_since
        if self.stopping.wait(min(2.0, 0.1 + waited / 4)):
            raise StoppedWaiting
        if waited >= self.patience:
            raise ServerGone(f"{ServerGone.__doc__} ({' '.join(str(error).split())})") from None


def sentence(error: psycopg.Error) -> LoaderError:
    """An error of the server that nothing here expects, in its own words."""
    said, hint = (text.rstrip(".") + "." if text else "" for text in (error.diag.message_primary, error.diag.message_hint))
    if isinstance(error, errors.InsufficientPrivilege):
        return NotAllowed(f"{NotAllowed.__doc__} (The server said: {said})")
    return LoaderError(" ".join(["The server refused:", said or " ".join(str(error).split()), hint, "What was committed stays."]))
