"""Judges lines without a database: how many are valid events, and what is wrong with the others.

The same lines and rules as `loader stream`, but for what only a database knows: the events it has already, its horizon, and
what it refuses. Memory is bounded: of each reason a few examples are kept.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from loader.event import Limits, Reject
from loader.ndjson import Block, Lines, decode
from loader.source import Source
from loader.stream import later

EXAMPLES = 3
POLL_SECONDS = 0.5


class Example(NamedTuple):
    """A line that is no valid event."""

    source: str
    position: int
    reason: str

    def __str__(self) -> str:
        return f"{self.source}:{self.position}  {self.reason}"


@dataclass
class Reason:
    """How many lines have this code, and the first of them."""

    count: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass
class Report:
    """What was found so far."""

    valid: int = 0
    invalid: int = 0
    reasons: dict[str, Reason] = field(default_factory=dict)
    """By code, in the order in which they were met."""

    def lines(self) -> Iterator[str]:
        """The report for people."""
        yield f"{self.valid:,} of {self.valid + self.invalid:,} lines are valid"
        for code, reason in self.reasons.items():
            yield f"{code}: {reason.count:,}"
            yield from (f"  {example}" for example in reason.examples)

    def json(self) -> dict[str, object]:
        """The report for programs."""
        reasons = {
            code: {"count": reason.count, "examples": [example._asdict() for example in reason.examples]}
            for code, reason in self.reasons.items()
        }
        return {"lines": self.valid + self.invalid, "valid": self.valid, "invalid": self.invalid, "reasons": reasons}

    def take(self, source: str, reject: Reject) -> None:
        """Count a line that is no valid event."""
        self.invalid += 1
        reason = self.reasons.setdefault(reject.code, Reason())
        reason.count += 1
        if len(reason.examples) < EXAMPLES:
            reason.examples.append(Example(source, reject.position, reject.reason))


def validate(source: Source, report: Report, max_future: timedelta, max_line: int) -> None:
    """Judge every line of the source by this machine's clock, and add what was found to the report."""
    if source.seekable:
        source.end = source.size
    for piece in pieces(source, Lines(max_line)):
        if isinstance(piece, Reject):
            report.take(source.name, piece)
            continue
        rows, rejects = decode(piece, Limits(later(datetime.now(UTC), max_future), None))
        report.valid += len(rows)
        for reject in rejects:
            report.take(source.name, reject)


def pieces(source: Source, lines: Lines) -> Iterable[Block | Reject]:
    """The source cut into whole lines."""
    for chunk in source.chunks(POLL_SECONDS):
        yield from lines.feed(chunk)
    yield from lines.finish()
