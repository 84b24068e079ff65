"""The benchmarks produce every figure that they promise; how good the figures are says only a machine that does nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import COMPARISONS
from benchmarks.results import Report, newest, read
from benchmarks.table import shown
from tests.conftest import ROOT


def benchmarks(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run them."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a quick run."""
    folder = tmp_path_factory.mktemp("benchmarks")
    done = benchmarks("--quick", "--into", folder)
    assert done.returncode == 0, done.stderr
    (folder / "said").write_text(done.stdout)
    return folder


@pytest.fixture
def report(quick: Path) -> Report:
    return read(newest(quick))


def test_quick_benchmarks_measure_everything(report: Report) -> None:
    assert [compared.name for compared in report.comparisons] == [comparison.name for comparison in COMPARISONS]
    for compared in report.comparisons:
        for found in compared.found:
            for rounds in found.readings.values():
                assert len(rounds) == report.rounds == 1
                assert all(number > 0 for number in rounds), found


def test_durability_stays_on(report: Report) -> None:
    assert {report.server[name] for name in ("fsync", "synchronous_commit", "full_page_writes")} == {"on"}
    assert all(report.machine.values())


def test_the_page_and_the_terminal_show_every_figure(quick: Path, report: Report) -> None:
    page, said = (quick / "benchmarks.md").read_text(), (quick / "said").read_text()
    for compared in report.comparisons:
        for found in compared.found:
            for unit, (number,) in found.readings.items():
                row = [shown(number), f"{shown(number)} to {shown(number)}", unit]
                assert any([cell.strip() for cell in line.split("|")][2:5] == row for line in page.splitlines()), row
            assert f"| {found.name} " in page
            assert f"| {found.name} " in said
    assert "its figures mean nothing" in page
    assert {"latency.svg", "throughput.svg"} <= {file.name for file in quick.iterdir()}


def test_a_comparison_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = benchmarks("--only", "nothing", "--into", tmp_path)
    assert done.returncode == 2
    assert "'nothing'" in done.stderr
    assert not list(tmp_path.iterdir())
