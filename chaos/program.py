"""A program of the project's in a process of its own, again and again: how each of its processes ended, and what it said.

A process ends with the thread that started it, by kill -9 too. What it says goes to a log, and through a pipe, so that no limit
on the sizes of its files cuts it off.
"""

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from demo import postgres

ROOT: Final = Path(__file__).resolve().parents[1]
TRACEBACK: Final = b"Traceback (most recent call last)"
READING_SECONDS: Final = 5.0
"""How long what an ended process has said may take to be read: a child of its own could hold the pipe."""


class End(NamedTuple):
    """How a process ended: between which Unix times it ran, what was asked of it ("", "killed" or "stopped") and when, its exit
    code, the last line that it said, and whether it said a traceback."""

    name: str
    began: float
    ended: float
    asked: str
    asked_at: float
    code: int
    said: str
    traceback: bool


class Program:
    """`python -m <arguments>` in a role, whose sessions have its name; `ends` takes note of each end of it."""

    def __init__(self, name: str, role: str, environment: Mapping[str, str], folder: Path, ends: list[End], *arguments: object):
        self.name = name
        self._log = folder / f"{name}.log"
        self._command = [sys.executable, "-m", *map(str, arguments)]
        self._environment = os.environ | environment | {"PGUSER": role, "PGAPPNAME": name}
        self._ends = ends
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The process that runs, or that ended last."""
        return self._process

    def start(self, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a process; the one before has ended, and that was taken note of."""
        self._began, self._asked, self._asked_at = time.time(), "", 0.0
        self._said, self._traceback = b"", False
        tether = functools.partial(postgres.die_with, os.getpid())
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._environment, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True, preexec_fn=tether,  # noqa: PLW1509 - it calls the kernel alone
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, args=(self._process,), name=self.name, daemon=True)
        self._reader.start()
        return self._process

    def kill(self) -> bool:
        """Kill -9 it; false: it does not run."""
        return self._ask("killed", signal.SIGKILL)

    def stop(self) -> bool:
        """Ask it to end; false: it does not run."""
        return self._ask("stopped", signal.SIGTERM)

    def end(self) -> End | None:
        """How the process ended, if it has; asked again, nothing."""
        process = self._process
        if process is None or process.poll() is None:
            return None
        self._reader.join(READING_SECONDS)
        said = self._said.decode(errors="replace").strip()
        code = process.returncode
        end = End(self.name, self._began, time.time(), self._asked, self._asked_at, code, said, self._traceback)
        self._ends.append(end)
        self._process = None
        return end

    def wait(self, seconds: float) -> End | None:
        """Wait so long for its end; None: it runs still, or did not run."""
        if self._process:
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                return None
        return self.end()

    def _ask(self, what: str, number: signal.Signals) -> bool:
        process = self._process
        if process is None or process.poll() is not None:
            return False
        self._asked, self._asked_at = what, time.time()
        process.send_signal(number)
        return True

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        """Copy what it says to the log."""
        with self._log.open("ab") as log, process.stderr as said:  # type: ignore[union-attr]
            log.write(f"--- {time.strftime('%H:%M:%S')} process {process.pid}\n".encode())
            for line in said:
                log.write(line)
                log.flush()
                self._traceback |= TRACEBACK in line
                self._said = line if line.strip() else self._said
