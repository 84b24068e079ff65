"""Paths of the lake, and ranges of numbers."""

from hypothesis import given
from hypothesis import strategies as st

from lake.layout import Place, checksum_of, is_events, path, ranges


def test_a_path_tells_where_and_what() -> None:
    found = path(Place(3, "2026-11-23", "21"), 7, 12, bytes(range(32)), "jsonl.gz")
    assert found == "events/vendor=3/utc_date=2026-11-23/utc_hour=21/7-12-0001020304050607.jsonl.gz"
    assert checksum_of(found) == "0001020304050607"
    assert is_events(found)


def test_files_of_others() -> None:
    assert checksum_of("events/part-0.jsonl.gz") is None
    assert [is_events(name) for name in ("a.gz", "a/b.ndjson.gz", "x.parquet", "README", ".unfinished/1.gz", "a/.b.gz")] == [
        *(True, True, True, False, False, False)
    ]


@given(st.sets(st.integers(1, 200)), st.integers(1, 8))
def test_ranges_hold_all_and_little_else(numbers: set[int], most: int) -> None:
    found = ranges(numbers, most)
    assert len(found) <= most
    held = [number for first, last in found for number in range(first, last + 1)]
    assert len(held) == len(set(held))
    assert set(held) >= numbers
    if len(found) < most:
        assert set(held) == numbers


def test_the_widest_holes_are_left_out() -> None:
    assert ranges([1, 2, 4, 100, 101, 110], 2) == [(1, 4), (100, 110)]
    assert ranges([], 3) == []
