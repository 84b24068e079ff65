"""The receiver's side: how it behaves, and a journal of what it accepted, which goes to files and never into memory.

    calls.csv      number (in order of arrival), received, answered (Unix times), broken, replay
    documents.csv  number of the call, place in it, the document's fields, those of its previous event
    refusals.csv   when (Unix time) which document was refused: event, timestamp and user

`broken` says why whoever called could not know that the call was accepted: its answer was reset, or came too late.
"""

import base64
import csv
import hashlib
import hmac
import threading
import time
import zlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final, TextIO

import msgspec

from demo.calls import Answer, Call, plain
from demo.webhook import Receiver

TIMEOUT: Final = 2.0
"""Seconds that the listener waits for an answer."""

MOST_SECONDS: Final = 0.75 * TIMEOUT
"""After which an answer may be too late, though none was meant to be: the machine is busy."""

TOO_LATE: Final = "answer too late"
TOLERANCE: Final = 300.0
"""Seconds that a call's timestamp may differ from the receiver's clock."""

JUMP: Final = 3600.0
SOON: Final = {"retry-after": "1"}
REFUSED: Final = 8
"""One user in so many is refused while documents are."""

JOURNAL: Final = ("calls", "documents", "refusals")
GARBAGE: Final = bytes(range(256))


class Segment(msgspec.Struct):
    """A document's segment."""

    vendor: int
    name: str


class Event(msgspec.Struct):
    """An event's fields in a document."""

    event: str
    timestamp: str
    user: str
    segment: Segment
    value: str | None = None
    remove: bool = False

    @property
    def identity(self) -> tuple[str, str, str]:
        """As in refusals.csv."""
        return self.event, self.timestamp, self.user

    def row(self) -> list[object]:
        """As in documents.csv."""
        return [self.event, self.timestamp, self.user, self.segment.vendor, self.segment.name, self.value, self.remove]


class Document(Event):
    """A toggle."""

    previous: Event | None = None


DOCUMENTS: Final = msgspec.json.Decoder(list[Document])


@dataclass
class Taken:
    """A call that waits for its answer."""

    number: int
    documents: list[Document]
    broken: str


class Behaviour:
    """Answers calls as `mode` says, a kind of fault or nothing, and takes note of what was accepted in files of the folder."""

    def __init__(self, folder: Path, secret: bytes, seed: int) -> None:
        self.mode = ""
        self.hit = False  # whether a call was answered as the mode says
        self.counts: Counter[str] = Counter()
        self.strange: Counter[str] = Counter()
        self._secret = secret
        self._random = Random(f"{seed} receiver")  # noqa: S311
        self._clock_ahead = 0.0
        self._lock = threading.Lock()
        self._taken: dict[int, Taken] = {}
        self._files: list[TextIO] = [(folder / f"{name}.csv").open("w") for name in JOURNAL]
        self._calls, self._documents, self._refusals = map(csv.writer, self._files)

    def receiver(self) -> Receiver:
        """A receiver that behaves so."""
        return Receiver(answer=self.answer, on_answer=self.answering)

    def become(self, mode: str) -> None:
        """Behave so from now on."""
        with self._lock:
            self._clock_ahead = self._random.choice((-JUMP, JUMP)) if mode == "receiver's clock jumped" else 0.0
            self.mode, self.hit = mode, False

    def close(self) -> None:
        """Have all of the journal in its files."""
        with self._lock:
            for file in self._files:
                file.close()

    def answer(self, call: Call) -> Answer:
        """Decide on a call that has just come."""
        documents = toggles(call)
        with self._lock:
            self.counts["calls"] += 1
            special = self._refusal(call) or self._chosen(documents)
            self.hit |= special is not None
            answer = special or Answer(delay=self._random.uniform(0, 0.05))
            if answer.status // 100 == 2 and not answer.hang:  # noqa: PLR2004
                broken = "answer reset" if answer.reset else TOO_LATE if answer.delay > TIMEOUT else ""
                self._taken[id(call)] = Taken(self.counts["calls"], documents, broken)
        return answer

    def answering(self, call: Call) -> None:
        """Take note of a call that is about to be answered."""
        with self._lock:
            taken = self._taken.pop(id(call), None)
            if taken is None or not call.accepted:  # the former's address may have been another's, which was cut off
                return
            self.counts["accepted"] += 1
            self.counts["documents"] += len(taken.documents)
            replay, now = "webhook-replay" in call.headers, time.time()
            broken = taken.broken or (TOO_LATE if now - call.received_at > MOST_SECONDS else "")
            self._calls.writerow([taken.number, call.received_at, now, broken, replay])
            self._documents.writerows(rows(taken))

    def _refusal(self, call: Call) -> Answer | None:
        """Refuse what is not signed, or signed at another time; the latter is strange while the clock is right."""
        why = fault_of(call, self._secret, time.time() + self._clock_ahead)
        if why and not (why == "too old or too new" and self._clock_ahead):
            self.strange[why] += 1
        return Answer(401, SOON, why.encode()) if why else None

    def _chosen(self, documents: list[Document]) -> Answer | None:  # noqa: PLR0911 - one for each mode
        """What the mode makes of a signed call, if anything."""
        random = self._random
        if not documents:
            self.strange["no array of toggles"] += 1
            return Answer(400, SOON)
        match self.mode:
            case "receiver slow":
                return Answer(delay=random.uniform(0.2, 0.5 * TIMEOUT))
            case "receiver hanging":
                return random.choice((Answer(hang=True), Answer(delay=TIMEOUT + 0.5)))
            case "receiver failing" if random.random() < 0.5:  # noqa: PLR2004
                return Answer(random.choice((408, 425, 500, 502, 503, 504)), SOON, GARBAGE)
            case "answers reset" if random.random() < 0.5:  # noqa: PLR2004
                return Answer(body=GARBAGE * 4, reset=True)
            case "receiver busy (429)":
                return Answer(429, {"retry-after": str(random.randint(1, 2))})
            case "receiver redirecting":
                return Answer(random.choice((301, 302, 307, 404)), SOON | {"location": "http://127.0.0.1:9/"})
            case "documents refused" if refused := list(filter(is_refused, documents)):
                self._refusals.writerows([time.time(), *document.identity] for document in refused)
                return Answer(random.choice((400, 422)), SOON, GARBAGE)
        return None


def toggles(call: Call) -> list[Document]:
    """A call's documents; none where it is not what the contract says."""
    with suppress(msgspec.MsgspecError):
        return DOCUMENTS.decode(plain(call.headers, call.body))
    return []


def is_refused(document: Document) -> bool:
    """Whether its user is one of those who are refused."""
    return zlib.crc32(document.user.encode()) % REFUSED == 0


def fault_of(call: Call, secret: bytes, now: float) -> str:
    """What is wrong with a call's signature by Standard Webhooks, or nothing."""
    timestamp = call.headers.get("webhook-timestamp", "")
    signed = b"%b.%b.%b" % (call.id.encode(), timestamp.encode(), plain(call.headers, call.body))
    wanted = hmac.digest(secret, signed, hashlib.sha256)
    if not any(hmac.compare_digest(wanted, found) for found in signatures(call.headers.get("webhook-signature", ""))):
        return "not signed by the secret"
    return "too old or too new" if abs(now - float(timestamp)) > TOLERANCE else ""


def signatures(header: str) -> list[bytes]:
    """Those in the header."""
    return [base64.b64decode(part.removeprefix("v1,")) for part in header.split() if part.startswith("v1,")]


def rows(taken: Taken) -> list[list[Any]]:
    """The rows of documents.csv."""
    return [
        [taken.number, place, *document.row(), *(document.previous.row() if document.previous else [None] * 7)]
        for place, document in enumerate(taken.documents)
    ]
