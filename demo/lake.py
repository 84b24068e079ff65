"""An export in the role segment_lake that brings the demo's events to .demo/lake, and what it has brought there."""

import contextlib
import functools
import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from demo import postgres
from demo.errors import StepFailedError

ROOT = Path(__file__).resolve().parents[1]
DESTINATION = postgres.STATE / "lake"
LOG = postgres.STATE / "lake.log"
LAKE = (sys.executable, "-m", "lake")
EVERY = ("--every", "10s", "--linger", "0s")
COMMANDS = ("find .demo/lake -name '*.gz'", "zcat $(find .demo/lake -name '*.gz' | tail -1) | jq .")
"""How to look at it from the checkout's folder."""


def lines() -> Iterator[bytes]:
    """Every line of every file."""
    for file in DESTINATION.rglob("*.jsonl.gz"):
        with gzip.open(file) as found:
            yield from found


class Lake:
    """From the tables to files; those of an earlier demo are removed."""

    @contextlib.contextmanager
    def running(self, environment: Mapping[str, str]) -> Iterator[None]:
        """Export for as long as the block runs."""
        shutil.rmtree(DESTINATION, ignore_errors=True)
        self._environment = os.environ | environment | {"PGUSER": "segment_lake"}
        tether = functools.partial(postgres.die_with, os.getpid())
        with LOG.open("wb") as log:
            command = [*LAKE, "export", str(DESTINATION), *EVERY]
            options: dict[str, Any] = {"start_new_session": True, "preexec_fn": tether}
            self._export = subprocess.Popen(command, cwd=ROOT, env=self._environment, stderr=log, **options)
        try:
            yield
        finally:
            self._export.terminate()
            ended = self._export.wait()
        if ended:
            raise self.failed()

    def ended(self) -> bool:
        """Whether the export has ended, which it never should by itself."""
        return self._export.poll() is not None

    def failed(self) -> StepFailedError:
        """The error that tells what the export said last."""
        return StepFailedError(step="exporting", said=LOG.read_text(errors="replace").strip().rpartition("\n")[2])

    def finish(self) -> None:
        """Export what is not exported yet, once the other export has ended."""
        command = [*LAKE, "export", str(DESTINATION)]
        done = subprocess.run(command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StepFailedError(step="exporting", said=done.stderr.strip().rpartition("\n")[2])
