"""What the stand-in was sent: its latest calls, and the documents that it accepted since somebody last took them."""

import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from demo.calls import Call, plain

KEPT_CALLS: Final = 12
KEPT_LINES: Final = 20
"""Of each kept call."""

LONGEST_LINE: Final = 2000


class Identity(NamedTuple):
    """What makes an event that event, and its toggle that toggle."""

    event: str
    user: str
    timestamp: datetime


class Document(msgspec.Struct):
    """What is read of a document."""

    event: str
    user: str
    timestamp: datetime


class Arrival(NamedTuple):
    """A document that was accepted, and when (Unix time)."""

    identity: Identity
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


@dataclass
class Record:
    """Takes note of what the receiver answers, in whichever thread; documents that are none are counted as `unreadable`."""

    unreadable: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: deque[Answered] = deque(maxlen=KEPT_CALLS)
        self._arrivals: list[Arrival] = []

    def add(self, call: Call) -> None:
        """Take note of a call that is about to be answered."""
        now = time.time()
        answered = describe(call, now)
        with self._lock:
            self._calls.append(answered)
            if call.accepted:
                self._take_documents(call, now)

    def _take_documents(self, call: Call, now: float) -> None:
        try:
            documents = DOCUMENTS.decode(plain(call.headers, call.body))
        except msgspec.MsgspecError:
            self.unreadable += call.count
        else:
            self._arrivals += [Arrival(Identity(found.event, found.user, found.timestamp), now) for found in documents]

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


def describe(call: Call, now: float) -> Answered:
    """The call, with the beginning of what it brought."""
    lines = tuple(line[:LONGEST_LINE].decode(errors="replace") for line in call.lines()[:KEPT_LINES])
    after = 1000 * (now - call.received_at)
    return Answered(now, after, call.status or 0, call.id, call.count, call.size, lines)
