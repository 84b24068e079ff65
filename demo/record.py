"""What the stand-in was sent: its latest calls, and the documents that it accepted since somebody last took them."""

import threading
import time
from collections import deque
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from demo.calls import Call, plain

KEPT_CALLS: Final = 12
KEPT_LINES: Final = 20
"""Of each kept call."""

LONGEST_LINE: Final = 2000


class Toggle(NamedTuple):
    """What identifies a toggle, and what it says."""

    event: str
    user: str
    timestamp: datetime
    vendor: int
    segment: str
    remove: bool


class Segment(msgspec.Struct):
    """A document's segment."""

    vendor: int
    name: str


class Document(msgspec.Struct):
    """What is read of a document."""

    event: str
    user: str
    timestamp: datetime
    segment: Segment
    remove: bool = False


class Arrival(NamedTuple):
    """A toggle that was accepted, and when (Unix time)."""

    toggle: Toggle
    at: float


class Answered(NamedTuple):
    """A call that was answered: when (Unix time), after how many ms, and the first of its documents as they came."""

    at: float
    after: float
    status: int
    id: str
    documents: int
    size: int
    lines: tuple[str, ...]


class Record:
    """Takes note of what the receiver answers, in whichever thread; what is no toggle, but posted by hand, is only shown."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._calls: deque[Answered] = deque(maxlen=KEPT_CALLS)
            self._arrivals: list[Arrival] = []

    def add(self, call: Call) -> None:
        """Take note of a call that is about to be answered."""
        now = time.time()
        answered = describe(call, now)
        arrivals = [Arrival(toggle, now) for toggle in toggles(call)] if call.accepted else []
        with self._lock:
            self._calls.append(answered)
            self._arrivals += arrivals

    @property
    def calls(self) -> list[Answered]:
        """The latest calls, the newest first."""
        with self._lock:
            return list(reversed(self._calls))

    def take(self) -> list[Arrival]:
        """The documents that came since this was last asked, which are forgotten here."""
        with self._lock:
            arrivals, self._arrivals = self._arrivals, []
            return arrivals


DOCUMENTS: Final = msgspec.json.Decoder(list[Document])


def toggles(call: Call) -> list[Toggle]:
    """What the call brought, nothing where one of its documents is no toggle."""
    try:
        found = DOCUMENTS.decode(plain(call.headers, call.body))
    except msgspec.MsgspecError:
        return []
    return [Toggle(one.event, one.user, one.timestamp, one.segment.vendor, one.segment.name, one.remove) for one in found]


def describe(call: Call, now: float) -> Answered:
    """The call, with the beginning of what it brought."""
    lines = tuple(line[:LONGEST_LINE].decode(errors="replace") for line in call.lines()[:KEPT_LINES])
    after = 1000 * (now - call.received_at)
    return Answered(now, after, call.status or 0, call.id, call.count, call.size, lines)
