"""What `make chaos` sends and runs: nothing that was to be sent is forgotten, who is killed has run, open files are seen."""

from datetime import UTC, datetime
from pathlib import Path
from subprocess import PIPE

import pytest

from chaos import inputs
from chaos.inputs import Batches, Pipe
from chaos.leaks import MOST_FILES, open_files
from chaos.program import End, Program
from tests.loading import wait_until

SECONDS = 30.0


@pytest.fixture
def ends() -> list[End]:
    return []


@pytest.fixture
def reader(tmp_path: Path, ends: list[End]) -> Program:
    """Takes whatever comes to its end."""
    return Program("reader", "nobody", {}, tmp_path, ends, "base64", "-")


def test_an_earlier_piece_is_sent_again_though_the_end_has_come(tmp_path: Path, reader: Program, ends: list[End]) -> None:
    pipe = Pipe(tmp_path / "pipe.ndjson", "seed", datetime.now(UTC), 100, reader)
    pipe.start()
    wait_until(lambda: reader.process)
    pipe.redeliver(0.5)
    assert pipe.end()
    assert [(end.asked, end.code) for end in ends] == [("", 0), ("", 0)]


def test_a_piece_that_nobody_takes(tmp_path: Path, ends: list[End], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "ENDING_SECONDS", 0.5)
    failing = Program("failing", "nobody", {}, tmp_path, ends, "no_such_module")
    pipe = Pipe(tmp_path / "pipe.ndjson", "seed", datetime.now(UTC), 100, failing)
    pipe.start()
    wait_until(lambda: ends)
    assert not pipe.end()
    pipe.abandoned.set()
    wait_until(pipe.end)
    assert {end.code for end in ends} <= {1, -9}


def test_who_does_not_run_cannot_be_killed(reader: Program) -> None:
    assert not reader.kill()
    stdin = reader.start(PIPE).stdin
    assert stdin
    with stdin:
        assert reader.kill()
        assert reader.wait(SECONDS)
    assert not reader.stop()


def test_a_batch_is_killed_once_it_is_begun(tmp_path: Path, ends: list[End]) -> None:
    begun = tmp_path / "begun"
    program = f"import os, time; os.path.exists({str(begun)!r}) or (open({str(begun)!r}, 'w').close(), time.sleep({SECONDS}))"
    loader = Program("batch", "nobody", {}, tmp_path, ends, "timeit", "-n1", "-r1", program)
    assert Batches(tmp_path / "batches", "seed", datetime.now(UTC), loader).load(begun.exists, 0)
    assert [(end.asked, end.code) for end in ends] == [("killed", -9), ("", 0)]
    assert ends[1].ended - ends[1].began < SECONDS / 2, "the one that was killed had begun"


@pytest.mark.parametrize("count", [1, MOST_FILES])
def test_open_files(tmp_path: Path, ends: list[End], count: int) -> None:
    path = tmp_path / "opened"
    opening = f"import time; files = [open({str(path)!r}, 'w') for _ in range({count})]; print('x', file=files[0], flush=True)"
    program = Program("opener", "nobody", {}, tmp_path, ends, "timeit", "-n1", "-r1", f"{opening}; time.sleep({SECONDS})")
    program.start()
    wait_until(lambda: path.exists() and path.stat().st_size)
    assert bool(list(open_files({"opener": program}))) is (count == MOST_FILES)
    assert program.kill()
    assert program.wait(SECONDS)
