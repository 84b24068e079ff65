"""What has to stay flat in a soak, by how much each may rise, and whether it did. Pure.

The first third of a run is the warm-up: caches, memberships and retention fill up. Of the second and the last third the medians
are compared, which noise, single peaks and sawteeth of several periods a third leave alone: a leak rises by half of what it takes
in these two thirds, and a step that stays rises by its height. The longer the run, the smaller the leak that is found.
"""

from collections.abc import Mapping, Sequence
from math import isnan
from statistics import median
from typing import NamedTuple

THIRDS = 3
ENOUGH = 5
"""How many values a third has to have."""

Series = Sequence[float | None]
"""A measure's values at the times of the samples; None where there was nothing to measure."""


class Measure(NamedTuple):
    """Something that has to stay flat: the last third's median may exceed the second's by a share of it and `more`."""

    name: str
    unit: str
    share: float
    more: float
    panel: str
    """Where it is drawn."""


class Level(NamedTuple):
    """What was found: the medians of the second and of the last third, and by how much it may have risen."""

    measure: Measure
    before: float
    after: float

    @property
    def allowed(self) -> float:
        """By how much it may rise."""
        return self.measure.share * self.before + self.measure.more

    @property
    def flat(self) -> bool:
        """Whether it has risen by no more than it may. What was not measured (not a number) is not flat."""
        return self.after - self.before <= self.allowed

    def sentence(self) -> str:
        """What is wrong, with its figures."""
        name, unit, *_ = self.measure
        if isnan(self.before + self.after):
            return f"Not known to be flat: {name}, of which too little was measured."
        return (
            f"Not flat: {name}, with {self.before:,.2f} {unit} after the warm-up and {self.after:,.2f} in the last third, "
            f"{self.after - self.before:,.2f} more where {self.allowed:,.2f} are allowed."
        )


PROCESSES, BACKENDS, SERVER = "processes, MB", "their backends' own memory, MB", "server, all processes, MB"
DAYS, ROWS, KEYS = "tables pruned by the day, MB", "other tables, MB", "memberships, bytes a row"
LOG, LAG, COUNTS = "log, MB", "lag, s", "days and connections"
PRUNING, TEMPORARY = "lake prune, s", "temporary files, MB/s"

MEASURES = (
    *(Measure(name, "MB", 0.05, 4, PROCESSES) for name in ("loader", "listener", "lake export")),
    *(Measure(f"{name}'s backends", "MB", 0.05, 4, BACKENDS) for name in ("loader", "listener", "lake export")),
    Measure("server", "MB", 0.05, 8, SERVER),
    *(Measure(name, "MB", 0.1, 2, DAYS) for name in ("events", "outcomes")),
    *(Measure(name, "MB", 0.1, 1, ROWS) for name in ("batches", "sources and rejects", "cursors", "catalog")),
    *(Measure(name, "bytes a row", 0.1, 8, KEYS) for name in ("memberships", "primary key", "index of members")),
    *(Measure(name, "MB", 0.5, 16, LOG) for name in ("log kept for slots", "log")),
    *(Measure(name, "s", 0.5, 0.5, LAG) for name in ("loader's lag", "toggles' lag", "lake's lag")),
    *(Measure(name, "days", 0, 1, COUNTS) for name in ("days of events", "days of outcomes")),
    Measure("connections", "sessions", 0, 2, COUNTS),
    Measure("pruning", "s", 0.5, 1, PRUNING),
    Measure("temporary files", "MB/s", 0.5, 1, TEMPORARY),
)  # fmt: skip


def levels(series: Mapping[str, Series]) -> list[Level]:
    """Where each measure stood, in the measures' order."""
    return [level(measure, series[measure.name]) for measure in MEASURES]


def level(measure: Measure, values: Series) -> Level:
    """Where one measure stood in the second third and in the last; not a number where too little was measured."""
    third = len(values) / THIRDS
    second, last = values[round(third) : round(2 * third)], values[round(2 * third) :]
    return Level(measure, middle(second), middle(last))


def middle(values: Series) -> float:
    """The median of what was measured; not a number where that is too little."""
    found = [value for value in values if value is not None]
    return median(found) if len(found) >= ENOUGH else float("nan")
