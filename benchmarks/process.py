"""Programs that are measured: what a finished one used, told by the kernel; and those that run meanwhile."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from demo.postgres import die_with

ROOT = Path(__file__).resolve().parents[1]

PATIENCE = 120.0
"""Seconds in which anything that is waited for has to be there."""

MOMENT = 1.0
"""Seconds that a program may end before its time: its last tick may have come."""

LAST_CHARACTERS = 2000
"""How much of what a program said is shown when it has failed."""


class Failed(Exception):  # noqa: N818 - it is the program that failed
    """A measured program ended with an error."""


class Usage(NamedTuple):
    """Wall and CPU seconds from start to end, and the most memory in bytes (never less than that of who started it)."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def measure(command: Sequence[str | Path], environment: Mapping[str, str]) -> Usage:
    """Run a program to its end and return what it used; raise Failed, with what it said, unless that is success."""
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=said, stderr=said)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise Failed(said.read().decode(errors="replace"))
    return Usage(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def said(command: Sequence[str | Path], environment: Mapping[str, str]) -> str:
    """Run a program to its end and return what it said on stderr; raise Failed with that unless it ended well, and in time."""
    options: dict[str, Any] = {"cwd": ROOT, "env": os.environ | environment, "capture_output": True, "text": True}
    try:
        done: subprocess.CompletedProcess[str] = subprocess.run(command, check=False, timeout=PATIENCE, **options)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{' '.join(map(str, command[1:]))} has taken more than {PATIENCE:.0f} s.") from error
    if done.returncode:
        raise Failed(done.stderr)
    return done.stderr


class Background(NamedTuple):
    """A program that runs meanwhile, and the file with what it says on stderr."""

    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise Failed, with what it said last, when it has ended otherwise than well."""
        if self.process.poll():
            raise Failed(f"{self.log.stem} has failed. {self.log.read_text(errors='replace')[-LAST_CHARACTERS:]}")

    def check_until(self, ends_at: float) -> None:
        """The same; also raise Failed when it has ended well long before that Unix time."""
        self.check()
        if self.process.poll() is not None and time.time() < ends_at - MOMENT:
            raise Failed(f"{self.log.stem} has ended before its time.")

    def wait(self) -> None:
        """Wait for its end; raise Failed when it does not come."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.log.stem} has not ended in {PATIENCE:.0f} s.") from None


@contextmanager
def background(
    command: Sequence[str | Path], environment: Mapping[str, str], log: Path, **streams: IO[bytes] | int | None
) -> Iterator[Background]:
    """A program that is asked to end when the block does; raise Failed unless it ends well then.

    It ends with the thread that started it, by kill -9 too.
    """
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL} | streams
    options["preexec_fn"] = partial(die_with, os.getpid())
    with log.open("wb") as opened:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stderr=opened, **options)
    running = Background(process, log)
    try:
        yield running
        process.terminate()
        running.wait()
        running.check()
    finally:
        process.kill()
        process.wait()
