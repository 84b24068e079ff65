"""The listener as tests run it: a program of its own, in the role segment_listener, against a real server and a real receiver."""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC
from subprocess import PIPE
from typing import Any

from demo.fold import Event, Fold
from demo.webhook import Receiver
from tests.conftest import ROOT, Database

LISTENER = (sys.executable, "-m", "listener")
ROLE = "segment_listener"
TOGGLES = ("left", "rejoined")
CHANGES = (*TOGGLES, "joined", "absent")

Document = dict[str, Any]

PROGRESS = "select coalesce(sum(delivered), 0)::int from webhook_cursors"


def listen(database: Database, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the listener to its end; slots belong to the whole server, so each database has one of its own name."""
    slot = ("--slot", database.name) if arguments[0] in ("run", "drop") else ()
    return database.run(*LISTENER, *arguments, *slot, **({"PGUSER": ROLE} | environment))  # type: ignore[arg-type]


def catch_up(database: Database, receiver: Receiver, *arguments: str) -> None:
    """Deliver everything that is committed, with success."""
    done = listen(database, "run", "--url", receiver.url, "--until-caught-up", *arguments)
    assert done.returncode == 0, done.stderr


@contextmanager
def listening(database: Database, receiver: Receiver, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`listener run` in the background, its log in a pipe; it is gone when the block ends."""
    command = [*LISTENER, "run", "--url", receiver.url, "--slot", database.name, *arguments]
    where = database.environment | {"PGUSER": ROLE} | environment
    with subprocess.Popen(command, cwd=ROOT, env=where, stderr=PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def await_log(process: subprocess.Popen[str], words: str) -> str:
    """Read the log up to the first line with these words, and return it."""
    assert process.stderr
    read = []
    for line in process.stderr:
        read.append(line)
        if words in line:
            return line
    raise AssertionError("".join(read))


def stop(process: subprocess.Popen[str]) -> str:
    """End the listener by SIGTERM, with success; return the rest of its log."""
    process.terminate()
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    return log


def identity(document: Document) -> tuple[str, str, str]:
    """What a receiver knows a toggle by."""
    return document["event"], document["user"], document["timestamp"]


def key(document: Document) -> tuple[str, int, str]:
    """The user and segment whose status it is about."""
    return document["user"], document["segment"]["vendor"], document["segment"]["name"]


def expected(events: Iterable[Event], outcomes: Iterable[str] = TOGGLES) -> list[Document]:
    """The documents that these events, in order of arrival, should lead to, by the independent fold."""
    fold, found = Fold(), []
    for event in events:
        outcome = fold.add(event)
        if outcome.outcome in outcomes:
            document = fields(event)
            if tuple(outcomes) != TOGGLES:
                document["outcome"] = outcome.outcome
            if outcome.previous:
                document["previous"] = fields(outcome.previous)
            found.append(document)
    return found


def fields(event: Event) -> Document:
    """An event as it stands in a document."""
    when = event.occurred_at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    found: Document = {"event": event.event_id, "timestamp": when, "user": event.user_id}
    found["segment"] = {"vendor": event.vendor, "name": event.segment_name}
    if event.value is not None:
        found["value"] = event.value
    if event.remove:
        found["remove"] = True
    return found
