"""Everything fails at random while events stream in; at the end the receiver has had every toggle, in order."""

import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.calls import Answer, Call
from demo.webhook import Receiver
from tests.conftest import LOADER, ROOT, Database
from tests.events import arrived, check_against_fold
from tests.listening import expected, identity, key
from tests.loading import ROLE, documents, sample, wait_until, write
from tests.posting import Posting, check_duplicates, firsts, make_slot, run_to_end

SECONDS = 25
BEGUN = "select from segment_sources where loaded > 0"
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
CONSISTENT = """
select s.slot_name, s.active, s.confirmed_flush_lsn >= c.lsn or c.commit_lsn is null, c.past, c.documents
from pg_replication_slots s full join webhook_cursors c on c.slot = s.slot_name
"""


class Unreliable:
    """Fails one call in ten, hangs now and then until the listener gives up, and breaks off some acceptances half-way."""

    def __init__(self, seed: int) -> None:
        self.broken: list[Call] = []
        self.calm = False
        self._chance = random.Random(seed)
        self._lock = threading.Lock()

    def __call__(self, call: Call) -> Answer:
        with self._lock:
            dice = 1.0 if self.calm else self._chance.random()
        if dice < 0.10:
            return Answer(503, {"retry-after": "0"})
        if dice < 0.12:
            return Answer(hang=True)
        if dice < 0.16:
            self.broken.append(call)
            return Answer(body=b"x" * 1000, reset=True)
        return Answer(delay=0.02)


@contextmanager
def loading(database: Database, *paths: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Loaders that stream from files, which survive the server's restarts."""
    where = database.environment | {"PGUSER": ROLE}
    commands: list[list[str | Path]] = [
        [*LOADER, "stream", "--rate", "700", "--batch-size", "40", "--lanes", "3", path] for path in paths
    ]
    processes = [subprocess.Popen(command, cwd=ROOT, env=where) for command in commands]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def in_flight(receiver: Receiver) -> list[Call]:
    """The last call of each listener, known by its path: it may have been in flight at the kill."""
    return list({call.path: call for call in receiver.calls if call.path != "/"}.values())


def test_chaos(own_database: Database, tmp_path: Path) -> None:
    database, chance = own_database, random.Random(SEED)
    print("CHAOS_SEED", SEED)
    make_slot(database)
    paths = [write(tmp_path / f"events-{n}", documents(sample(15_000, 150, SEED % 1000 * 4 + n))) for n in range(2)]
    answer = Unreliable(SEED)
    kills = restarts = 0
    with Receiver(answer=answer, keep=True) as receiver, loading(database, *paths) as loaders:
        wait_until(lambda: len(database.fetch(BEGUN)) == len(paths))  # who has not been connected yet may end when it cannot be
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            options = ("--url", f"{receiver.url}{kills}", "--timeout", "1.5", "--max-documents", "200")
            with Posting(database, receiver, *options) as listener:
                listener.says("listening")
                until_called(receiver, chance.randrange(2, 40), min(end, time.monotonic() + chance.uniform(1, 4)))
                if chance.random() < 0.4:
                    database.server.stop(chance.choice(["fast", "immediate"]))
                    database.server.start()
                    restarts += 1
                    until_called(receiver, 10, min(end, time.monotonic() + 2))
                assert listener.process.poll() is None, listener.log
            kills += 1
        for loader in loaders:
            assert loader.wait(120) == 0
        answer.calm = True
        run_to_end(database, receiver, "--timeout", "1.5")
        received = receiver.received()
    wanted = expected(arrived(database))
    came_first = firsts(received)
    assert sorted(came_first, key=identity) == sorted(wanted, key=identity)
    assert by_key(came_first) == by_key(wanted)
    check_duplicates(received, [*in_flight(receiver), *answer.broken])
    check_against_fold(database)
    assert database.fetch(CONSISTENT) == [(database.name, False, True, "none", 0)]
    print(f"{kills=} {restarts=} calls={len(receiver.calls)} toggles={len(wanted)} twice={len(received) - len(wanted)}")
    assert kills


def by_key(found: list[dict[str, object]]) -> dict[object, list[object]]:
    """The identities of each key's documents, in order."""
    keys: dict[object, list[object]] = {}
    for document in found:
        keys.setdefault(key(document), []).append(identity(document))
    return keys


def until_called(receiver: Receiver, times: int, end: float) -> None:
    """Wait for so many more calls, but not for longer than that."""
    enough = receiver.counters.calls + times
    wait_until(lambda: receiver.counters.calls >= enough or time.monotonic() > end)
