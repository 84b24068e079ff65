"""Merging: all items in order, with few files open, however many there are."""

from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.merge import Waiting, merged


class Open:
    """Counts how many iterators are open."""

    def __init__(self) -> None:
        self.now = self.most = self.spilled = 0

    def read(self, items: list[int]) -> Iterator[int]:
        """The items; open from the first one on until there is no more."""
        self.now += 1
        self.most = max(self.most, self.now)
        yield from items
        self.now -= 1

    def spill(self, items: Iterator[int]) -> Iterator[int]:
        """A run in memory."""
        run = list(items)
        self.spilled += len(run)
        return self.read(run)


def merge(files: list[list[int]], most: int) -> tuple[list[int], Open]:
    """Merge lists."""
    state = Open()
    waiting = [Waiting(file[0], partial(state.read, file)) for file in sorted(filter(None, files))]
    return list(merged(waiting, most, state.spill)), state


@given(st.lists(st.lists(st.integers(), max_size=9).map(sorted), max_size=40), st.integers(2, 9))
def test_all_items_in_order(files: list[list[int]], most: int) -> None:
    found, state = merge(files, most)
    assert found == sorted(item for file in files for item in file)
    assert state.now == 0
    assert state.most <= most + 1, "those that are open, and the run that is being written"


def test_files_one_after_the_other_need_one_open() -> None:
    found, state = merge([list(range(start, start + 10)) for start in range(0, 1000, 10)], 9)
    assert found == list(range(1000))
    assert (state.most, state.spilled) == (1, 0)


@pytest.mark.parametrize(("most", "rounds"), [(10, 10), (100, 1.1)])
def test_files_that_all_overlap_are_written_a_few_times(most: int, rounds: float) -> None:
    found, state = merge([list(range(start, 3000, 1000)) for start in range(1000)], most)
    assert found == list(range(3000))
    assert state.spilled <= 3000 * rounds
