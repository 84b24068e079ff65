"""Starts all that the demo shows and stops it again: server, migrations, dbt, generator, loader, listener, webhook, screen.

The generator's lines go through this process, which counts them, to a loader; the listener posts to a receiver in this process.
However the demo ends, what was sent is loaded, and no process or socket that it started is left.
"""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator

from rich.console import Console

from demo import check, postgres
from demo.database import build_views, fresh_database, prove
from demo.errors import AlreadyRunningError, PageError
from demo.figures import Figures
from demo.lake import COMMANDS
from demo.lake import lines as lake_lines
from demo.pipeline import DATABASE, Pipeline
from demo.screen import Screen
from migrations.schema import dump

READER = "segment_reader"
OWN_DATABASE = "segments"
LOCK = postgres.STATE / "demo.lock"
TICK_SECONDS = 1.0
HOST = "127.0.0.1"
PORTS = 100
"""How many ports are tried for the page."""


def demo(rate: float, seconds: float | None, page: int | None) -> bool:
    """Run until Ctrl-C, or for `seconds` and then check, on a page at the port `page` or a later one, or in the terminal.

    Return whether all is as it should be.
    """
    console = Console()
    with contextlib.suppress(KeyboardInterrupt), only_demo(), contextlib.ExitStack() as opened:
        listener = None if page is None else opened.enter_context(listen(page, console))
        server = opened.enter_context(ready_server(console))
        pipeline = Pipeline(server, rate, keep=seconds is not None, recorded=listener is not None)
        with pipeline.running():
            if listener:
                show_page(pipeline, listener, seconds)
            else:
                watch(pipeline, console, seconds)
            return seconds is None or closing_check(pipeline, console)
    return True


def listen(port: int, console: Console) -> socket.socket:
    """A port for the page: the first free one from `port` on. Who opens it at once waits until everything runs."""
    for candidate in range(port, min(port + PORTS, 65536)):
        with contextlib.suppress(OSError):
            listener = socket.create_server((HOST, candidate))
            why = "" if candidate in (0, port) else f" (port {port} is taken)"
            console.print(f"the page: http://{HOST}:{listener.getsockname()[1]}/{why}", highlight=False, soft_wrap=True)
            return listener
    raise PageError(port=port, last=min(port + PORTS, 65536) - 1)


def show_page(pipeline: Pipeline, listener: socket.socket, seconds: float | None) -> None:
    """Serve the page until the time is over."""
    from demo.page.serve import serve  # noqa: PLC0415 - the terminal's view does not wait for what the page needs

    serve(pipeline, lambda: prove(pipeline.server, DATABASE), listener, seconds)


@contextlib.contextmanager
def ready_server(console: Console) -> Iterator[postgres.Server]:
    """The checkout's server, with an empty migrated database and dbt's views."""
    with own_server(console) as server:
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
    console.print("the same on a page, with knobs and charts: make demo PAGE=yes", highlight=False)
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


def schema() -> str:
    """What the migrations result in, dumped from a database made for it."""
    with own_server(Console(stderr=True)) as server:
        fresh_database(server, "schema")
        os.environ.update(server.environment("schema"))
        try:
            return dump(str(server.bin / "pg_dump"))
        finally:
            server.drop_database("schema")
