"""dbt as tests run it: a program of its own, in the project's folder, with the files that it writes somewhere else."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from demo.fold import Event
from demo.postgres import Server
from tests.conftest import ROOT, Database
from tests.events import TODAY, ndjson
from tests.loading import wait_until

PROJECT = ROOT / "dbt_project"
DBT = Path(sys.executable).with_name("dbt")
ROLE = "segment_dbt"
BUILT = "segments_built"
NAMES = ["s0", "s1", "s2", "é", 'a"b\\']

SESSION = """
import sys
from dbt.cli.main import dbtRunner
for command in sys.stdin:
    print("succeeded" if dbtRunner().invoke(command.split()).success else "failed", flush=True)
"""

SETTLED = "select coalesce(max(xact_id) < pg_snapshot_xmin(pg_current_snapshot()), true) from segment_batches"


def dbt(database: Database, *arguments: str, files: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run dbt to its end; it writes into `files`."""
    return database.run(DBT, *arguments, folder=PROJECT, **(surroundings(files) | environment))


def surroundings(files: Path) -> dict[str, str]:
    """The environment in which dbt acts as its role and writes into `files`."""
    return {"DBT_TARGET_PATH": str(files), "DBT_LOG_PATH": str(files), "NO_COLOR": "1", "PGUSER": ROLE}


@contextmanager
def session(database: Database, *, files: Path, **environment: str) -> Iterator[Callable[[str], tuple[bool, str]]]:
    """Run several commands of dbt in one process, which is quicker; each says whether it succeeded, and what it printed."""
    where = database.environment | surroundings(files) | environment
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen([sys.executable, "-c", SESSION], cwd=PROJECT, env=where, **pipes) as process:  # type: ignore[call-overload]

        def run(command: str) -> tuple[bool, str]:
            print(command, file=process.stdin, flush=True)
            lines: list[str] = []
            for line in process.stdout:
                if line in ("succeeded\n", "failed\n"):
                    return line == "succeeded\n", "".join(lines)
                lines.append(line)
            raise AssertionError("".join(lines))

        yield run


def build(server: Server, template: str) -> None:
    """Make the template BUILT, once a server: events by the loader, then dbt build. Whoever comes meanwhile waits."""
    with server.connect("postgres", autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(hashtextextended('segments_built', 0))")
        if connection.execute("select from pg_database where datname = %s", [BUILT]).fetchall():
            return
        making = Database(server, f"{BUILT}_making")
        server.drop_database(making.name)
        server.create_database(making.name, template=template)
        for part in stream(4):
            done = making.loader("stream", "--batch-size", "100", "--lanes", "2", input=ndjson(part), PGUSER="segment_loader")
            assert done.returncode == 0, done.stderr
        settle(making)
        done = dbt(making, "build", files=files(server))
        (files(server) / "stdout").write_text(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr
        connection.execute(f"alter database {making.name} rename to {BUILT}".encode())


def settle(database: Database) -> None:
    """Wait until no transaction, of other tests on the server either, is older than a batch: segment_activity counts all then."""
    wait_until(lambda: database.fetch(SETTLED) == [(True,)])


def files(server: Server) -> Path:
    """What dbt build wrote on that server, its output in `stdout`."""
    folder = server.home.with_name(f"dbt-{server.home.name}")
    folder.mkdir(exist_ok=True)
    return folder


def stream(parts: int, seed: int = 0) -> list[list[Event]]:
    """Random events of three days, in parts to be loaded one after the other: ties, late ones, odd values; some come twice."""
    chance = random.Random(seed)
    made = [event(chance, seed * 1_000_000 + number) for number in range(parts * 500)]
    return [made[part * 500 : part * 500 + 500] + chance.sample(made[: part * 500 + 500], 20) for part in range(parts)]


def event(chance: random.Random, number: int) -> Event:
    """A random event."""
    at = TODAY - timedelta(days=2) + timedelta(seconds=number % 2000 * 80 + chance.choice([0, 0, 3600, -90_000]))
    at = at.replace(microsecond=chance.choice([0, 0, 500_000])) if chance.random() < 0.9 else datetime(2021, 1, 16, tzinfo=UTC)
    remove = chance.random() < 0.4
    value = None if remove else chance.choice([None, None, "", "gold", 'say "é"'])
    identity = f"00000000-0000-4000-8000-{number:012}"
    return Event(identity, at, f"user-{chance.randrange(60)}", chance.randrange(1, 3), chance.choice(NAMES), value, remove)
