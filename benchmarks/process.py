"""Programs that are measured: what a finished one used, told by the kernel."""

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


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
