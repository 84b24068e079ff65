"""What the benchmarks make of numbers; and that the published page is what the newest results make."""

import math
from pathlib import Path

import pytest

from benchmarks.machine import file_system, processor
from benchmarks.page import make, page
from benchmarks.receiver import Answered, figures, percentile, read
from benchmarks.results import DOCS, RESULTS, Compared, Found, Goal, Report, newest, write
from benchmarks.sender import NO_TIME, prepared
from benchmarks.table import goals, table

LIMIT = Found("limit", {}, {"events/s": [100, 400, 200]}, [])
OURS = Found(
    "ours", {}, {"events/s": [50, 100, 150], "MB": [7, 8, 9]}, [Goal("events/s", least=0.5, of="limit"), Goal("MB", most=7.5)]
)


def report(rounds: int = 3, measured_at: str = "2026-01-31T12:00:00+00:00") -> Report:
    compared = Compared("speed", "How fast?", "limit", [LIMIT, OURS])
    return Report(measured_at, {"processor": "Some (R) CPU", "cores": "2"}, {"fsync": "on"}, {"events": 9, "fewer_events": 5},
                  rounds, [compared])  # fmt: skip


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_the_published_page_is_what_the_newest_results_make(tmp_path: Path) -> None:
    results, docs = tmp_path / "benchmarks" / "results", tmp_path / "docs"
    results.mkdir(parents=True)
    docs.mkdir()
    for file in RESULTS.glob("*.json"):
        (results / file.name).write_bytes(file.read_bytes())
    make(results, docs)
    for made in docs.iterdir():
        assert made.read_bytes() == (DOCS / made.name).read_bytes(), f"{made.name}: run python -m benchmarks.page"


def test_the_same_results_make_the_same_plots_twice(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        make(RESULTS, tmp_path / folder)
    for file in (tmp_path / "one").glob("*.svg"):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_a_row_has_the_median_its_spread_and_the_ratio_round_by_round() -> None:
    assert rows(table(report()))[2:] == [
        ["**How fast?**", "", "", "ratios are to limit", ""],
        ["limit", "200", "100 to 400", "events/s", "1"],
        ["ours", "100", "50 to 150", "events/s", "0.5"],
        ["", "8", "7 to 9", "MB", ""],
    ]


def test_goals_are_bounds_of_medians_or_of_ratios() -> None:
    assert goals(report()).splitlines() == [
        "- ours: events/s ≥ 0.5 of limit: 0.5, met",
        "- ours: MB ≤ 7.5: 8, **missed**",
    ]


@pytest.mark.parametrize(("rounds", "trial"), [(1, True), (2, True), (3, False)])
def test_a_run_of_few_rounds_is_a_trial_and_says_so(rounds: int, trial: bool) -> None:
    assert ("its figures mean nothing" in page(report(rounds), "data.json")) == trial


def test_the_latest_results_are_the_newest_and_named_by_day_processor_and_cores(tmp_path: Path) -> None:
    files = [write(report(measured_at=f"2026-{day}T12:00:00+00:00"), tmp_path) for day in ("01-31", "02-01", "01-30")]
    assert newest(tmp_path) == files[1]
    assert files[1].name == "2026-02-01-some-r-cpu-2.json"


def test_latency_is_from_the_events_timestamp_to_the_answer_over_toggles() -> None:
    first, second = (
        b'{"event":"5fac971a-8018-4844-933f-3b0a22f7d343","timestamp":"2026-01-31T12:00:0%d.5Z","user":"u",'
        b'"previous":{"event":"8c1f6d7e-3f0a-4b62-9f53-0d5f5a9f2d11","timestamp":"2020-01-01T00:00:00Z"}}' % second
        for second in (1, 2)
    )
    noon = 1769860800.0
    calls = [read(noon + 2, b"[%b]\n" % first), read(noon + 3.75, b"[%b,\n%b]\n" % (first, second))]
    assert calls == [Answered(noon + 2, [noon + 1.5]), Answered(noon + 3.75, [noon + 1.5, noon + 2.5])]
    assert figures(calls) == {"documents_a_call": 2, "p50": 1250, "p99": 1250, "p99.9": 1250}, "the first second is not counted"


def test_a_percentile_is_the_least_number_that_the_share_does_not_exceed() -> None:
    assert [percentile(range(1, 101), share) for share in (0.5, 0.99, 0.999)] == [50, 99, 100]


@pytest.mark.parametrize("rate", [500, 1000, 50_000])
def test_the_sender_sends_each_tick_what_is_due_in_it(rate: int) -> None:
    every, ticks = prepared(rate, 1)
    assert math.isclose(every * rate, ticks[0].count(b"\n"))
    assert {tick.count(NO_TIME) for tick in ticks} == {tick.count(b"\n") for tick in ticks} == {every * rate}
    assert len(ticks) * every == pytest.approx(1)


def test_the_machine_is_described_by_what_the_kernel_says() -> None:
    assert processor("processor\t: 0\nmodel name\t: Some CPU  \n") == "Some CPU"
    mounts = "22 1 0:1 / / rw shared:1 - ext4 /dev/a rw\n23 22 0:2 / /data rw - xfs /dev/b rw\n"
    assert file_system(Path("/data/base"), mounts) == "xfs"
    assert file_system(Path("/database"), mounts) == "ext4"
