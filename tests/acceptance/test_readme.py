"""Every command in the README, run in order as a newcomer would; and what it says of commands and tables is true."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest

from demo.postgres import installations
from lake import cli as lake
from listener import cli as listener
from listener.metrics import Metrics
from loader import cli as loader
from tests.conftest import ROOT, Database
from tests.loading import newest

README = (ROOT / "README.md").read_text(encoding="utf-8")
PREFIX = "pgsegments_listener_"
BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```sh\n(?P<commands>.*?)```", re.DOTALL)


def test_the_commands_run(checkout: Path) -> None:
    blocks = [found["commands"] for found in BLOCK.finditer(README) if not found["reason"]]
    script = "set -euo pipefail\n" + "\n".join(blocks)
    assert "make demo SECONDS=12\n" in script
    script = script.replace("SECONDS=12", "SECONDS=4")  # it is the same demo, watched for less long
    environment = os.environ | {"PATH": f"{installations()[18]}:{os.environ['PATH']}"}
    done = run(script, checkout, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "was loaded already" in done.stderr
    assert re.search(r"Done\. PASS=\d+ WARN=0 ERROR=0 SKIP=0", done.stdout)
    assert "caught up" in done.stdout
    equal = r"([\d,]+) of \1 events are in segment_events, ([\d,]+) of \2 memberships equal the fold"
    assert re.search(equal + r", and ([\d,]+) of \3 toggles reached the webhook, each once", done.stdout)
    assert '{"loaded": 1000, "duplicates": 0, "rejected": 0' in done.stdout
    assert "invalid_event" in done.stdout or "invalid_timestamp" in done.stdout


def run(script: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script of bash's; what it left running in the background ends with it."""
    out, err = folder / "stdout", folder / "stderr"
    command = ["bash", "-c", script]
    with (
        out.open("wb") as stdout,
        err.open("wb") as stderr,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=stdout, stderr=stderr, start_new_session=True) as process,
    ):
        process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, out.read_text(), err.read_text())


def test_what_is_not_run_says_why() -> None:
    assert all(found["reason"] is None or found["reason"].strip() for found in BLOCK.finditer(README))
    assert README.count("```sh") == len(list(BLOCK.finditer(README)))


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands with their names, groups excluded."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name), command


ALL = [*commands(loader.main, "loader"), *commands(listener.main, "listener"), *commands(lake.main, "lake")]


@pytest.mark.parametrize(("path", "command"), ALL, ids=lambda value: "-".join(value) if isinstance(value, tuple) else "")
def test_every_command_is_explained(path: tuple[str, ...], command: click.Command) -> None:
    assert " ".join(path) in README
    assert command.help
    assert all(option.help for option in command.params if isinstance(option, click.Option)), path


@newest
def test_every_relation_is_explained(built: Database) -> None:
    relations = built.fetch(
        "select relname from pg_class "
        "where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v') and not relispartition"
    )
    assert {name for (name,) in relations if f"`{name}`" not in README} == {"segment_alembic_version"}


def test_every_metric_is_explained() -> None:
    registry = Metrics("s").registry
    families = [family.name + "_total" * (family.type == "counter") for family in registry.collect()]
    samples = {sample.name for family in registry.collect() for sample in family.samples}
    assert [name for name in families if f"`{name.removeprefix(PREFIX)}`" not in README] == []
    assert set(re.findall(rf"{PREFIX}[a-z_]*[a-z]", README)) <= samples


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", README)) <= targets
