"""A receiver in this process, and a listener in the role segment_listener that posts the demo's toggles to it."""

import contextlib
import functools
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from demo import postgres
from demo.errors import NotDeliveredError, StepFailedError
from demo.webhook import Receiver

ROOT = Path(__file__).resolve().parents[1]
LOG = postgres.STATE / "listener.log"
LISTENER = (sys.executable, "-m", "listener")
SLOT = "segment_demo"
PORTS = range(9000, 9100)
LONGEST_WAIT = 120.0
"""Seconds in which everything has to be delivered once no more toggles come."""


class Delivery:
    """From the tables to the receiver; with `keep` the receiver keeps every document."""

    def __init__(self, keep: bool) -> None:
        self.receiver = open_receiver(keep)

    @contextlib.contextmanager
    def running(self, environment: Mapping[str, str]) -> Iterator[None]:
        """Deliver for as long as the block runs; a call in flight is answered before this returns."""
        self._environment = os.environ | environment | {"PGUSER": "segment_listener"}
        self._listener = self._start()
        try:
            yield
        finally:
            self._listener.terminate()
            ended = self._listener.wait()
            self.receiver.stop()
        if ended:
            raise self.failed()
        subprocess.run([*LISTENER, "drop", "--slot", SLOT], cwd=ROOT, env=self._environment, capture_output=True, check=False)

    def ended(self) -> bool:
        """Whether the listener has ended, which it never should by itself."""
        return self._listener.poll() is not None

    def failed(self) -> StepFailedError:
        """The error that tells what the listener said last."""
        return StepFailedError(step="delivering", said=LOG.read_text(errors="replace").strip().rpartition("\n")[2])

    def wait_for(self, documents: int) -> None:
        """Wait until so many were delivered."""
        ends_at = time.monotonic() + LONGEST_WAIT
        while (delivered := self.receiver.counters.documents) < documents:
            if self.ended():
                raise self.failed()
            if time.monotonic() > ends_at:
                raise NotDeliveredError(delivered=delivered, documents=documents)
            time.sleep(0.05)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [*LISTENER, "run", "--url", self.receiver.url, "--slot", SLOT, "--from", "start"]
        tether = functools.partial(postgres.die_with, os.getpid())
        options: dict[str, Any] = {"start_new_session": True, "preexec_fn": tether}
        with LOG.open("wb") as log:
            return subprocess.Popen(command, cwd=ROOT, env=self._environment, stderr=log, **options)


def open_receiver(keep: bool) -> Receiver:
    """A receiver on the first free port from 9000 on."""
    for port in PORTS:
        receiver = Receiver(port, keep=keep)
        with contextlib.suppress(OSError):
            receiver.start()
            return receiver
    receiver = Receiver(keep=keep)
    receiver.start()
    return receiver
