"""A receiver in this process, and a listener in the role segment_listener that posts the demo's toggles to it."""

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from demo.errors import NotDeliveredError, PortError
from demo.program import Program
from demo.record import Record
from demo.webhook import Receiver

SLOT = "segment_demo"
PORTS = range(9000, 9100)
LONGEST_WAIT = 120.0
"""Seconds in which everything has to be delivered once no more toggles come."""


class Delivery:
    """From the tables to the receiver, which keeps every document, or puts them into the record for somebody to take."""

    def __init__(self, environment: Mapping[str, str], *, keep: bool, recorded: bool) -> None:
        self.record = Record()
        self.receiver = open_receiver(keep=keep, on_answer=self.record.add if recorded else None)
        run = ("run", "--url", self.receiver.url, "--slot", SLOT, "--from", "start", "--wait")
        self.listener = Program("delivering", "segment_listener", environment, "listener", *run)

    def clear(self) -> None:
        """Forget what was received."""
        self.receiver.clear()
        self.record.clear()

    def drop(self) -> None:
        """Remove the slot, once the listener has ended, so that the server keeps no log for it."""
        self.listener.run("drop", "--slot", SLOT)

    def wait_for(self, documents: int) -> None:
        """Wait until so many were delivered."""
        ends_at = time.monotonic() + LONGEST_WAIT
        while (delivered := self.receiver.counters.documents) < documents:
            if self.listener.down:
                raise self.listener.failed()
            if time.monotonic() > ends_at:
                raise NotDeliveredError(delivered=delivered, documents=documents)
            time.sleep(0.05)


def open_receiver(**options: Any) -> Receiver:
    """A receiver on the first free port from 9000 on."""
    for port in PORTS:
        receiver = Receiver(port, **options)
        with contextlib.suppress(PortError):
            receiver.start()
            return receiver
    receiver = Receiver(**options)
    receiver.start()
    return receiver
