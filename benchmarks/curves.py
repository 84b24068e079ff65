"""A soak's picture: small multiples over its minutes, the warm-up shaded, each pruning a mark at the foot."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.flatness import MEASURES, THIRDS, Measure
from benchmarks.plots import STYLE, save
from benchmarks.soaking import Record

COLUMNS = 3
WIDTH, HEIGHT = 12.8, 2.5
"""Inches: of the picture, and of a row."""

SMALL: Any = {"font.size": 9, "axes.titlesize": 9, "legend.fontsize": 7.5, "legend.handlelength": 1, "legend.columnspacing": 1,
              "legend.frameon": False, "legend.loc": "upper left"}  # fmt: skip
ROOM = 1.4
"""How much higher than its lines a panel is, for their names."""

MINUTE = 60
MARK = 0.04
"""How high the mark of a pruning is, as a share of the axes."""


def draw(record: Record, file: Path) -> None:
    """Write the picture."""
    with mpl.rc_context(STYLE | SMALL):
        save(picture(record), file)


def picture(record: Record) -> Figure:
    """A panel for each kind of measure, and one that says what is what."""
    panels = [(name, list(measures)) for name, measures in groupby(MEASURES, lambda measure: measure.panel)]
    rows = -(-(len(panels) + 1) // COLUMNS)
    figure = Figure((WIDTH, HEIGHT * rows), layout="constrained")
    first, *others = list(figure.subplots(rows, COLUMNS).flat)
    explain(first, record)
    for axes, (name, measures) in zip(others, panels, strict=False):
        panel(axes, name, measures, record)
    for axes in others[len(panels) :]:
        axes.set_axis_off()
    return figure


def panel(axes: Any, name: str, measures: Sequence[Measure], record: Record) -> None:
    """One panel: a line a measure, from nought on."""
    minutes = [time / MINUTE for time in record.times]
    for measure in measures:
        values = [float("nan") if value is None else value for value in record.series[measure.name]]
        axes.plot(minutes, values, label=measure.name, linewidth=1.2)
    whole = record.seconds / MINUTE
    axes.axvspan(0, whole / THIRDS, color="black", alpha=0.06, linewidth=0)
    marks = [pruning.at / MINUTE for pruning in record.prunings]
    axes.vlines(marks, 0, MARK, transform=axes.get_xaxis_transform(), color="black", linewidth=0.6)
    axes.set_xlim(0, whole)
    axes.set_ylim(0, ROOM * max(axes.get_ylim()[1], 0.01))
    axes.set_title(name, loc="left")
    axes.legend(ncols=2)


def explain(axes: Any, record: Record) -> None:
    """What the picture shows, in words, where a panel would be."""
    axes.set_axis_off()
    axes.text(0, 0.95, legend(record), va="top", linespacing=1.6, transform=axes.transAxes)


def legend(record: Record) -> str:
    """The words."""
    return (
        f"A soak of {record.seconds / MINUTE:,.1f} minutes, {record.began[:10]}\n"
        f"{record.days} simulated days of {record.seconds / record.days:,.0f} s, {record.rate:,.0f} events/s\n\n"
        "across: minutes\n"
        "grey: the warm-up, which is not judged\n"
        "marks at the foot: lake prune"
    )
