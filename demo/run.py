"""Starts everything that the demo shows and stops it again: server, migrations, generator, loader, screen.

The generator's lines go through this process, which counts them, to a loader in the role segment_loader. However the demo ends,
what was sent is loaded, and no process or socket that it started is left.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import randbits

from rich.console import Console

from demo import check, postgres
from demo.errors import AlreadyRunningError, StepFailedError
from demo.figures import Figures
from demo.screen import Screen
from loader.generate import generate
from migrations.schema import dump

ROOT = Path(__file__).resolve().parents[1]
DATABASE = "demo"
READER = "segment_reader"
OWN_DATABASE = "segments"
LOCK = postgres.STATE / "demo.lock"
LOG = postgres.STATE / "loader.log"
LOADER = (sys.executable, "-m", "loader")
TICK_SECONDS = 1.0


def demo(rate: float, seconds: float | None) -> bool:
    """Run until Ctrl-C, or for `seconds` and then check; return whether all is as it should be."""
    console = Console()
    with only_demo(), own_server(console) as server:
        console.print("migrating an empty database")
        fresh_database(server, DATABASE)
        stream = Stream(rate, randbits(32), datetime.now(UTC))
        with contextlib.suppress(KeyboardInterrupt), stream.running(server):
            watch(server, stream, console, seconds)
        return closing_check(server, stream, console) if seconds is not None else True


def watch(server: postgres.Server, stream: "Stream", console: Console, seconds: float | None) -> None:
    """Show the figures, every tick anew, until the time is over."""
    ends_at = time.monotonic() + (float("inf") if seconds is None else seconds)
    connection = server.connect(DATABASE, READER, autocommit=True)
    display = Screen(console, server.bin / "psql", server.environment(DATABASE) | {"PGUSER": READER})
    with Figures(connection) as figures, display.live() as screen:
        while (left := ends_at - time.monotonic()) > 0:
            screen.show(figures.read(stream.sent))
            if stream.ended.wait(min(TICK_SECONDS, left)):
                raise loader_failed()


def closing_check(server: postgres.Server, stream: "Stream", console: Console) -> bool:
    """Compare tables and generator; the last line says how many of each are right."""
    console.print("checking every event and every membership against an independent fold")
    with server.connect(DATABASE, READER) as connection:
        result = check.compare(connection, stream.generate_again())
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
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    environment = os.environ | server.environment(name)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StepFailedError(step="migrating", said=(done.stdout + done.stderr).strip())


def schema() -> str:
    """What the migrations result in, dumped from a database made for it."""
    with own_server(Console(stderr=True)) as server:
        fresh_database(server, "schema")
        os.environ.update(server.environment("schema"))
        try:
            return dump(str(server.bin / "pg_dump"))
        finally:
            server.drop_database("schema")


@dataclass
class Stream:
    """Generated events on their way to the loader; the same seed and start give the same events again."""

    rate: float
    seed: int
    start: datetime
    sent: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self, server: postgres.Server) -> Iterator[None]:
        """Generate and load for as long as the block runs; then everything sent is loaded before this returns."""
        loader = self._loader(server)
        generator = self._generator()
        pump = threading.Thread(target=self._pump, args=(generator, loader), name="pump")
        pump.start()
        try:
            yield
        finally:
            generator.terminate()
            pump.join()
            generator.wait()
            if loader.wait():
                raise loader_failed()

    def generate_again(self) -> Iterator[bytes]:
        """The lines that were sent, once more."""
        for _, lines in generate(count=self.sent, start=self.start, rate=self.rate, seed=self.seed):
            yield from lines

    def _pump(self, generator: subprocess.Popen[bytes], loader: subprocess.Popen[bytes]) -> None:
        """Pass whole lines on and count them; what the generator had begun when it was ended is dropped."""
        rest = b""
        with contextlib.suppress(BrokenPipeError), loader.stdin:  # type: ignore[union-attr]
            while chunk := os.read(generator.stdout.fileno(), 1 << 16):  # type: ignore[union-attr]
                lines, newline, rest = (rest + chunk).rpartition(b"\n")
                loader.stdin.write(lines + newline)  # type: ignore[union-attr]
                loader.stdin.flush()  # type: ignore[union-attr]
                self.sent += lines.count(b"\n") + len(newline)
        self.ended.set()

    def _generator(self) -> subprocess.Popen[bytes]:
        options = {"--rate": self.rate, "--seed": self.seed, "--start": self.start.isoformat()}
        command = [*LOADER, "generate", *(str(word) for option in options.items() for word in option)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True)

    def _loader(self, server: postgres.Server) -> subprocess.Popen[bytes]:
        command = [*LOADER, "stream", "--source", "demo", "--lanes", "1", "-"]
        environment = os.environ | server.environment(DATABASE) | {"PGUSER": "segment_loader"}
        with LOG.open("wb") as log:
            return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stderr=log, start_new_session=True)


def loader_failed() -> StepFailedError:
    """The error that tells what the loader said last."""
    return StepFailedError(step="loading", said=LOG.read_text(errors="replace").strip().rpartition("\n")[2])
