"""`loader validate`: the same verdicts as the stream's, counted, without a database."""

import gzip
import json
import os
import random
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from loader.cli import main
from tests.conftest import LOADER, ROOT, Database
from tests.events import document, make
from tests.loading import assert_one_sentence, load, newest, rejects, spoil, write


def validate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["validate", *map(str, arguments)])


def report(*arguments: str | Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(validate("--json", *arguments).stdout)
    return found


def test_all_valid(tmp_path: Path) -> None:
    path = write(tmp_path / "events", ["", document(make(1)), " ", document(make(2))])
    done = validate(path, path)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "4 of 4 lines are valid\n", "")
    assert report(path) == {"lines": 2, "valid": 2, "invalid": 0, "reasons": {}}


def test_reasons_with_their_first_lines(tmp_path: Path) -> None:
    good = document(make(1))
    path = write(tmp_path / "events", [good, "[]", "{", good, '{"user": "u", "user": "v"}', *["7"] * 1000])
    done = validate(path)
    at = len(good) + 1
    assert done.stdout.splitlines() == [
        "2 of 1,005 lines are valid",
        "invalid_json: 1,002",
        f"  {path}:{at}  the line is an array, not a JSON object",
        f"  {path}:{at + 3}  the line is not JSON: Expecting property name enclosed in double quotes at character 2",
        f"  {path}:{2 * at + 32}  the line is the number 7, not a JSON object",
        "duplicate_key: 1",
        f"  {path}:{2 * at + 5}  the key 'user' stands more than once in one object",
    ]
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: 1,003 of 1,005 lines are no valid events: ")
    assert done.stderr.count("\n") == 1


def test_json_has_the_same(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", ["{}"]), write(tmp_path / "two", [document(make(1)), "x" * 1000])
    found = report("--max-line", "999", one, two)
    assert (found["lines"], found["valid"], found["invalid"]) == (3, 1, 2)
    long = {
        "source": str(two),
        "position": len(document(make(1))) + 1,
        "reason": "the line has 1000 bytes; at most 999 are accepted",
    }
    reasons = found["reasons"]
    assert isinstance(reasons, dict)
    assert reasons["too_long"] == {"count": 1, "examples": [long]}
    assert reasons["invalid_event"]["examples"][0]["source"] == str(one)


def test_the_future_by_this_machines_clock(tmp_path: Path) -> None:
    moments = [datetime.now(UTC) + timedelta(days=days) for days in (-9999, 0.9, 1.1)]
    event = document(make(1)).replace(make(1).occurred_at.isoformat().replace("+00:00", "Z"), "{}")
    path = write(tmp_path / "events", [event.replace("{}", moment.isoformat()) for moment in moments])
    assert validate(path).stdout.startswith("2 of 3 lines are valid\nfuture: 1\n")
    assert validate("--max-future", "30h", path).exit_code == 0


def test_a_pipe_and_no_database() -> None:
    lines = document(make(1)) + "\n[]"
    nowhere = os.environ | {"PGHOST": "/nowhere"}
    done = subprocess.run([*LOADER, "validate"], cwd=ROOT, env=nowhere, input=lines, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("1 of 2 lines are valid\ninvalid_json: 1\n  -:")
    assert_one_sentence(done, "1 of 2 lines is no valid event")


@pytest.mark.parametrize(("names", "words"), [(["missing"], "No such file"), (["."], "directory"), (["empty"], "empty")])
def test_what_cannot_be_read(tmp_path: Path, names: list[str], words: str) -> None:
    (tmp_path / "empty").touch()
    done = validate(*(tmp_path / name for name in names))
    assert (done.exit_code, done.stdout) == (1, "")
    assert words in done.stderr


def test_what_is_whole_of_a_file_that_is_cut_off(tmp_path: Path) -> None:
    path, empty, cut = write(tmp_path / "events", [document(make(1)), "[]"]), tmp_path / "empty", tmp_path / "events.gz"
    empty.touch()
    whole = gzip.compress(random.Random(1).randbytes(50_000).hex().encode() + b"\n") + gzip.compress(b"{")
    cut.write_bytes(gzip.compress(path.read_bytes()) + whole[:20_000])
    done = validate(path, empty, cut, path)
    assert done.stdout.startswith("2 of 4 lines are valid\ninvalid_json: 2\n")
    assert done.stderr.splitlines()[0] == f"{empty} is empty"
    assert "events.gz ends within its compressed data" in done.stderr.splitlines()[1]
    assert done.exit_code == 1


@newest
def test_the_stream_agrees(database: Database, tmp_path: Path) -> None:
    path = write(tmp_path / "events", spoil([document(make(number)) for number in range(60)], 7))
    found = report(path)
    assert load(database, path) == (found["valid"], 0, found["invalid"])
    reasons = found["reasons"]
    assert isinstance(reasons, dict)
    codes = Counter(code for *_, code in rejects(database))
    assert {code: reason["count"] for code, reason in reasons.items()} == codes
    assert codes.total() == 8
