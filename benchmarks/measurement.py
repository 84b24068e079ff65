"""What is measured and how: comparisons, each of several measurements that are made side by side, round by round, in one run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import Bench
from benchmarks.results import Compared, Found, Goal
from benchmarks.sizes import Sizes

Readings = Mapping[str, float]
"""What one measurement found: numbers by their units; the first one is that of which ratios are made."""


class Place(NamedTuple):
    """Where a comparison is made: the server, how much is measured, and a folder for files."""

    bench: Bench
    sizes: Sizes
    folder: Path


@dataclass(frozen=True)
class Measurement:
    """What is measured once a round: `function` does it from the beginning, and returns the same units each time."""

    name: str
    function: Callable[[], Readings]
    goals: Sequence[Goal] = ()
    at: Mapping[str, float] = field(default_factory=dict)
    """The numbers that it was made with, such as the size of a batch."""


@dataclass(frozen=True)
class Comparison:
    """Measurements that answer one question together; `prepare` makes what they need. Ratios are to the one named `reference`."""

    name: str
    question: str
    prepare: Callable[[Place], Sequence[Measurement]]
    reference: str = ""


def compare(comparison: Comparison, place: Place, told: Callable[[str], None]) -> Compared:
    """Measure in rounds that have every measurement once, every other round backwards, so that no drift favours any."""
    measurements = comparison.prepare(place)
    rounds: dict[str, list[Readings]] = {measurement.name: [] for measurement in measurements}
    for number in range(place.sizes.rounds):
        for measurement in measurements if number % 2 == 0 else reversed(measurements):
            rounds[measurement.name].append(measurement.function())
            told(f"{comparison.name}, round {number + 1}: {measurement.name}: {shown(rounds[measurement.name][-1])}")
    found = [Found(each.name, dict(each.at), by_unit(rounds[each.name]), list(each.goals)) for each in measurements]
    return Compared(comparison.name, comparison.question, comparison.reference, found)


def by_unit(rounds: Sequence[Readings]) -> dict[str, list[float]]:
    """The rounds' numbers of each unit."""
    return {unit: [readings[unit] for readings in rounds] for unit in rounds[0]}


def shown(readings: Readings) -> str:
    """Readings on one line."""
    return ", ".join(f"{number:,.6g} {unit}" for unit, number in readings.items())
