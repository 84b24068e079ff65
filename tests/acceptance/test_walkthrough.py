"""docs/walkthrough.md: its commands, run in its order beside the demo that it starts."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.postgres import installations
from tests.conftest import ROOT
from tests.loading import wait_until

WALK = (ROOT / "docs/walkthrough.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"<!-- (?P<where>[a-z ]+) -->\n```sh\n(?P<commands>.*?)```", re.DOTALL)
WHERE = ("the demo", "beside the demo", "after the demo")


def commands(where: str) -> str:
    """The commands of one place, in order."""
    return "".join(found["commands"] for found in BLOCK.finditer(WALK) if found["where"] == where)


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def test_every_command_has_its_place() -> None:
    assert WALK.count("```sh") == len(list(BLOCK.finditer(WALK)))
    assert {found["where"] for found in BLOCK.finditer(WALK)} == set(WHERE)
    assert commands("the demo") == "make demo PAGE=yes\n"


@pytest.fixture
def demo(checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """The demo as the walkthrough starts it, on a free port; it has exported and delivered something."""
    (checkout / ".venv/installed-test").touch()
    started = subprocess.Popen(
        ["bash", "-c", "unset MAKEFLAGS MAKELEVEL; " + commands("the demo").replace("PAGE=yes", f"PAGE=yes PORT={free_port()}")],
        cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: list((checkout / ".demo/lake").rglob("*.gz")) and "delivered" in listener_log(checkout))
    yield started
    if started.poll() is None:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    assert started.stdout
    started.stdout.close()


def listener_log(checkout: Path) -> str:
    log = checkout / ".demo/listener.log"
    return log.read_text() if log.exists() else ""


def test_it_goes_as_it_says(checkout: Path, demo: subprocess.Popen[str]) -> None:
    environment = os.environ | {"PATH": f"{installations()[18]}:{os.environ['PATH']}"}
    port = re.findall(r"url=http://127\.0\.0\.1:(\d+)", listener_log(checkout))[0]
    script = "set -euo pipefail\n" + commands("beside the demo").replace(":9000/", f":{port}/")
    beside = bash(script, checkout, environment)
    assert beside.returncode == 0, beside.stdout + beside.stderr
    for said in (
        "1 loaded, 0 duplicates",
        "0 loaded, 1 duplicates",
        " joined ",
        " left ",
        "invalid_event",
        '"delay": 2000',
        "segment_demo",
    ):
        assert said in beside.stdout + beside.stderr, (said, beside.stdout, beside.stderr)
    assert re.search(r"Done\. PASS=\d+ WARN=0 ERROR=0 SKIP=0", beside.stdout)
    os.killpg(demo.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
    demo.wait(60)
    assert demo.stdout
    said = demo.stdout.read()
    assert "http://127.0.0.1:" in said.splitlines()[0]
    assert "Traceback" not in said
    after = bash("set -euo pipefail\n" + commands("after the demo"), checkout, environment)
    assert after.returncode == 0, after.stdout + after.stderr
    assert re.search(r"\d+ passed", after.stdout)
    assert not (checkout / ".demo").exists()
    assert not (checkout / "mine.ndjson").exists()


def bash(script: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False)
