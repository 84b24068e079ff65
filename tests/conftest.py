"""Real servers for the tests: every PostgreSQL version at hand, each with a migrated template that each test clones.

The process that runs pytest starts the servers before xdist's workers and removes them after; they die with it, by kill -9 too.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from demo.postgres import Server, forget_other_servers, installations
from tests import starting

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = "segments_template"
SERVERS = "SEGMENTS_TEST_SERVERS"
VERSIONS = [major for major in (18, 16, 15) if major in installations()]

Row = tuple[object, ...]

forget_other_servers()


def pytest_configure(config: pytest.Config) -> None:
    """Start the servers, unless this is a worker or nothing will run."""
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    home = Path(tempfile.mkdtemp(prefix="pgsegments-test-"))
    servers = [Server(home / str(major), installations()[major], shared_buffers=256, die_with_parent=True) for major in VERSIONS]
    config.add_cleanup(lambda: remove(home, servers))
    for server in servers:
        server.start()
        server.create_database(TEMPLATE)
        migrate(server.environment(TEMPLATE))
    os.environ[SERVERS] = json.dumps(str(home))


def remove(home: Path, servers: list[Server]) -> None:
    """Leave nothing behind."""
    for server in servers:
        server.remove()
    shutil.rmtree(home)  # a lock file, and what dbt wrote


def migrate(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run alembic as a user does; by default `alembic upgrade head`."""
    command = [sys.executable, "-m", "alembic", *(arguments or ("upgrade", "head"))]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=not arguments, capture_output=True, text=True)


def pytest_report_header() -> str:
    """Name the versions that are tested: 15 only where the system has it."""
    return f"PostgreSQL: {', '.join(map(str, VERSIONS))}"


@dataclass(frozen=True)
class Database:
    """A migrated database of the test's own."""

    server: Server
    name: str

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment with PG* for the database."""
        return os.environ | self.server.environment(self.name)

    def connect(self, user: str = "postgres", **options: Any) -> psycopg.Connection[Row]:
        """Connect in UTC."""
        return self.server.connect(self.name, user, **options)

    def fetch(self, query: str, *values: object) -> list[Row]:
        """Run one query on a connection of its own."""
        with self.connect(autocommit=True) as connection:
            return connection.execute(query.encode(), values or None).fetchall()

    def execute(self, script: str) -> None:
        """Run statements that return nothing on a connection of their own, as a superuser."""
        with self.connect(autocommit=True) as connection:
            connection.execute(script.encode())

    def run(
        self, *command: str | Path, input: str | bytes | None = None, folder: Path = ROOT, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program against the database and wait for it; text is UTF-8."""
        data = input.encode() if isinstance(input, str) else input
        where = self.environment | environment
        if starting.starts(command):
            done = starting.run(command, folder, where, data, 240)
        else:
            done = subprocess.run(command, cwd=folder, env=where, input=data, capture_output=True, check=False, timeout=240)
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def loader(
        self, *arguments: str | Path, input: str | bytes | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the loader's command line."""
        return self.run(*LOADER, *arguments, input=input, **environment)  # type: ignore[arg-type]

    def start_loader(self, *arguments: str | Path, **options: object) -> subprocess.Popen[bytes]:
        """Start the loader's command line and leave it running."""
        return subprocess.Popen([*LOADER, *arguments], cwd=ROOT, env=self.environment, **options)  # type: ignore[call-overload,no-any-return]

    def psql(self, *arguments: str | Path, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the server's own psql, unaligned and without headers."""
        return self.run(self.server.bin / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", *arguments, input=input)


LOADER = (sys.executable, "-m", "loader")


@pytest.fixture(params=VERSIONS, ids=lambda major: f"pg{major}", scope="session")
def server(request: pytest.FixtureRequest) -> Server:
    """A running server of each version."""
    return Server(Path(json.loads(os.environ[SERVERS])) / str(request.param), installations()[request.param])


@pytest.fixture(scope="session")
def keeper(server: Server) -> Iterator[psycopg.Connection[Row]]:
    """A connection by which databases come and go."""
    with server.connect("postgres", autocommit=True) as connection:
        yield connection


@pytest.fixture
def empty_database(server: Server, keeper: psycopg.Connection[Row]) -> Iterator[Database]:
    """A database that was not migrated."""
    yield from clone(server, keeper, "template1")


@pytest.fixture
def database(server: Server, keeper: psycopg.Connection[Row]) -> Iterator[Database]:
    """A migrated database."""
    yield from clone(server, keeper, TEMPLATE)


@pytest.fixture
def another(server: Server, keeper: psycopg.Connection[Row]) -> Iterator[Database]:
    """A second one."""
    yield from clone(server, keeper, TEMPLATE)


@pytest.fixture
def built(server: Server, keeper: psycopg.Connection[Row]) -> Iterator[Database]:
    """A database with events, on which dbt has built its models; see tests/building.py."""
    from tests.building import BUILT, build  # noqa: PLC0415 - it needs this module

    build(server, TEMPLATE)
    yield from clone(server, keeper, BUILT)


def clone(server: Server, keeper: psycopg.Connection[Row], template: str) -> Iterator[Database]:
    """A copy of the template for one test."""
    name = f"test_{uuid.uuid4().hex}"
    keeper.execute(f"create database {name} template {template}".encode())
    yield Database(server, name)
    # A killed listener's server process may be streaming it still, which keeps it.
    holders = "select pg_terminate_backend(active_pid, 30000) from pg_replication_slots where database = %s and active"
    keeper.execute(holders, [name])
    keeper.execute(f"drop database if exists {name} with (force)".encode())


@pytest.fixture(scope="session")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the worker's own, that tests may stop and set, one after the other; the newest version only."""
    home = tmp_path_factory.mktemp("own") / "pg"
    server = Server(home, installations()[VERSIONS[0]], shared_buffers=128, die_with_parent=True)
    server.start()
    server.create_database(TEMPLATE)
    migrate(server.environment(TEMPLATE))
    yield server
    server.remove()


@pytest.fixture
def own_database(own_server: Server) -> Iterator[Database]:
    """A migrated database on a server that may be stopped and set; it runs again afterwards, with its settings of before."""
    name = f"test_{uuid.uuid4().hex}"
    own_server.start()
    own_server.create_database(name, template=TEMPLATE)
    yield Database(own_server, name)
    own_server.start()
    restore_settings(own_server)
    own_server.drop_database(name)


def restore_settings(server: Server) -> None:
    """Undo what was set by alter system; what it set may need a restart, and so its undoing."""
    with server.connect("postgres", autocommit=True) as connection:
        if not connection.execute("select from pg_file_settings where sourcefile like '%auto.conf'").fetchall():
            return
        connection.execute("alter system reset all")
    server.stop()
    server.start()


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A second checkout with the files of this one and its virtual environment, which has all that the demo needs."""
    yield from copy_checkout(tmp_path / "a checkout")


def copy_checkout(copy: Path) -> Iterator[Path]:
    """Make a second checkout, and take it and its server away afterwards."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in listed.stdout.decode().split("\0")[:-1]:
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    (copy / ".venv").mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):
        (copy / ".venv" / part).symlink_to(Path(sys.prefix) / part)
    (copy / ".venv/installed-demo").touch()
    yield copy
    subprocess.run([sys.executable, "-m", "demo", "postgres", "remove"], cwd=copy, check=True)
