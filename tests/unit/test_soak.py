"""What a soak says at its end, and with which exit code, of records that were made up."""

import pytest

from benchmarks.chores import KINDS, counts
from benchmarks.flatness import MEASURES, levels
from benchmarks.soak import complain, table
from benchmarks.soaking import Pruning, Record
from lake.prune import Pruned

SAMPLES = 60


def record(removed: int = 1, delivered: int = 1, **series: float) -> Record:
    """All is 100 all the time, but for what is named, which is as much more in the last third."""
    kept = Record("2026-01-31T12:00:00+00:00", 600, 30, 2000, delivered=delivered)
    kept.prunings = [Pruning(20, 1, dict.fromkeys(KINDS, removed)), Pruning(40, 1, dict.fromkeys(KINDS, 0))]
    for at in range(SAMPLES):
        kept.add(10 * at, {each.name: 100 + (at >= SAMPLES * 2 / 3) * series.get(each.name, 0) for each in MEASURES})
    return kept


def test_all_flat_is_no_complaint(capsys: pytest.CaptureFixture[str]) -> None:
    complain(levels(record().series), record(), trial=False)
    assert capsys.readouterr().out == ""


def test_what_grows_is_named_and_ends_it_with_1_unless_it_is_a_trial(capsys: pytest.CaptureFixture[str]) -> None:
    grown = record(batches=50, loader=3)
    with pytest.raises(SystemExit, match="1"):
        complain(levels(grown.series), grown, trial=False)
    assert [line.split(", with ")[0] for line in capsys.readouterr().out.splitlines()] == ["Not flat: batches"]
    complain(levels(grown.series), grown, trial=True)
    assert "Not flat: batches" in (said := capsys.readouterr().out)
    assert "means nothing" in said


@pytest.mark.parametrize(("empty", "words"), [({"removed": 0}, "events, outcomes, batches"), ({"delivered": 0}, "No toggle")])
def test_a_soak_that_pruned_or_delivered_nothing_fails_in_any_case(
    empty: dict[str, int], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = record(**empty)
    with pytest.raises(SystemExit, match="1"):
        complain(levels(kept.series), kept, trial=True)
    assert words in capsys.readouterr().out


def test_the_table_has_every_measure_with_its_verdict() -> None:
    lines = table(levels(record(batches=50).series)).splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in rows] == [measure.name for measure in MEASURES]
    assert ["batches", "100.00", "150.00", "MB", "11.00", "**not flat**"] in rows


def test_what_prune_says_is_read_however_its_lines_are_broken() -> None:
    said = f"removed the events of 2026-01-31: 12,345\n{Pruned(1, 12_345, 2, 678, 90, 1, 2)}".replace(
        "678 outcomes", "678\noutcomes"
    )
    assert counts(said) == {"events": 12_345, "outcomes": 678, "batches": 90, "sources": 1, "rejects": 2}
