"""Toggles in numbers, receivers that hold a call or refuse it, and the check that what they got is what the contract says."""

import json
import os
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from demo.calls import Answer, Call
from demo.fold import Event
from demo.webhook import Receiver
from tests.conftest import ROOT, Database
from tests.events import COPY, arrived, make, values
from tests.listening import LISTENER, ROLE, Document, expected, identity, listen
from tests.loading import wait_until

NOW = {"retry-after": "0"}
"""So that the listener waits no longer than it must."""

LETTERS = """
select document::text, status, answer, webhook_id from webhook_dead_letters order by id
"""

WALSENDER = "select active_pid from pg_replication_slots where slot_name = %s"
SESSIONS = """
from pg_stat_activity
where application_name = 'pgsegments listener' and datname = current_database() and backend_type = 'client backend'
"""

MANY = """
insert into segment_outcomes
  (seq, recorded_at, batch_id, user_id, occurred_at, event_id, vendor, segment_name, value, remove, outcome,
   previous_event_id, previous_occurred_at, previous_value)
select n, now(), 0, 'user-' || n %% 100, now(), gen_random_uuid(), 1, 's', null, n %% 2 = 0,
  case when n %% 2 = 0 then 'left' else 'rejoined' end, gen_random_uuid(), now(), 'v'
from generate_series(%s::bigint, %s::bigint) n
"""
"""Toggles from nowhere, as fast as the server writes them, in one transaction; `seq` is in none of the documents."""


def toggling(count: int, keys: int = 1, first: int = 0, value: str | None = None) -> list[Event]:
    """Events that toggle, all but the first of each key."""
    return [
        make(first + n, f"user-{first}-{n % keys}", seconds=n, remove=bool(n // keys % 2), value=None if n // keys % 2 else value)
        for n in range(count)
    ]


def record(database: Database, events: Iterable[Event], size: int) -> None:
    """Copy the events into their table, in transactions of `size`."""
    coming = iter(events)
    with database.connect(autocommit=True) as connection:
        while rows := list(islice(coming, size)):
            with connection.cursor() as cursor, cursor.copy(COPY) as copy:
                for event in rows:
                    copy.write_row(values(event))


def make_slot(database: Database) -> None:
    """A slot and its cursor, from here on."""
    done = listen(database, "run", "--url", "http://127.0.0.1:9/", "--until-caught-up")
    assert done.returncode == 0, done.stderr


def run_to_end(database: Database, receiver: Receiver, *arguments: str, **environment: str) -> list[Document]:
    """Deliver everything that is committed, with success; return the log."""
    done = listen(database, "run", "--url", receiver.url, "--until-caught-up", "--log-json", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return entries(done.stderr)


def entries(log: str) -> list[Document]:
    """The lines of a JSON log."""
    return [json.loads(line) for line in log.splitlines()]


class Gate:
    """Answers calls, and holds the n-th and those after it until it is opened."""

    def __init__(self, nth: int = 1, answer: Callable[[Call], Answer] = lambda _: Answer()) -> None:
        self.held: list[Call] = []
        self._left = nth
        self._answer = answer
        self._lock = threading.Lock()
        self._reached = threading.Event()
        self._opened = threading.Event()

    def __call__(self, call: Call) -> Answer:
        with self._lock:
            self._left -= 1
            holds = self._left <= 0 and not self._opened.is_set()
            if holds:
                self.held.append(call)
        if holds:
            self._reached.set()
            assert self._opened.wait(120)
        return self._answer(call)

    def wait(self) -> None:
        """Wait until a call is held."""
        assert self._reached.wait(60), "no call came"

    def open(self) -> None:
        """Let all calls go on."""
        self._opened.set()


def refusing(poison: Iterable[str], status: int = 400) -> Callable[[Call], Answer]:
    """Refuses a body as long as it has one of these events as a document, and says which."""
    bad = set(poison)

    def answer(call: Call) -> Answer:
        found = [event for event in (document["event"] for document in call.documents()) if event in bad]
        return Answer(status, NOW, f"not {found[0]}".encode()) if found else Answer()

    return answer


def letters(database: Database) -> list[tuple[str, int, str, str]]:
    """Text, status, answer and call of each dead letter, in order."""
    return database.fetch(LETTERS)  # type: ignore[return-value]


def check_delivered(database: Database, received: Sequence[Document], calls_in_flight: Iterable[Call] = ()) -> None:
    """Assert that every toggle came, in order, and came again only in consequence of calls that were in flight at a fault."""
    assert firsts(received) == expected(arrived(database))
    check_duplicates(received, calls_in_flight)


def firsts(received: Iterable[Document]) -> list[Document]:
    """Each document where it came for the first time."""
    found: dict[tuple[str, str, str], Document] = {}
    for document in received:
        assert found.setdefault(identity(document), document) == document
    return list(found.values())


def check_duplicates(received: Iterable[Document], calls_in_flight: Iterable[Call]) -> None:
    """Assert that no document came more often than the calls in flight explain."""
    often = Counter(map(identity, received))
    allowed = Counter(identity(document) for call in calls_in_flight for document in call.documents())
    more = {which: count for which, count in often.items() if count > 1 + allowed[which]}
    assert not more, f"{len(more)} documents came too often"


def walsender(database: Database) -> Any:
    """The process of the server that streams the database's slot, if one does."""
    with suppress(IndexError):
        return database.fetch(WALSENDER, database.name)[0][0]
    return None


class Posting:
    """`listener run` in the background, its log in a file, so that it never waits for whoever reads that."""

    def __init__(self, database: Database, receiver: Receiver, *arguments: str, **environment: str) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        command = [*LISTENER, "run", "--url", receiver.url, "--slot", database.name, *arguments]
        where = database.environment | {"PGUSER": ROLE} | environment
        self.process = subprocess.Popen(command, cwd=ROOT, env=where, stderr=self._log)

    def __enter__(self) -> "Posting":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._log.close()

    @property
    def log(self) -> str:
        """What it has said so far."""
        return os.pread(self._log.fileno(), 1 << 24, 0).decode()

    def says(self, words: str, times: int = 1) -> None:
        """Wait until it has said this, so often; it must be alive until then."""

        def said() -> bool:
            return self.log.count(words) >= times or self.process.poll() is not None

        wait_until(said)
        assert self.log.count(words) >= times, self.log

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it by SIGTERM, with success."""
        self.process.terminate()
        assert self.process.wait(60) == 0, self.log
