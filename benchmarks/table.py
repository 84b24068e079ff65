"""A report as one table in Markdown, for the page and for the terminal. Pure."""

from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks.results import Compared, Found, Goal, Report

Row = tuple[str, str, str, str, str]
"""Measurement, median, least and greatest, unit, ratio."""


def table(report: Report) -> str:
    """Everything as one table in Markdown: a row a number, under the question that it answers."""
    rows = [("", "median", "least to greatest", "", "ratio"), ("---", "--:", "--:", "---", "--:")]
    for compared in report.comparisons:
        to = f"ratios are to {compared.reference}" if compared.reference else ""
        rows += [(f"**{compared.question}**", "", "", to, "")]
        rows += [row for found in compared.found for row in rows_of(compared, found)]
    return aligned(rows)


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as a table in Markdown, whose columns are aligned in the terminal, too."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows)


def goals(report: Report) -> str:
    """Each goal, a line, and whether it was met."""
    return "\n".join(
        f"- {found.name}: {said(compared, found, goal)}"
        for compared in report.comparisons
        for found in compared.found
        for goal in found.goals
    )


def rows_of(compared: Compared, found: Found) -> Iterator[Row]:
    """A measurement's rows; its name, and the ratio, are on the first."""
    for number, (unit, rounds) in enumerate(found.readings.items()):
        first = number == 0
        ratio = shown(median(compared.ratios(found, compared.reference, unit))) if compared.reference and first else ""
        yield (found.name if first else "", *spread(rounds), unit, ratio)


def said(compared: Compared, found: Found, goal: Goal) -> str:
    """A goal, and whether it is met."""
    numbers = compared.ratios(found, goal.of, goal.unit) if goal.of else found.readings[goal.unit]
    reached = median(numbers)
    of = f" of {goal.of}" if goal.of else ""
    return f"{goal.unit} {bounds(goal)}{of}: {shown(reached)}, {'met' if goal.is_met(reached) else '**missed**'}"


def shown(number: float) -> str:
    """A number with about three digits."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"  # noqa: PLR2004


def spread(rounds: Sequence[float]) -> tuple[str, str]:
    """The median, and from where to where the rounds went."""
    return shown(median(rounds)), f"{shown(min(rounds))} to {shown(max(rounds))}"


def bounds(goal: Goal) -> str:
    """What a median is to be within."""
    found = {"≥": goal.least, "≤": goal.most}
    return " and ".join(f"{sign} {shown(bound)}" for sign, bound in found.items() if bound is not None)
