"""What a receiver is sent and answers, how it is set and what it counts. No sockets here.

A call's body is a JSON array with one document a line. Counting its documents means counting lines; nothing is parsed unless
`documents` is asked for.
"""

import gzip
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from math import isfinite
from typing import Any, Final

OPENING: Final = re.compile(rb"\s*\[?\s*")
CLOSING: Final = re.compile(rb"\s*\]?\s*\Z")
CLOSING_BYTES: Final = 16
"""Where the end of the array is looked for, so that no copy is made of what can be megabytes."""

LONGEST_DELAY: Final = 3_600_000
BODILESS: Final = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


@dataclass(slots=True)
class Call:
    """One POST: when it came (Unix time), its headers by lower-case names, and the body as it came off the wire.

    `size` is the body's bytes, `count` its documents. `status` is what it was answered, None as long as it was not.
    """

    received_at: float
    path: str
    headers: Mapping[str, str]
    body: bytes
    size: int
    count: int
    status: int | None = None

    @classmethod
    def of(cls, received_at: float, path: str, headers: Mapping[str, str], body: bytes) -> "Call":
        """A call that was just read; raises what gzip and zlib do when the body is no gzip and should be."""
        return cls(received_at, path, headers, body, len(body), count(plain(headers, body)))

    @property
    def id(self) -> str:
        """The webhook-id, or nothing."""
        return self.headers.get("webhook-id", "")

    @property
    def accepted(self) -> bool:
        """Whether it was answered with success."""
        return self.status is not None and self.status // 100 == 2  # noqa: PLR2004 - any 2xx

    def documents(self) -> list[Any]:
        """The documents, parsed."""
        found: list[Any] = json.loads(plain(self.headers, self.body))
        return found

    def lines(self) -> list[bytes]:
        """The documents as they came, without what makes them an array."""
        body = plain(self.headers, self.body)
        start, end = extent(body)
        return [line.strip().removesuffix(b",") for line in body[start:end].splitlines()]

    def head(self) -> "Call":
        """The call without its body."""
        return replace(self, body=b"")


def plain(headers: Mapping[str, str], body: bytes) -> bytes:
    """The body without its compression."""
    return gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body


def extent(body: bytes) -> tuple[int, int]:
    """Where the array's documents begin and end."""
    start = OPENING.match(body)
    tail = body[-CLOSING_BYTES:]
    closing = CLOSING.search(tail)
    return start.end() if start else 0, len(body) - len(tail) + (closing.start() if closing else len(tail))


def count(body: bytes) -> int:
    """How many documents a body has, one a line."""
    start, end = extent(body)
    return body.count(b"\n", start, end) + 1 if start < end else 0


@dataclass(frozen=True)
class Answer:
    """What to answer: after `delay` seconds, with `reset` only the first half and then a reset, with `hang` never."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    hang: bool = False
    reset: bool = False

    @property
    def closes(self) -> bool:
        """Whether the connection ends with it."""
        return self.headers.get("connection") == "close"

    def __bytes__(self) -> bytes:
        """As it goes over the wire."""
        length = {} if self.status in BODILESS else {"content-length": str(len(self.body))}
        lines = [f"HTTP/1.1 {self.status} {reason(self.status)}", *(f"{name}: {value}" for name, value in self._all(length))]
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1") + self.body

    def _all(self, more: Mapping[str, str]) -> list[tuple[str, str]]:
        return [*more.items(), *self.headers.items()]


def reason(status: int) -> str:
    """The phrase after a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


@dataclass
class Counters:
    """Calls in all and those accepted, the documents of those accepted, and the bytes of the largest body."""

    calls: int = 0
    accepted: int = 0
    documents: int = 0
    largest: int = 0

    def copy(self) -> "Counters":
        """A copy that stays as it is."""
        return replace(self)


@dataclass
class Settings:
    """How to answer: after `delay` ms, a share of calls with 503, the others with `status`; with `hang` none."""

    delay: float = 0
    fail_rate: float = 0
    status: int = 200
    hang: bool = False

    def change(self, wanted: bytes) -> None:
        """Change those that a JSON object names, all or none; raises ValueError with a sentence."""
        try:
            found = json.loads(wanted)
        except ValueError:
            raise ValueError("The settings must be JSON.") from None
        if not isinstance(found, dict):
            raise ValueError("The settings must be a JSON object.")  # noqa: TRY004 - one kind for all that is refused
        for name, value in found.items():
            check(name, value)
        vars(self).update(found)


def check(name: str, value: object) -> None:
    """Raise a sentence unless it is a setting and this a value for it."""
    if name not in RULES:
        raise ValueError(f"There is no setting {name!r}: there are {', '.join(RULES)}.")
    holds, wanted = RULES[name]
    if not holds(value):
        raise ValueError(f"The setting {name} must be {wanted}.")


def is_number(value: object, most: float) -> bool:
    """Whether it is a number from 0 to `most`; in Python a truth value would be one."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and 0 <= value <= most


def is_status(value: object) -> bool:
    """Whether it is a status that ends a call."""
    return isinstance(value, int) and not isinstance(value, bool) and 200 <= value <= 599  # noqa: PLR2004


RULES: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    "delay": (lambda value: is_number(value, LONGEST_DELAY), f"milliseconds, from 0 to {LONGEST_DELAY:,}"),
    "fail_rate": (lambda value: is_number(value, 1), "a share, from 0 to 1"),
    "status": (is_status, "a status, from 200 to 599"),
    "hang": (lambda value: isinstance(value, bool), "true or false"),
}
