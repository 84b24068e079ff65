"""The charts, as ECharts wants them described, and their data out of what was polled. Pure.

Colours are not the only thing that tells lines apart: the second one is dashed. Text gets its colour from the page's style.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

Options = dict[str, Any]

COLOURS: Final = ["#2563eb", "#d97706"]
GRID: Final = {"left": 4, "right": 8, "top": 30, "bottom": 4, "containLabel": True}
FAINT: Final = {"lineStyle": {"color": "#88888844"}}


class Point(NamedTuple):
    """One tick: when (Unix time), rates a second, milliseconds; None is what nobody could tell."""

    at: float
    events: float | None = None
    toggles: float | None = None
    median: float | None = None
    p99: float | None = None
    delay: float = 0.0
    documents_per_call: float | None = None


def lines(first: str, second: str, *, axes: int) -> Options:
    """Two lines over time, on one axis or each on its own; where there is no figure they have a gap."""
    return {
        "animation": False,
        "color": COLOURS,
        "grid": GRID,
        "legend": {"top": 0, "itemWidth": 28},
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "time", "splitNumber": 3, "axisLabel": {"formatter": "{HH}:{mm}:{ss}", "hideOverlap": True}},
        "yAxis": [{"type": "value", "min": 0, "splitNumber": 4, "splitLine": FAINT} for _ in range(axes)],
        "series": [
            line(first, "solid", 0),
            line(second, "dashed", axes - 1),
        ],
    }


def line(name: str, kind: str, axis: int) -> Options:
    """One line."""
    style = {"type": kind, "width": 2}
    return {
        "type": "line",
        "name": name,
        "yAxisIndex": axis,
        "symbolSize": 3,  # so that a figure between two gaps is seen
        "lineStyle": style,
        "data": [],
    }


def scatter(x: str, most: int) -> Options:
    """Points, `x` from 0 to `most` or further: small ones and, on top, one large."""
    axis = {"type": "value", "min": 0, "splitLine": FAINT, "splitNumber": 4}
    return {
        "animation": False,
        "color": COLOURS,
        "grid": GRID | {"bottom": 26, "right": 18},
        "legend": {"top": 0, "left": "right", "itemGap": 6},
        "tooltip": {"trigger": "item"},
        "xAxis": axis | {"name": x, "nameLocation": "middle", "nameGap": 20, ":max": f"found => Math.max({most}, found.max)"},
        "yAxis": axis,
        "series": [
            {"type": "scatter", "name": "before", "symbolSize": 6, "itemStyle": {"opacity": 0.5}, "data": []},
            {"type": "scatter", "name": "now", "symbol": "diamond", "symbolSize": 14, "data": []},
        ],
    }


def throughput(points: Iterable[Point]) -> list[list[list[float | None]]]:
    """Events and toggles a second, over ms of Unix time."""
    found = list(points)
    return [over_time(found, "events"), over_time(found, "toggles")]


def latency(points: Iterable[Point]) -> list[list[list[float | None]]]:
    """Median and 99th percentile in ms, over ms of Unix time."""
    found = list(points)
    return [over_time(found, "median"), over_time(found, "p99")]


def rollup(points: Iterable[Point]) -> list[list[list[float | None]]]:
    """Documents a call over the receiver's delay in ms: all that there are, and the newest."""
    found = [[point.delay, rounded(point.documents_per_call)] for point in points if point.documents_per_call]
    return [found, found[-1:]]


def over_time(points: Iterable[Point], name: str) -> list[list[float | None]]:
    """One figure of each point; a gap where it has none."""
    return [[round(1000 * point.at), rounded(getattr(point, name))] for point in points]


def rounded(figure: float | None) -> float | None:
    """With one decimal, as more are only bytes."""
    return None if figure is None else round(figure, 1)
