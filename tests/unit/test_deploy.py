"""What deploy/, Containerfile and .devcontainer say of the project is true: commands, options, roles, targets, files."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import click
import pytest

from lake import cli as lake
from listener import cli as listener
from loader import cli as loader
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
UNITS = sorted((ROOT / "deploy").glob("*.service"))
PROGRAMS = {"loader": loader.main, "listener": listener.main, "lake": lake.main}
BIN = "/opt/pgsegments/bin/"
ROLES = {"loader": "segment_loader", "listener": "segment_listener", "lake": "segment_lake"}


def unit(path: Path) -> ConfigParser:
    """A unit file, which here has no key twice."""
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path, encoding="utf-8")
    return parser


def parsed(program: str, words: list[str]) -> click.Command:
    """The command that a command line names; raise UsageError for an option or argument that it has not."""
    command: click.Command = PROGRAMS[program]
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    command.make_parser(click.Context(command)).parse_args(words)
    return command


def pairs(path: Path) -> Iterator[tuple[str, str]]:
    """Names and values of an environment file."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, _, value = line.partition("=")
            yield name, value


def test_there_is_a_unit_for_each_process() -> None:
    assert [path.name for path in UNITS] == [
        "pgsegments-lake.service",
        "pgsegments-listener.service",
        "pgsegments-loader.service",
    ]
    assert all(path.stem in README for path in UNITS)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_units_command_exists(path: Path) -> None:
    service = unit(path)["Service"]
    program, *words = shlex.split(service["ExecStart"].removeprefix(BIN))
    assert path.stem == f"pgsegments-{program}"
    command = parsed(program, words)
    assert " ".join(shlex.split(service["ExecStart"].removeprefix(BIN))[:2]) in README
    environment = ROOT / "deploy" / Path(service["EnvironmentFile"]).name
    known = {name for option in command.params for name in [option.envvar] if isinstance(name, str)}
    given = dict(pairs(environment))
    assert {name for name in given if not name.startswith("PG")} <= known
    assert f"grant {ROLES[program]} to {given['PGUSER']}" in README
    assert given["PGPASSWORD"] == ""


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_hardened_and_comes_back(path: Path) -> None:
    service = unit(path)["Service"]
    assert (service["User"], service["NoNewPrivileges"], service["CapabilityBoundingSet"]) == (path.stem, "yes", "")
    assert (service["ProtectSystem"], service["ProtectHome"], service["PrivateTmp"]) == ("strict", "yes", "yes")
    assert (service["Restart"], unit(path)["Unit"]["StartLimitIntervalSec"]) == ("always", "0")
    assert not any(name in service["ExecStart"].lower() for name in ("password", "secret"))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here; the tests above parse the units")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """With programs that are here in place of those that will be installed."""
    copies = []
    for path in UNITS:
        copies.append(tmp_path / path.name)
        copies[-1].write_text(path.read_text(encoding="utf-8").replace(BIN, f"{sys.prefix}/bin/"), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *copies], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_container_has_all_it_needs() -> None:
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    assert text.split("\nFROM ")[1].startswith("python:3.11-slim\n")
    copied = [word for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for word in line.split()]
    assert all((ROOT / name).exists() for name in copied)
    packages = re.search(r"^packages = (.*)$", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert packages
    assert {*json.loads(packages[1]), "migrations", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"} == set(copied)
    assert "-c constraints.txt" in text
    assert re.search(r"^USER (?!root)", text, re.MULTILINE)


def test_the_devcontainer_has_what_make_demo_needs() -> None:
    text = (ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8")
    found = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    assert found["image"] == "python:3.11"
    program, *targets = found["postCreateCommand"].split()
    assert program == "make"
    done = subprocess.run(["make", "--dry-run", "--always-make", *targets], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pip install" in done.stdout
    assert subprocess.run(["make", "--dry-run", "demo"], cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_what_an_extra_includes_is_said_in_the_makefile_too() -> None:
    """For what is installed with an extra is not installed again."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    said = re.findall(r"^WITHIN_([a-z]+) := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert said
    for extra, within in said:
        assert set(within.split()) <= included(extras, extra)


def included(extras: dict[str, list[str]], extra: str) -> set[str]:
    """The extras of this project that come with one."""
    named = re.findall(r"\bpgsegments\[([a-z,]+)\]", " ".join(extras[extra]))
    direct = {name for names in named for name in names.split(",")}
    return direct.union(*(included(extras, name) for name in direct))
