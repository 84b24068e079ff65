"""A program of the project's that runs in a process of its own, in a role of its own, and what it said last."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo import postgres
from demo.errors import StepFailedError

ROOT = Path(__file__).resolve().parents[1]
LAST_BYTES = 4096
"""How much of a log's end is looked at."""


class Program:
    """`python -m <name> <arguments>` as `role`; what it writes to stderr goes to .demo/<name>.log.

    It ends with the thread that started it, by kill -9 too.
    """

    def __init__(self, step: str, role: str, environment: Mapping[str, str], name: str, *arguments: object) -> None:
        self.step = step
        self.log = postgres.STATE / f"{name}.log"
        self.wanted = False
        self.started_at = float("-inf")
        self.name = name
        self._arguments = arguments
        self._environment = os.environ | environment | {"PGUSER": role}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, stdin: int | None = None) -> subprocess.Popen[bytes]:
        """Start it."""
        self.wanted, self.started_at = True, time.monotonic()
        options: dict[str, Any] = {"preexec_fn": functools.partial(postgres.die_with, os.getpid()), "stdin": stdin}
        with self.log.open("wb") as log:
            command = self._command(self._arguments)
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True, **options
            )
        return self._process

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run it with other arguments to its end."""
        command = self._command(arguments)
        return subprocess.run(command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False)

    @property
    def down(self) -> bool:
        """Whether it is to run and does not."""
        return self.wanted and (self._process is None or self._process.poll() is not None)

    def stop(self) -> None:
        """Have it end once it is done with what is in flight; raise what it said if it ended otherwise."""
        if self._process:
            self._process.terminate()
        self.finish()

    def finish(self) -> None:
        """Wait until it ends, and raise what it said if that was no good end; who killed it knows."""
        self.wanted = False
        process, self._process = self._process, None
        if process and process.wait() not in (0, -signal.SIGKILL):
            raise self.failed()

    def kill(self) -> None:
        """Kill -9 it, so that it is down."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def failed(self) -> StepFailedError:
        """The error that tells what it said last."""
        return StepFailedError(step=self.step, said=self.said())

    def said(self) -> str:
        """The last line of its log, or nothing."""
        with contextlib.suppress(FileNotFoundError), self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_BYTES))
            return log.read().decode(errors="replace").strip().rpartition("\n")[2]
        return ""

    def end(self) -> str:
        """How it has ended by itself, in a few words."""
        status = self._process.poll() if self._process else None
        return "was killed" if status and status < 0 else f"has ended ({self.said() or 'without a word'})"

    def _command(self, arguments: tuple[object, ...]) -> list[str]:
        return [sys.executable, "-m", self.name, *map(str, arguments)]
