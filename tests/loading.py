"""The loader as tests run it: a program of its own, as the role segment_loader, against a real server."""

import json
import random
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest
from click.testing import CliRunner

from demo.fold import Event
from loader.cli import main
from tests.conftest import LOADER, ROOT, VERSIONS, Database, Row
from tests.events import MEMBERSHIPS, OUTCOMES, check_against_fold, document, fold, make

newest = pytest.mark.parametrize("server", VERSIONS[:1], indirect=True, ids=["newest"])
"""Marks what no version of the server changes, or what is too heavy for three."""

ends = pytest.mark.parametrize("server", [VERSIONS[0], VERSIONS[-1]], indirect=True, ids=["newest", "oldest"])
"""Marks what may differ between versions, but not one way between two that agree."""

ROLE = "segment_loader"
BAD = ["{", '{"event": 1}', "[]", "\0", '{"user": "u", "user": "v"}']
COUNTED = "select coalesce(sum(loaded + duplicates + rejected), 0)::int from segment_sources"


def mostly_newest(names: str, cases: Mapping[str, tuple[object, ...]]) -> pytest.MarkDecorator:
    """Parametrize with every case on the newest server, and on each of the others with the last one: what meets most of it."""
    *_, last = cases
    chosen = [
        pytest.param(major, *values, id=f"pg{major}-{name}")
        for major in VERSIONS
        for name, values in cases.items()
        if major == VERSIONS[0] or name == last
    ]
    return pytest.mark.parametrize(f"server, {names}", chosen, indirect=["server"])


def run(database: Database, *arguments: str | Path, **options: str | bytes) -> subprocess.CompletedProcess[str]:
    """Run `loader stream` to its end."""
    return database.loader("stream", *arguments, **({"PGUSER": ROLE} | options))  # type: ignore[arg-type]


def invoke(database: Database, *arguments: str, user: str = ROLE) -> str:
    """Run a command of the loader's within this process, with success; return what it says on stdout."""
    done = CliRunner().invoke(main, arguments, env=database.server.environment(database.name) | {"PGUSER": user})
    assert done.exit_code == 0, done.stderr
    return done.stdout


def load(database: Database, *arguments: str | Path, **options: str | bytes) -> tuple[int, int, int]:
    """Load with success; return how many were loaded, duplicates, rejected."""
    done = run(database, "--json", *arguments, **options)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["complete"], done.stderr
    return summary["loaded"], summary["duplicates"], summary["rejected"]


@contextmanager
def running(database: Database, *arguments: str | Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """`loader stream` in the background, with a pipe as its stdin; it is gone when the block ends."""
    command = [*LOADER, "stream", "--json", *arguments]
    where = database.environment | {"PGUSER": ROLE} | environment
    with subprocess.Popen(command, cwd=ROOT, env=where, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: subprocess.Popen[bytes], code: int = 0) -> tuple[str, str]:
    """Wait for the process to end by itself with this exit code; return stdout and stderr."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err.decode()
    return out.decode(), err.decode()


def send(process: subprocess.Popen[bytes], text: str) -> None:
    """Write to the process's stdin, which stays open."""
    assert process.stdin
    process.stdin.write(text.encode())
    process.stdin.flush()


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for a condition to hold; ask ever less often, as most ask by a connection of their own."""
    end, pause = time.monotonic() + seconds, 0.02
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(pause)
        pause = min(pause * 1.3, 0.15)


def wait_for_count(database: Database, count: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until that many lines are accounted for, or the loader is done with all."""
    with database.connect(autocommit=True) as connection:

        def reached() -> bool:
            assert process.poll() in (None, 0), process.communicate()[1].decode()
            found = connection.execute(COUNTED).fetchone()
            return process.poll() == 0 or (found is not None and int(str(found[0])) >= count)

        wait_until(reached)


def assert_one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Assert that a command failed and said why in one line, with these words in it."""
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(said) == 1, done.stderr
    assert done.stderr.rstrip().splitlines()[-1] == said[0]
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in said[0]


def execute(database: Database, statement: str, *values: object) -> None:
    """Run one statement as the superuser."""
    with database.connect(autocommit=True) as connection:
        connection.execute(statement.encode(), values or None)


def events(database: Database) -> int:
    """How many events there are."""
    return int(str(database.fetch("select count(*) from segment_events")[0][0]))


def rejects(database: Database) -> list[Row]:
    """Source, position, bytes and code of every reject."""
    return database.fetch("select source, position, bytes, code from segment_rejects order by source, position")


def sample(count: int, users: int, seed: int = 0) -> list[Event]:
    """Random events with ids of their own: adds and removes with ties, late ones, values."""
    chance = random.Random(seed)
    return [
        make(
            seed * 1_000_000 + number,
            f"user-{chance.randrange(users)}",
            f"s{chance.randrange(4)}",
            seconds=chance.randrange(number // 4 + 1, number // 2 + 2),
            value=chance.choice([None, "", f"v{number}"]) if chance.random() < 0.7 else None,
        )
        if chance.random() < 0.6
        else make(
            seed * 1_000_000 + number,
            f"user-{chance.randrange(users)}",
            f"s{chance.randrange(4)}",
            seconds=chance.randrange(number // 2 + 2),
            remove=True,
        )
        for number in range(count)
    ]


def spoil(lines: Iterable[str], every: int) -> list[str]:
    """Put a bad line after every so many good ones."""
    spoiled = []
    for number, line in enumerate(lines, 1):
        spoiled.append(line)
        if number % every == 0:
            spoiled.append(BAD[number // every % len(BAD)])
    return spoiled


def write(path: Path, lines: Iterable[str]) -> Path:
    """Write lines as a file."""
    path.write_bytes("".join(line + "\n" for line in lines).encode())
    return path


def documents(of: Iterable[Event]) -> list[str]:
    """The events as lines."""
    return [document(event) for event in of]


def positions(path: Path) -> dict[int, bytes]:
    """Each line of the file by its position."""
    found, at = {}, 0
    for line in path.read_bytes().splitlines(keepends=True):
        found[at] = line.rstrip(b"\n")
        at += len(line)
    return found


def check_exactly_once(database: Database, path: Path, good: list[Event]) -> None:
    """Assert that each of the file's events and bad lines is there once, counted, and reduced in the file's order."""
    lines = positions(path)
    memberships, outcomes = fold(good)
    assert database.fetch(MEMBERSHIPS) == memberships
    assert sorted(database.fetch(OUTCOMES), key=str) == sorted(outcomes, key=str)
    known = set(documents(good))
    bad = [(str(path), at, line) for at, line in lines.items() if line.decode() not in known]
    assert [row[:3] for row in rejects(database)] == bad
    counts = database.fetch("select loaded, duplicates, rejected from segment_sources where source = %s", str(path))
    assert counts == [(len(good), 0, len(bad))]
    assert set(database.fetch("select position from segment_source_positions where source = %s", str(path))) == {
        (path.stat().st_size,)
    }
    check_against_fold(database)
