"""Many ordered files as one, with bounded memory and few of them open, however many there are.

A file is opened when the merged stream has come to its first event. When too many are open at once, what is left of them is
merged into a run on the local disk, which is then one. Runs are merged into one only when they become too many themselves.

Nothing here reads a clock or knows a driver; files and runs are whatever `reopen` and `spill` make of them.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

Head = tuple[Any, int, Iterator[Any]]
"""The next item of a file or of a run, its number (negative: a run), and what follows."""

Spill = Callable[[Iterator[Any]], Iterator[Any]]
"""Writes items as a run; the run is read as it is iterated over."""


class Waiting(NamedTuple):
    """A file that is to be opened when the stream has come to its first item."""

    first: Any
    open: Callable[[], Iterator[Any]]


def merged(files: Iterable[Waiting], most: int, spill: Spill) -> Iterator[Any]:
    """All items in order. `files` come in order of `first`; no more than `most` files and runs are open at once."""
    heads: list[Head] = []
    for number, waiting in enumerate(files, 1):
        while heads and heads[0][0] < waiting.first:
            yield _next(heads)
        if len(heads) >= most:
            heads = _fewer(heads, most, -number, spill)
        _push(heads, number, waiting.open())
    yield from _drained(heads)


def _fewer(heads: list[Head], most: int, number: int, spill: Spill) -> list[Head]:
    """The heads with the files merged into one run, and the runs too when they are more than half of what may be open."""
    runs = [head for head in heads if head[1] < 0]
    if len(runs) > most // 2:
        runs = []
    spilled = [head for head in heads if head[1] > 0 or not runs]
    heapq.heapify(spilled)
    heapq.heapify(runs)
    _push(runs, number, spill(_drained(spilled)))
    return runs


def _drained(heads: list[Head]) -> Iterator[Any]:
    while heads:
        yield _next(heads)


def _next(heads: list[Head]) -> Any:
    item, number, rest = heads[0]
    following = next(rest, None)
    if following is None:
        heapq.heappop(heads)
    else:
        heapq.heapreplace(heads, (following, number, rest))
    return item


def _push(heads: list[Head], number: int, items: Iterator[Any]) -> None:
    first = next(items, None)
    if first is not None:
        heapq.heappush(heads, (first, number, items))
