"""The quarantine tried again and exported: each line is in quarantine or among the events, whoever is killed or runs beside."""

import base64
import hashlib
import json
import os
import subprocess
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from subprocess import PIPE
from threading import Event

import pytest

from loader.database import Session
from loader.rejects import Selection, pages
from tests.conftest import LOADER, ROOT, Database, migrate
from tests.events import TODAY, check_against_fold, document, make, ndjson
from tests.loading import ROLE, assert_one_sentence, events, execute, finish, invoke, load, newest, wait_until, write

DAY = 86_400
NUMBERS = "select reject_id::int from segment_rejects order by 1"
COUNTS = "select source, loaded::int, duplicates::int, rejected::int from segment_sources order by source"
WAITING = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


def retry(database: Database, *arguments: str) -> list[str]:
    """What `loader rejects retry` says when all goes well."""
    return invoke(database, "rejects", "retry", *arguments).splitlines()


def export(database: Database, *arguments: str) -> list[dict[str, object]]:
    """What `loader rejects export` writes."""
    return [json.loads(line) for line in invoke(database, "rejects", "export", *arguments, user="segment_reader").splitlines()]


def start_retry(database: Database) -> subprocess.Popen[bytes]:
    return database.start_loader("rejects", "retry", "--max-future", "3d", stdout=PIPE, stderr=PIPE)


def numbers(database: Database) -> list[object]:
    return [number for (number,) in database.fetch(NUMBERS)]


def fill(database: Database, count: int) -> None:
    """Put events of the day after tomorrow into quarantine."""
    lines = ndjson(make(number, f"u{number % 7}", seconds=2 * DAY + number) for number in range(count))
    assert load(database, "--lanes", "1", "--source", "late", input=lines) == (0, 0, count)


@newest
def test_what_is_valid_now_is_loaded_once(database: Database, tmp_path: Path) -> None:
    """The future by a larger skew; the other lines, and how far the file was read, stay."""
    soon, later = make(1, seconds=2 * DAY), make(2, seconds=30 * DAY)
    path = write(tmp_path / "events", [document(make(0)), document(soon), "{", document(later), document(make(3, remove=True))])
    assert load(database, "--lanes", "1", path) == (2, 0, 3)
    before = database.fetch("select * from segment_source_positions order by bucket")
    assert retry(database)[0] == "0 loaded, 0 duplicates, 3 stay"
    first, second, third = retry(database, "--max-future", "3d")
    assert first == "1 loaded, 0 duplicates, 2 stay"
    assert second.startswith("invalid_json: 1, first 2: the line is not JSON: ")
    assert third.startswith("future: 1, first 3: timestamp ")
    assert numbers(database) == [2, 3]
    assert database.fetch(COUNTS) == [(str(path), 3, 0, 2)]
    assert database.fetch("select * from segment_source_positions order by bucket") == before
    assert retry(database, "--max-future", "40d")[0] == "1 loaded, 0 duplicates, 1 stay"
    assert events(database) == 4
    check_against_fold(database)


@newest
def test_a_line_that_a_terminal_would_obey(database: Database, tmp_path: Path) -> None:
    """In a terminal it is shown; everywhere else it is what came."""
    line = b"\x1b[31mred \xff"
    (tmp_path / "lines").write_bytes(line)
    load(database, tmp_path / "lines")
    show = [*LOADER, "rejects", "show", "1"]
    environment = database.environment | {"PGUSER": ROLE}
    assert subprocess.run(show, cwd=ROOT, env=environment, capture_output=True, check=True).stdout == line + b"\n"
    terminal, end = os.openpty()
    with open(terminal, "rb", buffering=0) as screen:
        subprocess.run(show, cwd=ROOT, env=environment, stdout=end, stderr=PIPE, check=True)
        os.close(end)
        assert screen.read(100) == rb"\x1b[31mred \xff" + b"\r\n"


@newest
def test_another_horizon(database: Database) -> None:
    execute(database, "update segment_settings set horizon = %s", TODAY)
    load(database, input=ndjson([make(1, seconds=-500 * DAY), make(2, seconds=-DAY)]))
    assert retry(database)[0] == "0 loaded, 0 duplicates, 2 stay"
    execute(database, "update segment_settings set horizon = null")
    assert retry(database) == ["2 loaded, 0 duplicates, 0 stay"]
    check_against_fold(database)


@newest
def test_what_the_database_knows(database: Database) -> None:
    """A duplicate leaves; a conflict, what the server refuses, and a line of which only the beginning is kept do not."""
    event = make(1, seconds=2 * DAY)
    load(database, "--source", "a", input=document(event))
    load(database, "--source", "a", "--max-future", "3d", input=document(event))
    lines = [
        document(make(1, seconds=2 * DAY, value="other")),
        document(make(2))[:-1] + ', "n": 1e200000}',
        document(make(3, value="x" * 70_000)),
        document(make(4, value="x" * 600)),
    ]
    load(database, "--source", "b", "--lanes", "1", "--max-future", "3d", "--max-line", "500", input="\n".join(lines))
    assert sorted(map(str, database.fetch("select code from segment_rejects where source = 'b'"))) == [
        "('conflict',)", "('refused',)", "('too_long',)", "('too_long',)"
    ]  # fmt: skip
    first, *reasons = retry(database, "--max-future", "3d")
    assert first == "1 loaded, 1 duplicates, 3 stay"
    assert {reason.partition(":")[0] for reason in reasons} == {"conflict", "refused", "too_long"}
    prefix = next(reason for reason in reasons if reason.startswith("too_long"))
    assert "only the first 65,536 of its 70," in prefix
    assert "--max-line" in prefix
    assert database.fetch(COUNTS) == [("a", 1, 1, 0), ("b", 1, 0, 3)]
    check_against_fold(database)


@newest
def test_a_selection(database: Database) -> None:
    fill(database, 4)
    load(database, "--source", "other", input=document(make(9, seconds=2 * DAY)))
    assert retry(database, "--max-future", "3d", "2", "3", "--source", "late") == ["2 loaded, 0 duplicates, 0 stay"]
    assert retry(database, "--max-future", "3d", "--code", "expired") == ["0 loaded, 0 duplicates, 0 stay"]
    assert retry(database, "--max-future", "3d", "--source", "other", "--code", "future") == ["1 loaded, 0 duplicates, 0 stay"]
    assert numbers(database) == [1, 4]
    done = database.loader("rejects", "retry", "--max-future", "3d", "1", "2", "99", PGUSER=ROLE)
    assert done.stdout == "1 loaded, 0 duplicates, 0 stay\n"
    assert_one_sentence(done, "Not in quarantine", ": 2, 99; ")
    assert numbers(database) == [4]


@newest
def test_counts_of_a_file_that_was_replaced(database: Database, tmp_path: Path) -> None:
    """The counts run since then: what was in quarantine before leaves it without being taken from them."""
    path = write(tmp_path / "events", [document(make(1, seconds=2 * DAY))])
    load(database, path)
    write(path, ["another", document(make(2))])
    load(database, path)
    assert retry(database, "--max-future", "3d")[0] == "1 loaded, 0 duplicates, 1 stay"
    assert database.fetch(COUNTS) == [(str(path), 2, 0, 1)]


@newest
def test_two_at_once(database: Database) -> None:
    """Both have seen all of it before the first can load: it is loaded and counted once."""
    fill(database, 50)
    with database.connect() as blocker:
        blocker.execute("lock table segment_events in share mode")
        both = [start_retry(database) for _ in range(2)]
        wait_until(lambda: len(database.fetch(WAITING)) == 2)
        blocker.rollback()
        said = [finish(process)[0] for process in both]
    assert sorted(said) == ["0 loaded, 0 duplicates, 0 stay\n", "50 loaded, 0 duplicates, 0 stay\n"]
    assert database.fetch(COUNTS) == [("late", 50, 0, 0)]
    check_against_fold(database)


@newest
def test_killed_before_it_commits(database: Database) -> None:
    """Between loading and leaving: neither has happened, and the same command does both."""
    fill(database, 1_200)
    with database.connect() as blocker:
        blocker.execute("select from segment_rejects where reject_id = 1100 for update")
        process = start_retry(database)
        wait_until(lambda: database.fetch(WAITING))
        process.kill()
        process.communicate()
        assert events(database) == 1_000, "the first page"
        assert len(numbers(database)) == 200
    wait_until(lambda: not database.fetch("select from pg_locks where locktype = 'advisory'"))
    assert len(numbers(database)) == 200
    assert retry(database, "--max-future", "3d") == ["200 loaded, 0 duplicates, 0 stay"]
    assert database.fetch(COUNTS) == [("late", 1_200, 0, 0)]
    check_against_fold(database)


@newest
def test_a_database_that_is_too_old(database: Database) -> None:
    """The right to take rejects away comes with revision 0005, and goes with it."""
    fill(database, 1)
    assert migrate(database.environment, "downgrade", "0004").returncode == 0
    assert_one_sentence(database.loader("rejects", "retry", PGUSER=ROLE), "alembic upgrade head")
    delete = "select has_table_privilege('segment_loader', 'segment_rejects', 'delete')"
    assert database.fetch(delete) == [(False,)]
    assert migrate(database.environment, "upgrade", "head").returncode == 0
    assert database.fetch(delete) == [(True,)]
    assert_one_sentence(database.loader("rejects", "retry", PGUSER="segment_reader"), "segment_loader")
    assert numbers(database) == [1]


@newest
def test_export(database: Database) -> None:
    lines = ['{"é": "\\u0001\t"', "\0", "\udcff", "x" * 70_000]
    data = "\n".join(lines).encode(errors="surrogateescape")
    load(database, "--source", "here", "--lanes", "1", "--max-line", "66KiB", input=data)
    found = export(database)
    assert [reject["number"] for reject in found] == [1, 2, 3, 4]
    at = datetime.fromisoformat(str(found[0].pop("rejected_at")))
    assert abs((datetime.now(UTC) - at).total_seconds()) < 120
    reason = str(found[0].pop("reason"))
    assert reason.startswith("the line is not JSON")
    assert found[0] == {
        "number": 1, "source": "here", "position": 0, "length": len(lines[0].encode()), "code": "invalid_json", "line": lines[0]
    }  # fmt: skip
    assert found[1]["line"] == "\0"
    assert base64.b64decode(str(found[2]["base64"])) == b"\xff"
    assert "line" not in found[2]
    assert (found[3]["line"], found[3]["length"]) == ("x" * 65_536, 70_000)
    assert found[3]["sha256"] == hashlib.sha256(b"x" * 70_000).hexdigest()


@newest
def test_export_of_a_selection(database: Database) -> None:
    load(database, "--source", "a", "--lanes", "1", input="{\n[]\n{}\n")
    load(database, "--source", "b", input="{\n")
    assert [reject["number"] for reject in export(database, "--code", "invalid_json", "--source", "a")] == [1, 2]
    assert [reject["number"] for reject in export(database, "4", "3")] == [3, 4]
    assert export(database, "--source", "c") == []
    assert_one_sentence(database.loader("rejects", "export", "5"), "Not in quarantine", ": 5; ")


@newest
def test_pages_are_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """By lines and by bytes; rejects that come meanwhile are for the next time."""
    insert = "insert into segment_rejects (source, position, bytes, length, code, reason) "
    execute(database, insert + "select 's', n, '', 0, 'c', 'r' from generate_series(1, 1500) n")
    execute(database, insert + "select 's', n, repeat('x', 3000000)::bytea, 3000000, 'c', 'r' from generate_series(1, 7) n")
    for name, value in database.server.environment(database.name).items():
        monkeypatch.setenv(name, value)
    session = Session(0, Event())
    found = []
    for page in islice(pages(session, Selection()), 9):
        found.append(len(page))
        execute(database, insert + "values ('s', 0, '', 0, 'c', 'r')")
    session.close()
    assert found == [1000, 503, 3, 1]
