"""A server of the run's own and everything on it: loaders, two listeners of one slot, an export, a receiver, in one folder.

What was killed or has ended is started again, as a service manager would; how each process ended is in `ends`. Processes start in
the thread that calls `tend`, but for those of the inputs, which start their own.
"""

import base64
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg

from chaos.inputs import Batches, Growing, Pipe, Source
from chaos.program import ROOT, End, Program
from chaos.receiving import TIMEOUT, Behaviour
from demo import postgres

DATABASE: Final = "chaos"
SLOT: Final = "chaos"
LISTENERS: Final = ("listener-1", "listener-2")
RATES: Final = {"a": 150.0, "b": 100.0, "pipe": 100.0}
"""Events a second."""

RESTART_SECONDS: Final = 0.3
PATIENCE: Final = 120.0
"""Seconds in which everything has to be where it belongs once nothing fails any more."""

COMMAND_SECONDS: Final = 300.0
"""In which a command comes to its end, whatever is done to the server meanwhile."""

SETTINGS: Final = {
    "max_wal_size": "64MB",
    "min_wal_size": "32MB",
    "checkpoint_timeout": "30s",
    "autovacuum_naptime": "2s",
    "log_checkpoints": "off",
}

COUNTED: Final = "select coalesce(sum(loaded + duplicates + rejected), 0)::bigint from segment_sources where source = %s"


class NotSettledError(Exception):
    """What was to happen did not, once nothing failed any more."""


class Pipeline:
    """All of it; `folder` is the run's own and is there already."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.ends: list[End] = []
        self.logs = folder / "logs"
        self.lake = folder / "lake"
        self.journal = folder / "journal"
        for path in (self.logs, self.journal):
            path.mkdir()
        installation = postgres.installations()[postgres.DEFAULT_MAJOR]
        self.server = postgres.Server(folder / "postgres", installation, shared_buffers=128, die_with_parent=True)
        self.environment = self.server.environment(DATABASE)
        secret = secrets.token_bytes(32)
        self.behaviour = Behaviour(self.journal, secret, seed)
        self.receiver = self.behaviour.receiver()
        self._secret = {"WEBHOOK_SECRET": f"whsec_{base64.b64encode(secret).decode()}"}
        self._seed = seed
        self._due: dict[str, float] = {}

    @property
    def inputs(self) -> list[Growing | Pipe]:
        """What sends events from its start to its end."""
        return [*self.growing, self.pipe]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run for as long as the block does; however it ends, no process is left. The server's log stays in the folder."""
        with ExitStack() as undo:
            undo.callback(self._remove_server)
            self._make_database()
            self.receiver.start()
            undo.callback(self.behaviour.close)
            undo.callback(self.receiver.close)
            self._make_parts(datetime.now(UTC))
            undo.callback(self._kill)
            for source in self.inputs:
                source.start()
            yield

    @property
    def sources(self) -> list[Source]:
        """Everything that was loaded."""
        return [*(file.source for file in self.growing), self.pipe.source, *self.batches.sources]

    def tend(self) -> None:
        """Start what is not running, a moment after it ended."""
        now = time.monotonic()
        for name, program in self.services.items():
            program.end()
            if program.process is None and now >= self._due.setdefault(name, now + RESTART_SECONDS if self.ends else now):
                del self._due[name]
                program.start()

    @property
    def last_steps(self) -> dict[str, Callable[[], None]]:
        """What brings everything to where it belongs, and ends it: in this order, each whatever became of those before."""
        secret = self.environment | self._secret
        replay = ("dead-letters", "replay", "--url", self.receiver.url, "--slot", SLOT)
        return {
            "To load what was sent": self._load_all,
            "To stop what runs": self._stop_services,
            "To post the rest": partial(
                self.run, "segment_listener", "listener", *self._run_listener(), "--until-caught-up", environment=secret
            ),
            "To post what was set aside": partial(self.run, "segment_listener", "listener", *replay, environment=secret),
            "To export the rest": partial(self.run, "segment_lake", "lake", "export", self.lake),
            "To verify the lake": partial(self.run, "segment_lake", "lake", "verify", self.lake),
            "To build all of dbt": self.build,
        }

    def load_batch(self, kill_after: float) -> bool:
        """Load another file beside everything else, by a loader that is killed; false: it was done by then."""
        self.batches.add()
        return self.batches.load(self._batch_is_begun, kill_after)

    def drop_slot(self) -> None:
        """Give the webhook up."""
        self.run("segment_listener", "listener", "drop", "--slot", SLOT)

    def run(self, role: str, *command: object, environment: dict[str, str] | None = None) -> None:
        """Run a program of the project's to its end, which has to be a good one."""
        where = (environment or self.environment) | {"PGUSER": role}
        self._complete([sys.executable, "-m", *map(str, command)], ROOT, where)

    def build(self, verb: str = "build") -> None:
        """Have dbt build its models and test them, or only build them (`run`)."""
        files = {"DBT_TARGET_PATH": str(self.folder / "dbt"), "DBT_LOG_PATH": str(self.folder / "dbt")}
        dbt = [str(Path(sys.executable).with_name("dbt")), "--quiet", verb, "--no-use-colors"]
        self._complete(dbt, ROOT / "dbt_project", self.environment | files)

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """A connection as a superuser."""
        return self.server.connect(DATABASE, autocommit=True, application_name="chaos", **options)

    def _make_database(self) -> None:
        self.server.start()
        with self.server.connect("postgres", autocommit=True) as connection:
            for name, value in SETTINGS.items():
                connection.execute(f"alter system set {name} = '{value}'".encode())
            connection.execute("select pg_reload_conf()")
        self.server.create_database(DATABASE)
        self.run(postgres.SUPERUSER, "alembic", "upgrade", "head")
        self.build("run")

    def _make_parts(self, start: datetime) -> None:
        inputs = self.folder / "inputs"
        inputs.mkdir()
        self.growing = [Growing(inputs / f"{name}.ndjson", f"{self._seed} {name}", start, RATES[name]) for name in "ab"]
        lanes = dict(zip(self.growing, (3, 2), strict=True))
        self.services = {
            file.source.path.stem: self._program(
                f"loader-{file.source.path.stem}",
                "segment_loader",
                "loader",
                "stream",
                "--follow",
                file.source.path,
                "--lanes",
                count,
            )
            for file, count in lanes.items()
        }
        piped = self._program("loader-pipe", "segment_loader", "loader", "stream", "--source", "pipe", "--lanes", 2, "-")
        self.pipe = Pipe(inputs / "pipe.ndjson", f"{self._seed} pipe", start, RATES["pipe"], piped)
        pace = ("--rate", 1000, "--batch-size", 100)  # so slow that it can be killed in the midst of a file
        batch = self._program("loader-batch", "segment_loader", "loader", "stream", *pace, inputs / "batches" / "*.ndjson*")
        self.batches = Batches(inputs / "batches", f"{self._seed} batch", start, batch)
        for name in LISTENERS:
            self.services[name] = self._program(name, "segment_listener", "listener", *self._run_listener(), "--wait")
        every = ("--every", "1s", "--linger", "0s")
        self.services["export"] = self._program("export", "segment_lake", "lake", "export", self.lake, *every)

    def _run_listener(self) -> tuple[object, ...]:
        calls = ("--timeout", TIMEOUT, "--max-documents", 200)
        return ("run", "--url", self.receiver.url, "--slot", SLOT, "--from", "start", *calls)

    def _program(self, name: str, role: str, *arguments: object) -> Program:
        return Program(name, role, self.environment | self._secret, self.logs, self.ends, *arguments)

    def _complete(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        options: dict[str, Any] = {"cwd": folder, "env": os.environ | environment, "capture_output": True, "text": True}
        name = " ".join(command[:5])
        try:
            done: subprocess.CompletedProcess[str] = subprocess.run(command, check=False, timeout=COMMAND_SECONDS, **options)
        except subprocess.TimeoutExpired:
            raise NotSettledError(f"{name} … did not end in {COMMAND_SECONDS:.0f} s") from None
        if done.returncode:
            said = (done.stdout + done.stderr).strip()
            raise NotSettledError(f"{name} … ended with {done.returncode}: {said}")

    def _load_all(self) -> None:
        """End what sends, and wait for the loaders; raise NotSettledError when these do not come to the end of it."""
        ended = [source.end() for source in self.inputs]
        if not (all(ended) and self._until(self._is_loaded)):
            raise NotSettledError("the loaders did not come to the end of their files")

    def _is_loaded(self) -> bool:
        """Whether each line of the growing files is counted."""
        with self.connect() as connection:
            counted = [connection.execute(COUNTED, [file.source.name]).fetchone() for file in self.growing]
        return counted == [(file.lines,) for file in self.growing]

    def _batch_is_begun(self) -> bool:
        """Whether some of the newest batch is committed, as far as there is a server to ask."""
        with suppress(psycopg.OperationalError), self.connect() as connection:
            return connection.execute(COUNTED, [self.batches.sources[-1].name]).fetchone() != (0,)
        return False

    def _until(self, condition: Callable[[], bool]) -> bool:
        """Tend until it holds, but not for ever."""
        ends_at = time.monotonic() + PATIENCE
        while not (held := condition()) and time.monotonic() < ends_at:
            self.tend()
            time.sleep(0.2)
        return held

    def _stop_services(self) -> None:
        """Have all of them end; raise NotSettledError for those that had to be killed."""
        self._abandon()
        for program in self.services.values():
            program.stop()
        ends_at = time.monotonic() + PATIENCE
        for program in self.services.values():
            program.wait(max(0.0, ends_at - time.monotonic()))
        if left := [name for name, program in self.services.items() if program.process]:
            self._kill()
            raise NotSettledError(f"{', '.join(left)} did not end when told to")

    def _abandon(self) -> None:
        """Have nothing be fed any more, loaded or not."""
        for feeding in (self.pipe, self.batches):
            feeding.abandoned.set()
            feeding.loader.kill()

    def _kill(self) -> None:
        """End every process that is still there, and what feeds them."""
        self._abandon()
        for source in self.inputs:
            source.end()
        for program in self.services.values():
            program.kill()
            program.wait(PATIENCE)

    def _remove_server(self) -> None:
        log = self.server.folder / "server.log"
        if log.exists():
            shutil.copyfile(log, self.logs / "server.log")
        self.server.remove()
