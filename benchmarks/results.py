"""What a run has found, with its goals, as it is kept: in JSON, a file a run."""

import re
from operator import truediv
from pathlib import Path

import msgspec

from benchmarks.process import ROOT

RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs"

ENOUGH_ROUNDS = 3
"""With fewer a run is a trial: its figures mean nothing."""


class Goal(msgspec.Struct, frozen=True):
    """The bounds of a median; with `of`, of that of the ratios to another measurement of the comparison."""

    unit: str
    least: float | None = None
    most: float | None = None
    of: str = ""

    def is_met(self, found: float) -> bool:
        """Whether a median is within the bounds."""
        return (self.least is None or found >= self.least) and (self.most is None or found <= self.most)


class Found(msgspec.Struct, frozen=True):
    """One measurement's numbers: by their unit, one a round. `at` is where it stands among the others of its comparison."""

    name: str
    at: dict[str, float]
    readings: dict[str, list[float]]
    goals: list[Goal]


class Compared(msgspec.Struct, frozen=True):
    """What one comparison has found."""

    name: str
    question: str
    reference: str
    found: list[Found]

    def named(self, name: str) -> Found:
        """The measurement of that name."""
        return next(found for found in self.found if found.name == name)

    def ratios(self, found: Found, reference: str, unit: str) -> list[float]:
        """A measurement's numbers by those that another one had in the same round."""
        return list(map(truediv, found.readings[unit], self.named(reference).readings[unit]))


class Report(msgspec.Struct, frozen=True):
    """A whole run."""

    measured_at: str
    machine: dict[str, str]
    server: dict[str, str]
    sizes: dict[str, int | list[int]]
    rounds: int
    comparisons: list[Compared]

    @property
    def trial(self) -> bool:
        """Whether it only shows that everything runs."""
        return self.rounds < ENOUGH_ROUNDS

    @property
    def file(self) -> str:
        """The name of its file: date, processor, cores."""
        processor = re.sub(r"[^a-z0-9]+", "-", self.machine["processor"].lower()).strip("-")
        return f"{self.measured_at[:10]}-{processor}-{self.machine['cores']}.json"


def write(report: Report, folder: Path) -> Path:
    """Write a report to its file; return that."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / report.file
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    return file


def read(file: Path) -> Report:
    """The report in a file."""
    return msgspec.json.decode(file.read_bytes(), type=Report)


def newest(folder: Path) -> Path:
    """The file of the latest report in a folder."""
    return max(folder.glob("*.json"), key=lambda file: read(file).measured_at)
