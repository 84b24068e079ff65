"""What the log says of an event, for people and as JSON: one line, whatever the fields hold."""

import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.log import JSON, LOGGER, Level, Text, log_to_stderr, say

FIELDS = {"documents": 3, "answer": "200 OK", "url": "https://example.org", "empty": "", "none": None, "quote": 'a"b'}


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    handlers, level, propagate = LOGGER.handlers[:], LOGGER.level, LOGGER.propagate
    yield
    LOGGER.handlers[:], LOGGER.propagate = handlers, propagate
    LOGGER.setLevel(level)


def record(message: str, fields: dict[str, object]) -> logging.LogRecord:
    made = logging.LogRecord("listener", Level.WARNING, "", 0, message, None, None)
    made.created, made.fields = 1_606_222_800.1234, fields
    return made


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(as_json=False)
    say(Level.ERROR, "not delivered", **FIELDS)
    time, line = capsys.readouterr().err.split(" ", 1)
    assert len(time) == len("2026-11-24T13:00:00.123Z")
    assert line == 'ERROR not delivered documents=3 answer="200 OK" url=https://example.org empty="" none=None quote="a\\"b"\n'


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(as_json=True)
    say(Level.INFO, "délivré", **FIELDS, error=ValueError("no"))
    found = json.loads(capsys.readouterr().err)
    assert found.pop("time").endswith("Z")
    assert found == {"level": "info", "message": "délivré", **FIELDS, "error": "no"}


def test_the_time() -> None:
    assert Text().format(record("m", {})) == "2020-11-24T13:00:00.123Z WARNING m"
    assert json.loads(JSON().format(record("m", {})))["time"] == "2020-11-24T13:00:00.123Z"


@given(st.text(min_size=1))
def test_one_line_whatever_a_field_holds(value: str) -> None:
    line = Text().format(record("m", {"field": value}))
    assert len(line.splitlines()) == 1
    shown = line.partition("field=")[2]
    assert value in (shown, json.loads(shown) if shown.startswith('"') else None)
    assert JSON().format(record("m", {"field": value})).count("\n") == 0


def test_nobody_elses_log(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(as_json=False)
    log_to_stderr(as_json=False)
    logging.getLogger("httpx").info("not ours")
    say(Level.INFO, "ours")
    assert capsys.readouterr().err.count("\n") == 1
