"""The page's plots, as SVG: the same results always make the same bytes."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from benchmarks.results import Compared, Found, Report

THROUGHPUT, LATENCY = "throughput.svg", "latency.svg"
PERCENTILES = ("p50", "p99", "p99.9")
STYLE: Any = {
    "svg.hashsalt": "pgsegments",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "axes.grid": True,
    "grid.alpha": 0.3,
}
NAMELESS: dict[str, Any] = {"Date": None, "Creator": None}
PLAIN = "{x:,.0f}"
WIDTH, HEIGHT = 9.6, 3.6


def complete(report: Report) -> bool:
    """Whether all is there that the plots show."""
    return {"batches", "memberships", "latency"} <= {compared.name for compared in report.comparisons}


def draw(report: Report, folder: Path) -> None:
    """Write the plots into a folder, if the report has what they show."""
    if complete(report):
        found = {compared.name: compared for compared in report.comparisons}
        with mpl.rc_context(STYLE):
            save(throughput(found["batches"], found["memberships"]), folder / THROUGHPUT)
            save(latency(found["latency"]), folder / LATENCY)


def save(figure: Figure, file: Path) -> None:
    """Write it, without anything that another day or version would change."""
    figure.savefig(file, metadata=NAMELESS)
    file.write_text("".join(f"{line.rstrip()}\n" for line in file.read_text().splitlines()))


def throughput(batches: Compared, memberships: Compared) -> Figure:
    """Events a second, by the size of batches and by the number of memberships."""
    figure = Figure((WIDTH, HEIGHT), layout="constrained")
    by_batch, by_size = figure.subplots(1, 2, sharey=True)
    for days in values(batches, "days of partitions"):
        of = [found for found in batches.found if found.at["days of partitions"] == days]
        line(by_batch, "events a batch", "events/s", of, f"{days:.0f} days of partitions")
    line(by_size, "memberships", "events/s", memberships.found, "")
    ticked(by_batch, "events a batch", batches)
    ticked(by_size, "memberships", memberships)
    by_batch.set_ylabel("events/s")
    by_batch.legend()
    by_batch.set_ylim(bottom=0)
    by_batch.yaxis.set_major_formatter(PLAIN)
    return figure


def latency(compared: Compared) -> Figure:
    """Percentiles by the rate, for each delay."""
    figure = Figure((WIDTH, HEIGHT), layout="constrained")
    delays = values(compared, "delay")
    for axes, delay in zip(figure.subplots(1, len(delays), sharey=True, squeeze=False)[0], delays, strict=True):
        of = [found for found in compared.found if found.at["delay"] == delay]
        for name in PERCENTILES:
            line(axes, "events/s", f"ms, {name}", of, name)
        ticked(axes, "events/s", compared)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(PLAIN)
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_title(f"receiver takes {delay:.0f} ms")
    figure.axes[0].set_ylabel("ms from the event's timestamp to the answer")
    figure.axes[0].legend()
    return figure


def line(axes: Any, across: str, unit: str, of: Sequence[Found], label: str) -> None:
    """A line of medians, with the least and the greatest as bars."""
    at = [found.at[across] for found in of]
    rounds = [found.readings[unit] for found in of]
    medians = list(map(median, rounds))
    below = [middle - min(each) for middle, each in zip(medians, rounds, strict=True)]
    above = [max(each) - middle for middle, each in zip(medians, rounds, strict=True)]
    axes.errorbar(at, medians, [below, above], marker="o", capsize=3, label=label)


def ticked(axes: Any, across: str, compared: Compared) -> None:
    """Say below the axes what all of it was made with."""
    at = values(compared, across)
    axes.set_xscale("log")
    axes.set_xticks(at, map(EngFormatter(), at), minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xlabel(across)


def values(compared: Compared, name: str) -> list[float]:
    """What a comparison was made with, in order."""
    return sorted({found.at[name] for found in compared.found})
