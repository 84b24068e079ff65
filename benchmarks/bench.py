"""What every benchmark needs: a server of its own, databases on it, a receiver, the listener.

Nothing of it is left afterwards. The server is durable as any other; a backlog alone is written without waiting for the disk.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from benchmarks.process import PATIENCE, ROOT, Failed, Usage, measure
from demo.database import fresh_database
from demo.postgres import DEFAULT_MAJOR, Server, installations

DATABASE = "bench"
MIGRATED = "migrated"
"""The database that the others are copies of, or of its copies."""

LARGE = 1 << 27
"""Bytes from which on a database is copied by files, not through the log."""

TICK = 0.05


@contextmanager
def own_server(shared_buffers: int | None = None) -> Iterator[Server]:
    """A new server in a temporary folder, until the block ends; `shared_buffers` is in megabytes."""
    with tempfile.TemporaryDirectory(prefix="pgsegments-bench-") as home:
        server = Server(Path(home) / "postgres", installations()[DEFAULT_MAJOR], shared_buffers, die_with_parent=True)
        try:
            server.start()
            yield server
        finally:
            server.remove()


@dataclass
class Receiving:
    """A receiver that runs; `figures` is what it says at its end."""

    url: str
    figures: dict[str, Any]

    def documents(self) -> int:
        """How many it has accepted so far."""
        with urlopen(f"{self.url}settings") as answer:  # noqa: S310 - our own
            found: int = json.load(answer)["counters"]["documents"]
        return found


@contextmanager
def receiver(delay: float = 0, *, keep: bool = False) -> Iterator[Receiving]:
    """A receiver that answers after so many milliseconds."""
    command = [sys.executable, "-m", "benchmarks.receiver", str(delay), *["keep"] * keep]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        receiving = Receiving(process.stdout.readline().strip(), {})  # type: ignore[union-attr]
        yield receiving
        receiving.figures |= json.loads(process.communicate()[0])


@dataclass(frozen=True)
class Bench:
    """A server with one database to measure in, made anew as a copy of another that is kept."""

    server: Server

    def environment(self, role: str) -> dict[str, str]:
        """What libpq needs to connect in a role."""
        return self.server.environment(DATABASE) | {"PGUSER": role}

    def empty(self, template: str = MIGRATED) -> None:
        """Begin with a fresh database, which has what the template has."""
        if not self.has(template):
            fresh_database(self.server, template)
        for (slot,) in self.fetch(f"select slot_name from pg_replication_slots where database = '{DATABASE}'", "postgres"):  # noqa: S608
            self.drop(slot)
        self.server.drop_database(DATABASE)
        ((size,),) = self.fetch(f"select pg_database_size('{template}')", "postgres")
        strategy = "file_copy" if size > LARGE else "wal_log"
        with self.server.connect("postgres", autocommit=True) as connection:
            connection.execute(f"create database {DATABASE} template {template} strategy {strategy}")

    def keep(self, name: str) -> None:
        """Keep the database as it is, to be a template."""
        self.server.create_database(name, DATABASE)

    def has(self, name: str) -> bool:
        """Whether there is a database."""
        return bool(self.fetch(f"select from pg_database where datname = '{name}'", "postgres"))

    def mark(self) -> None:
        """Make the slot `before`, of which every run gets a copy: all that is written from now on is before those."""
        self.fetch("select pg_create_logical_replication_slot('before', 'pgoutput')")

    def fetch(self, query: str, database: str = DATABASE) -> list[Any]:
        """Run a query as superuser."""
        with self.server.connect(database, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def settle(self) -> None:
        """As after a quiet while: what was written before is on the disk, and the log's files are there to be used again."""
        with self.server.connect(DATABASE, autocommit=True) as connection:
            connection.execute("checkpoint")
        os.sync()

    def write(self, rows: int, rate: float | None = None) -> float:
        """Let the source write; return the rows a second that it came to."""
        command = [sys.executable, "-m", "benchmarks.source", str(rows), *([] if rate is None else [str(rate)])]
        environment = os.environ | self.server.environment(DATABASE)
        written = json.loads(subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True).stdout)
        return float(written["rows"] / written["seconds"])

    def drop(self, name: str) -> None:
        """Drop a slot, and its cursor, as soon as nobody holds it."""
        holder = f"select active from pg_replication_slots where slot_name = '{name}'"  # noqa: S608
        await_that(lambda: self.fetch(holder) == [(False,)])
        self.fetch(f"select pg_drop_replication_slot('{name}')")
        self.fetch(f"delete from webhook_cursors where slot = '{name}' returning slot")  # noqa: S608

    @contextmanager
    def slot(self, *, at_end: bool = False) -> Iterator[str]:
        """A slot with the whole backlog before it, or with nothing."""
        if at_end:
            self.fetch("select pg_create_logical_replication_slot('measured', 'pgoutput')")
        else:
            self.fetch("select pg_copy_logical_replication_slot('before', 'measured')")
        try:
            yield "measured"
        finally:
            self.drop("measured")

    def catch_up(self, slot: str, receiving: Receiving, *arguments: str) -> Usage:
        """Run the listener until it is caught up."""
        return measure([*listener(slot, receiving), "--until-caught-up", *arguments], self.environment("segment_listener"))

    def from_start(self, receiving: Receiving) -> Usage:
        """Run the listener with a new slot until it has delivered the past."""
        try:
            return self.catch_up("measured", receiving, "--from", "start")
        finally:
            self.drop("measured")

    def recvlogical(self, slot: str) -> Usage:
        """Read the same with PostgreSQL's own client, which throws it away."""
        ((end,),) = self.fetch("select pg_current_wal_flush_lsn()")
        publication = ("-o", "proto_version=1", "-o", "publication_names=segment_toggles")
        where = ("--dbname", DATABASE, "--slot", slot, "--start", "--no-loop", "--endpos", str(end), "--file", "/dev/null")
        return measure([self.server.bin / "pg_recvlogical", *where, *publication], self.environment("segment_listener"))

    @contextmanager
    def listening(self, receiving: Receiving) -> Iterator[None]:
        """The listener in the background, from now on."""
        with tempfile.TemporaryFile() as said:
            command = listener("measured", receiving)
            process = subprocess.Popen(command, cwd=ROOT, env=os.environ | self.environment("segment_listener"), stderr=said)
            try:
                await_that(lambda: b" listening " in log_of(process, said.fileno()))
                yield
                process.terminate()
                process.wait()
                log_of(process, said.fileno())
            finally:
                process.kill()
                process.wait()
                self.drop("measured")


def listener(slot: str, receiving: Receiving) -> list[str]:
    """The listener's command line."""
    return [sys.executable, "-m", "listener", "run", "--slot", slot, "--url", receiving.url]


def log_of(process: subprocess.Popen[bytes], file: int) -> bytes:
    """What it logged first; raises Failed when it has failed."""
    said = os.pread(file, 1 << 16, 0)
    if process.poll():
        raise Failed(said.decode(errors="replace"))
    return said


def await_that(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until it holds; raise TimeoutError when it does not in time."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError
        time.sleep(TICK)
