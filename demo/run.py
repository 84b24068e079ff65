"""Starts all that the demo shows and stops it again: server, migrations, dbt, generator, loader, listener, webhook, screen.

The generator's lines go through this process, which counts them, to a loader; the listener posts to a receiver in this process.
However the demo ends, what was sent is loaded, and no process or socket that it started is left.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from demo import check, postgres
from demo.errors import AlreadyRunningError, StepFailedError
from demo.figures import Figures
from demo.lake import COMMANDS
from demo.lake import lines as lake_lines
from demo.pipeline import DATABASE, Pipeline
from demo.screen import Screen
from migrations.schema import dump

ROOT = Path(__file__).resolve().parents[1]
READER = "segment_reader"
OWN_DATABASE = "segments"
LOCK = postgres.STATE / "demo.lock"
TICK_SECONDS = 1.0


def demo(rate: float, seconds: float | None) -> bool:
    """Run until Ctrl-C, or for `seconds` and then check; return whether all is as it should be."""
    console = Console()
    with contextlib.suppress(KeyboardInterrupt), ready_server(console) as server:
        pipeline = Pipeline(server, rate, keep=seconds is not None)
        with pipeline.running():
            watch(pipeline, console, seconds)
            return seconds is None or closing_check(pipeline, console)
    return True


@contextlib.contextmanager
def ready_server(console: Console) -> Iterator[postgres.Server]:
    """The checkout's server, for this demo alone, with an empty migrated database and dbt's views."""
    with only_demo(), own_server(console) as server:
        console.print("migrating an empty database")
        fresh_database(server, DATABASE)
        console.print("building the views with dbt")
        build_views(server, DATABASE)
        yield server


def watch(pipeline: Pipeline, console: Console, seconds: float | None) -> None:
    """Show the figures in the terminal, every tick anew, until the time is over."""
    receiver, server = pipeline.delivery.receiver, pipeline.server
    ends_at = time.monotonic() + (float("inf") if seconds is None else seconds)
    console.print(f"the toggles go to {receiver.url} and no further; to slow it down:", soft_wrap=True)
    console.print(f"  curl -X PUT {receiver.url}settings -d '{{\"delay\": 2000}}'", highlight=False, soft_wrap=True)
    console.print("the events go to files, every 10 s; to look at them:")
    for command in COMMANDS:
        console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)
    figures = Figures()
    display = Screen(console, server.bin / "psql", server.environment(DATABASE) | {"PGUSER": READER})
    with server.connect(DATABASE, READER, autocommit=True) as connection, display.live() as screen:
        while (left := ends_at - time.monotonic()) > 0:
            screen.show(figures.read(connection, pipeline.stream.sent, receiver.counters))
            pipeline.check()
            time.sleep(min(TICK_SECONDS, left))


def closing_check(pipeline: Pipeline, console: Console) -> bool:
    """Compare generator, tables, receiver and lake; the last lines say how many of each are right."""
    console.print("checking every event, membership and toggle against an independent fold")
    pipeline.finish()
    with pipeline.server.connect(DATABASE, READER) as connection:
        pipeline.delivery.wait_for(check.count_toggles(connection))
        documents = pipeline.delivery.receiver.received()
        result = check.compare(connection, pipeline.stream.lines(), documents, lake_lines())
    console.print(result.sentence(), highlight=False, soft_wrap=True)
    return result.right()


@contextlib.contextmanager
def only_demo() -> Iterator[None]:
    """Hold the checkout's lock while the demo runs; the file says who has it, and which database."""
    postgres.STATE.mkdir(exist_ok=True)
    with LOCK.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise AlreadyRunningError(pid=file.read().split()[0]) from None
        file.truncate(0)
        file.write(f"{os.getpid()} {DATABASE}\n")
        file.flush()
        yield


def running_database() -> str | None:
    """The database of the demo that runs in this checkout just now, if one does."""
    with contextlib.suppress(FileNotFoundError), LOCK.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().split()[1]
    return None


@contextlib.contextmanager
def own_server(console: Console) -> Iterator[postgres.Server]:
    """The checkout's server; it is stopped afterwards unless it ran before."""
    server = postgres.default_server()
    ran_before = server.running()
    console.print(f"starting PostgreSQL {postgres.DEFAULT_MAJOR} in .demo (socket only; make clean removes it)")
    try:
        server.start()
        yield server
    finally:
        if not ran_before:
            server.stop()


def fresh_database(server: postgres.Server, name: str) -> None:
    """Make a database anew, and migrate it."""
    server.drop_database(name)
    server.create_database(name)
    run_step("migrating", ROOT, [sys.executable, "-m", "alembic", "upgrade", "head"], server.environment(name))


def build_views(server: postgres.Server, name: str) -> None:
    """Have dbt build its models."""
    dbt(server, name, "run")


def dbt(server: postgres.Server, name: str, *arguments: str) -> None:
    """Run dbt on a database; the files that it writes go to .demo."""
    files = {"DBT_TARGET_PATH": str(postgres.STATE / "dbt"), "DBT_LOG_PATH": str(postgres.STATE / "dbt")}
    command: list[str | Path] = [Path(sys.executable).with_name("dbt"), "--quiet", *arguments]
    run_step(f"dbt {arguments[0]}", ROOT / "dbt_project", command, server.environment(name) | files)


def run_step(step: str, folder: Path, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
    """Run a program to its end, which has to be a good one."""
    done = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StepFailedError(step=step, said=(done.stdout + done.stderr).strip())


def schema() -> str:
    """What the migrations result in, dumped from a database made for it."""
    with own_server(Console(stderr=True)) as server:
        fresh_database(server, "schema")
        os.environ.update(server.environment("schema"))
        try:
            return dump(str(server.bin / "pg_dump"))
        finally:
            server.drop_database("schema")
