"""Figures: medians with their spread, beside the goals. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Figure:
    """What was measured, once or in several rounds, and between which bounds it should be; without bounds it only informs."""

    name: str
    unit: str
    rounds: Sequence[float]
    least: float | None = None
    most: float | None = None

    @property
    def median(self) -> float:
        """The figure."""
        return median(self.rounds)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if self.least is None and self.most is None:
            return None
        return (self.least is None or self.median >= self.least) and (self.most is None or self.median <= self.most)

    @property
    def goal(self) -> str:
        """The bounds, for people."""
        if self.least is not None and self.most is not None:
            return f"{shown(self.least)} to {shown(self.most)}"
        if self.least is not None:
            return f"≥ {shown(self.least)}"
        return "" if self.most is None else f"≤ {shown(self.most)}"

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        return vars(self) | {"median": self.median, "met": self.met}


def shown(number: float) -> str:
    """A number with about three digits."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"  # noqa: PLR2004


def table(figures: Iterable[Figure]) -> str:
    """One line a figure: name, median, its range over the rounds, goal, and whether that is met."""
    lines = [("", "figure", "range", "goal", "")]
    for figure in figures:
        spread = f"{shown(min(figure.rounds))} to {shown(max(figure.rounds))}" if len(figure.rounds) > 1 else ""
        met = {None: "", True: "met", False: "MISSED"}[figure.met]
        lines.append((f"{figure.name}, {figure.unit}", shown(figure.median), spread, figure.goal, met))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(row(line, widths) for line in lines)


def row(cells: Sequence[str], widths: Sequence[int]) -> str:
    """A line of the table; only the first column and the last are words."""
    name, *numbers, met = (
        cell.ljust(width) if place in (0, len(cells) - 1) else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([name, *numbers, met]).rstrip()
