"""The demo as a user runs it: unattended, interrupted, and twice at once."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from demo.check import Agreement, Result
from demo.fold import Fold
from tests.events import make

DEMO = [sys.executable, "-m", "demo"]


def processes(home: Path) -> set[str]:
    """The processes that work in the folder, or were started in it."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").resolve().is_relative_to(home) or str(home) in (entry / "cmdline").read_text():
                    found.add(entry.name)
            except OSError:
                continue
    return found


THEIRS = {"PGHOSTADDR": "127.0.0.1", "PGSERVICE": "theirs", "PGHOST": "/nonexistent", "PGPASSWORD": "secret"}
"""Somebody else's server, as the user's own shell may name it: none of it counts, or nothing would be reduced."""


@pytest.fixture
def running(checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo that has reduced its first events."""
    environment = os.environ | THEIRS
    demo = subprocess.Popen([*DEMO, "--rate", "500"], cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True)
    assert demo.stdout
    for line in demo.stdout:
        if re.search(r"[1-9][\d,]* memberships", line):
            break
    yield demo
    demo.kill()
    demo.wait()
    demo.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly(checkout: Path, running: subprocess.Popen[str], number: signal.Signals) -> None:
    running.send_signal(number)
    assert running.wait(60) == 0
    deadline = time.monotonic() + 20
    while processes(checkout) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes(checkout) == set()
    assert list(checkout.glob(".demo/**/.s.PGSQL*")) == []


def test_a_second_one_is_refused_and_a_killed_one_leaves_no_listener(checkout: Path, running: subprocess.Popen[str]) -> None:
    second = subprocess.run(DEMO, cwd=checkout, capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert f"process {running.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    env = subprocess.run([*DEMO, "postgres", "env"], cwd=checkout, capture_output=True, text=True, check=True)
    assert "export PGDATABASE=demo\n" in env.stdout

    def listeners() -> list[str]:
        found = []
        for number in processes(checkout):
            with suppress(OSError):  # it has just ended
                found += [number] * ("listener" in (Path("/proc") / number / "cmdline").read_text())
        return found

    assert listeners()
    running.kill()
    deadline = time.monotonic() + 30
    while listeners() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert listeners() == []


def test_the_check_can_fail() -> None:
    right, wrong, none = Agreement(1, 1), Agreement.of([1, 1], [1]), Agreement(0, 0)
    assert Result(right, right, none, right).right()
    assert not Result(wrong, right, right, right).right()
    assert not Result(right, wrong, right, right).right()
    assert not Result(right, right, wrong, right).right()
    assert not Result(right, right, right, wrong).right()
    assert not Result(none, none, none, none).right()
    fold = Fold()
    fold.add(make(1))
    assert len(list(fold.rows())) == 1
