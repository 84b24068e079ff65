"""Toggles made on purpose, and a receiver's answers held back: for tests that decide what happens before what."""

import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from http import HTTPStatus

import psycopg

from demo.calls import Answer, Call
from demo.fold import Event
from demo.webhook import Receiver
from tests.conftest import Database, Row
from tests.events import COPY, make, values
from tests.listening import Document, key
from tests.loading import ROLE, execute, wait_until

LONGEST_HOLD = 120.0


class Gate:
    """What a receiver answers with: calls wait while it is closed. `after` lets so many calls pass before it closes by itself."""

    def __init__(self, after: int | None = None, status: int = HTTPStatus.OK) -> None:
        self.status = status
        self._after = after
        self._passed = 0
        self._changed = threading.Condition()
        self._waiting = 0

    def __call__(self, _call: Call) -> Answer:
        """Answer, when it is open."""
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            opened = self._changed.wait_for(lambda: self._after is None or self._passed < self._after, LONGEST_HOLD)
            self._waiting -= 1
            self._passed += 1
            self._changed.notify_all()
        return Answer(self.status if opened else HTTPStatus.GATEWAY_TIMEOUT)

    def await_call(self) -> None:
        """Wait until a call is being held back."""
        with self._changed:
            held = self._changed.wait_for(lambda: self._waiting and self._after == self._passed, LONGEST_HOLD)
            assert held, "no call came"

    def close(self) -> None:
        """Let no call pass any more."""
        with self._changed:
            self._after = self._passed

    def open(self) -> None:
        """Let every call pass from now on."""
        with self._changed:
            self._after = None
            self._changed.notify_all()


def flips(count: int, users: int = 4, first: int = 0, user: str = "u") -> list[Event]:
    """Adds and removes in turn: every event changes a status, and all but each user's first are toggles."""
    return [
        make(number, f"{user}{number % users}", seconds=number / 1000, remove=number // users % 2 == 1)
        for number in range(first, first + count)
    ]


def write(connection: psycopg.Connection[Row], batch: Iterable[Event]) -> None:
    """Write a batch in the connection's transaction."""
    with connection.cursor().copy(COPY) as copy:
        for event in batch:
            copy.write_row(values(event))


def xid(connection: psycopg.Connection[Row]) -> object:
    """The id of the connection's transaction, without its epoch."""
    ((found,),) = connection.execute("select pg_current_xact_id()::xid::text").fetchall()
    return found


def commit(database: Database, *batches: Sequence[Event]) -> None:
    """Commit batches in one transaction, as the loader's role."""
    with database.connect(ROLE) as connection:
        for batch in batches:
            write(connection, batch)


def await_sent(database: Database) -> None:
    """Wait until the server has sent the listener everything that is committed now."""
    (lsn,) = database.fetch("select pg_current_wal_insert_lsn()::text")[0]
    sent = "select from pg_replication_slots join pg_stat_replication on pid = active_pid where slot_name = %s and sent_lsn >= %s"
    wait_until(lambda: database.fetch(sent, database.name, lsn))


def await_confirmed(database: Database) -> None:
    """Wait until the server was told that everything written until now is delivered."""
    (lsn,) = database.fetch("select pg_current_wal_insert_lsn()::text")[0]
    reached = "select from pg_replication_slots where slot_name = %s and confirmed_flush_lsn >= %s"
    wait_until(lambda: database.fetch(reached, database.name, lsn))


def lose(database: Database) -> None:
    """Drop the slot, as soon as nobody holds it."""
    held = "select from pg_replication_slots where slot_name = %s and active"
    wait_until(lambda: not database.fetch(held, database.name))
    execute(database, "select pg_drop_replication_slot(%s)", database.name)


def await_received(receiver: Receiver, count: int) -> None:
    """Wait until so many documents were accepted."""
    wait_until(lambda: receiver.counters.documents >= count)


def by_key(documents: Iterable[Document]) -> dict[tuple[str, int, str], list[Document]]:
    """The documents of each key, in their order."""
    found = defaultdict(list)
    for document in documents:
        found[key(document)].append(document)
    return dict(found)
