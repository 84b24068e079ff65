"""What the stream brings when asked for: repeatable, in the promised shares, and nothing else changes."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from math import sqrt
from typing import Any

import pytest
from click.testing import CliRunner

from loader.cli import main
from loader.event import Invalid, Limits, parse
from loader.faults import CODES, FAULTS
from loader.generate import generate

START = datetime(2021, 1, 16, 12, 34, 56, 789, tzinfo=UTC)
LIMITS = Limits(START + timedelta(days=2), None)
MANY = 10_000
ALL = {"bots": 0.2, "late": 0.1, "values": 0.3, "duplicates": 0.15, "invalid": 0.05}


def stream(**options: Any) -> list[bytes]:
    defaults: dict[str, Any] = {"count": MANY, "start": START, "rate": None, "seed": 1}
    return [line for _, lines in generate(**defaults | options) for line in lines]


def events(**options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream(**options)]


def near(share: float, of: int = MANY) -> Any:
    """Within four standard deviations of a share of so many."""
    return pytest.approx(share, abs=4 * sqrt(share * (1 - share) / of))


def code(line: bytes) -> str:
    """The code of the reject that a line is without a database; empty for a valid one."""
    if len(line) > 1 << 20:
        return "too_long"
    try:
        parse(line.rstrip(b"\n"), 0, LIMITS)
    except Invalid as invalid:
        return invalid.code
    return ""


@pytest.fixture(scope="module")
def clean() -> list[dict[str, Any]]:
    return events()


def test_the_same_bytes_everywhere() -> None:
    lines = stream(count=2500, **ALL)
    assert lines == stream(count=2500, **ALL)
    assert lines != stream(count=2500, **ALL, seed=2)
    assert lines[:1234] == stream(count=1234, **ALL)
    assert sha256(b"".join(lines)).hexdigest() == "c92425a573d1403366414a4866f2794888448775b9fa21db3e267f0a5ecc08dc"


def test_bots(clean: list[dict[str, Any]]) -> None:
    found = events(bots=0.2)
    counts = Counter(event["user"] for event in found if event["user"].startswith("bot-"))
    assert counts.total() / MANY == near(0.2)
    assert sorted(counts) == ["bot-0", "bot-1", "bot-2", "bot-3", "bot-4"]
    assert all(count / MANY == near(0.04) for count in counts.values())
    for event, was in zip(found, clean, strict=True):
        assert event | {"user": was["user"]} == was
        assert event["user"] in (was["user"], *counts)


def test_late(clean: list[dict[str, Any]]) -> None:
    behind = []
    for event, was in zip(events(late=0.1), clean, strict=True):
        assert len(event["timestamp"]) == len(was["timestamp"])
        moment, due = (datetime.fromisoformat(one["timestamp"]) for one in (event, was))
        if moment != due:
            behind.append((due - moment) / timedelta(days=1))
        assert event | {"timestamp": was["timestamp"]} == was
    assert len(behind) / MANY == near(0.1)
    assert 0 < min(behind) < 0.02
    assert 0.98 < max(behind) <= 1
    assert sum(behind) / len(behind) == pytest.approx(0.5, abs=0.04)


def test_values(clean: list[dict[str, Any]]) -> None:
    adds = [(event, was) for event, was in zip(events(values=0.3), clean, strict=True) if "remove" not in was]
    valued = [event for event, _ in adds if "value" in event]
    assert len(valued) / len(adds) == near(0.3, len(adds))
    assert len({event["value"] for event in valued}) == 100
    assert all({key: event[key] for key in was} == was and event.keys() <= was.keys() | {"value"} for event, was in adds)
    assert sum("remove" in event for event in events(values=1)) + len(adds) == MANY
    assert all(code(line) == "" for line in stream(count=2000, values=1))


def test_duplicates() -> None:
    lines, clean = stream(duplicates=0.15), stream()
    seen: set[bytes] = set()
    again = 0
    for line, was in zip(lines, clean, strict=True):
        again += line in seen
        assert line in seen or line == was
        seen.add(line)
    assert again / MANY == near(0.15)
    assert len(set(stream(count=500, duplicates=1))) == 1


def test_invalid() -> None:
    lines, clean = stream(invalid=0.2), stream()
    codes = Counter(code(line) for line, was in zip(lines, clean, strict=True) if line != was)
    assert codes.total() / MANY == near(0.2)
    of_a_database = codes.pop("")
    assert codes.keys() == FAULTS.keys() - {"conflict", "refused"}
    assert of_a_database / MANY == near(0.2 * 0.99 * 2 / len(CODES))
    assert codes["too_long"] / MANY == near(0.002)
    assert all(codes[name] / MANY == near(0.2 * 0.99 / len(CODES)) for name in CODES if name not in ("conflict", "refused"))
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in lines)


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_the_one_it_says(name: str) -> None:
    """Whatever the line is: an add, a removal, with a value."""
    expected = "" if name in ("conflict", "refused") else name
    for line in stream(count=30, values=0.5):
        assert [code(fault(line.rstrip(b"\n"))) for fault in FAULTS[name]] == [expected] * len(FAULTS[name])


def test_all_of_it() -> None:
    """Only valid lines come again, and shares stay what they are beside each other."""
    lines = stream(**ALL)
    counts = Counter(lines)
    assert (MANY - len(counts)) / MANY == near(0.15)
    valid = [json.loads(line) for line in lines if not code(line) and b'"other"' not in line and b"1e200000" not in line]
    assert len(valid) / MANY == near(0.95)
    assert sum(event["user"].startswith("bot-") for event in valid) / len(valid) == near(0.2, MANY // 2)
    assert all(not code(line) for line, count in counts.items() if count > 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bots", "1.1"], "--bots"),
        (["--late", "nan"], "--late"),
        (["--values", "-1"], "--values"),
        (["--duplicates", "0.6", "--invalid", "0.5"], "at most 1"),
        (["--late", "1", "--start", "0001-01-01"], "the years 1 to 9999"),
    ],
)
def test_bad_arguments(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(main, ["generate", "--count", "1", *arguments])
    assert done.exit_code in (1, 2)
    assert words in done.stderr.splitlines()[-1]
    assert done.stdout == ""
