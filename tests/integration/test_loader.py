"""The loader's stream: sources, options, lines, rejects, and how it ends when something is wrong with what it was told.

What only the client decides is tested with the newest server alone.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import pytest
from click.testing import CliRunner

from loader.cli import main
from loader.database import runs
from loader.faults import CODES
from tests.conftest import LOADER, ROOT, Database
from tests.events import TODAY, check_against_fold, document, make, ndjson
from tests.loading import (
    BAD,
    assert_one_sentence,
    check_exactly_once,
    documents,
    events,
    execute,
    finish,
    load,
    mostly_newest,
    newest,
    rejects,
    run,
    running,
    sample,
    send,
    spoil,
    wait_until,
    write,
)


@newest
def test_files_one_after_the_other(database: Database, tmp_path: Path) -> None:
    first, second = sample(50, 5, seed=1), sample(70, 5, seed=2)
    paths = [write(tmp_path / "first", documents(first)), write(tmp_path / "second", documents(second))]
    assert load(database, *paths) == (120, 0, 0)
    assert database.fetch("select source, loaded from segment_sources order by source") == [
        (str(paths[0]), 50),
        (str(paths[1]), 70),
    ]
    check_against_fold(database)


@newest
@pytest.mark.parametrize("arguments", [(), ("-",), ("/dev/fd/0",), ("-", "--source", "mine")], ids="/".join)
def test_a_pipe(database: Database, arguments: tuple[str, ...]) -> None:
    good = sample(50, 5)
    assert load(database, *arguments, input=ndjson(good) + "bad\n") == (50, 0, 1)
    name = arguments[-1] if arguments else "-"
    assert rejects(database) == [(name, len(ndjson(good)), b"bad", "invalid_json")]
    assert database.fetch("select source, loaded, duplicates, rejected from segment_sources") == [(name, 50, 0, 1)]
    assert load(database, *arguments, input=ndjson(good)) == (0, 50, 0)
    check_against_fold(database)


@mostly_newest("lanes, batch_size, users", {"1-1-3": (1, 1, 3), "2-40-3": (2, 40, 3), "16-7-200": (16, 7, 200)})
def test_lanes_and_batches_change_nothing(database: Database, tmp_path: Path, lanes: int, batch_size: int, users: int) -> None:
    good = sample(150, users)
    path = write(tmp_path / "events", spoil(documents(good), 29))
    assert load(database, "--lanes", str(lanes), "--batch-size", str(batch_size), path) == (150, 0, 5)
    check_exactly_once(database, path, good)
    assert database.fetch("select max(events) <= %s from segment_batches", batch_size) == [(True,)]


@newest
@pytest.mark.parametrize(
    "options",
    [
        *(("--batch-size", size, "--lanes", lanes) for size, lanes in (("1", "2"), ("3", "1"), ("20", "3"))),
        ("--rate", "3000", "--lanes", "16"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_reject_is_passed_over(database: Database, tmp_path: Path, options: tuple[str, ...]) -> None:
    """However many come after one another, wherever their batches end."""
    good = sample(400, 50)
    chance = random.Random(1)
    runs = (
        [document(event), *(f"{{{number}.{bad}" for bad in range(chance.choice([0, 0, 1, 7])))]
        for number, event in enumerate(good)
    )
    path = write(tmp_path / "events", ["[]", *chain.from_iterable(runs), *"1234567"])
    loaded, duplicates, rejected = load(database, *options, path)
    assert (loaded, duplicates) == (400, 0)
    assert rejected > 400
    check_exactly_once(database, path, good)


@newest
def test_the_rate_is_kept(database: Database, tmp_path: Path) -> None:
    """The time it takes has a floor whatever the machine does: the first burst is due at once, the last at its time."""
    path = write(tmp_path / "events", documents(sample(100, 50)))
    done = run(database, "--rate", "200", "--json", path)
    assert json.loads(done.stdout)["loaded"] == 100
    assert json.loads(done.stdout)["seconds"] >= 90 / 200
    check_against_fold(database)


@newest
def test_a_slow_stream_shows_up_while_it_is_open(database: Database) -> None:
    with running(database) as process:
        for number in range(3):
            send(process, document(make(number, f"u{number}", seconds=number)) + "\n")
            wait_until(lambda number=number: events(database) == number + 1)  # type: ignore[misc]
        send(process, document(make(9, "without a line end")))
        out, _ = finish(process)
    assert json.loads(out)["loaded"] == 4
    check_against_fold(database)


@newest
def test_a_batch_closes_at_8_mib(database: Database) -> None:
    value = "x" * 200_000
    lines = ndjson(make(number, f"u{number}", value=value) for number in range(45))
    with running(database, "--linger", "1h", "--lanes", "1") as process:
        send(process, lines)
        wait_until(lambda: events(database) == 42)  # 42 of them are the first to exceed 8 MiB
        finish(process)
    assert database.fetch("select events from segment_batches order by arrival") == [(42,), (3,)]


@newest
def test_line_ends_and_blank_lines(database: Database, tmp_path: Path) -> None:
    one, two, three, bad = (document(make(number, seconds=number)) for number in range(4))
    bad = bad[:-1]
    path = tmp_path / "events"
    path.write_bytes(f"\n{one}\r\n \t \n\r\n{bad}\r\n{two}\n\n{three}".encode())
    assert load(database, path) == (3, 0, 1)
    position = len(f"\n{one}\r\n \t \n\r\n")
    assert rejects(database) == [(str(path), position, bad.encode(), "invalid_json")]
    assert "loaded already" in run(database, path).stderr
    check_against_fold(database)


@newest
@pytest.mark.parametrize("options", [(), ("--rate", "1000")], ids=["", "rate"])
def test_nothing_but_blank_lines(database: Database, tmp_path: Path, options: tuple[str, ...]) -> None:
    path = write(tmp_path / "blank", ["", " ", "\r"])
    assert load(database, *options, path) == (0, 0, 0)
    assert "loaded already" in run(database, *options, path).stderr
    assert load(database, *options, input="\n \n\n") == (0, 0, 0)


@newest
def test_max_line(database: Database, tmp_path: Path) -> None:
    fits, long = document(make(1, value="x" * 500)), document(make(2, value="y" * 501))
    huge = "é" * 100_000
    path = write(tmp_path / "events", [long, fits, huge, fits])
    assert load(database, "--max-line", str(len(fits)), path) == (1, 1, 2)
    found = database.fetch("select bytes, length, sha256, code from segment_rejects order by position")
    assert found[0] == (long.encode(), len(long), None, "too_long")
    data = huge.encode()
    assert found[1] == (data[: 64 * 1024], 200_000, hashlib.sha256(data).digest(), "too_long")


@newest
def test_max_future(database: Database) -> None:
    soon, later = (make(number, seconds=86_400 * days) for number, days in enumerate([1.9, 3.1]))
    assert load(database, "--max-future", "2d", input=ndjson([soon, later])) == (1, 0, 1)
    assert [row[3] for row in rejects(database)] == ["future"]
    assert load(database, "--max-future", "30d", input=ndjson([later])) == (1, 0, 0)
    assert load(database, input=ndjson([make(3, seconds=86_400 * 2.1)])) == (0, 0, 1)
    assert load(database, "--max-future", "9000000d", input=document(make(4)).replace(f"{TODAY:%Y-%m}", "9999-12")) == (1, 0, 0)


def test_expired(database: Database) -> None:
    execute(database, "update segment_settings set horizon = %s", TODAY)
    assert load(database, input=ndjson([make(1, seconds=-1), make(2)])) == (1, 0, 1)
    assert [row[3] for row in rejects(database)] == ["expired"]


def test_days_far_apart(database: Database) -> None:
    good = [make(number, seconds=-86_400 * days) for number, days in enumerate([0, 3, 4, 100, 399, 401, 9_000])]
    assert load(database, input=ndjson(good)) == (7, 0, 0)
    assert load(database, "--max-future", "1200d", input=ndjson([make(99, seconds=86_400 * 1100)])) == (1, 0, 0)
    check_against_fold(database)


def test_partitions_are_asked_for_in_runs_of_days() -> None:
    days = [TODAY.date() + timedelta(days=number) for number in (*range(1_100), 2_000, 3_000, 3_001)]
    found = [((last - first).days, first) for first, last in runs(map(str, days))]
    assert [length for length, _ in found] == [499, 499, 99, 0, 1]
    assert [start for _, start in found] == [days[0], days[500], days[1_000], days[1_100], days[1_101]]


@newest
def test_an_unknown_field_is_kept(database: Database) -> None:
    line = document(make(1))[:-1] + ', "a": {"b": 1.50}, "c": null}'
    assert load(database, input=line) == (1, 0, 0)
    assert database.fetch("select extra::text from segment_events") == [('{"a": {"b": 1.50}, "c": null}',)]


def test_the_sessions_own_settings_do_not_matter(database: Database) -> None:
    """What a role or the environment sets is not what the loader reads and writes by."""
    execute(database, f"alter database {database.name} set datestyle to 'German'")
    execute(database, f"alter database {database.name} set timezone to 'Asia/Tokyo'")
    execute(database, f"alter database {database.name} set default_transaction_isolation to 'serializable'")
    old = make(7, "ü☃", seconds=-86_400 * 5, value="☃")
    options = {"PGCLIENTENCODING": "LATIN1", "PGOPTIONS": "-c statement_timeout=100s"}
    assert load(database, input=ndjson([make(1, "ü☃"), old]) + "[]", **options) == (2, 0, 1)
    assert load(database, input=ndjson([make(1, "ü☃"), old]), **options) == (0, 2, 0)
    shown = database.loader("rejects", "show", "1", PGUSER="segment_reader", **options)
    assert f"rejected {datetime.now(UTC):%Y-%m-%d}" in shown.stderr
    execute(database, f"alter database {database.name} reset all")
    check_against_fold(database)


@newest
def test_rejects_are_listed_and_shown(database: Database) -> None:
    lines = "\n".join([*BAD, "\udcff", document(make(1))]).encode(errors="surrogateescape")
    load(database, "--source", "here", "--lanes", "1", input=lines)  # one lane numbers them in order
    listed = database.loader("rejects", "list", PGUSER="segment_reader").stdout.splitlines()
    assert len(listed) == len(BAD) + 1
    assert listed[-1].startswith("1  here:0  invalid_json  ")
    assert len(database.loader("rejects", "list", "--limit", "2").stdout.splitlines()) == 2
    shown = database.loader("rejects", "show", "5", PGUSER="segment_reader")
    assert shown.stdout == BAD[4] + "\n"
    assert f"here, byte {len(''.join(BAD[:4])) + 4}, {len(BAD[4])} bytes" in shown.stderr
    assert "duplicate_key: " in shown.stderr
    assert_one_sentence(database.loader("rejects", "show", "99"), "no reject 99")


@newest
def test_a_name_that_is_not_utf8(database: Database, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path / "x") + b"\xff"))
    path.write_text("bad\n" + document(make(1)))
    assert load(database, path) == (1, 0, 1)
    assert database.fetch("select source from segment_sources") == [(f"{tmp_path}/x\\xff",)]
    assert "loaded already" in run(database, path).stderr


@newest
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{}/missing"], ["/missing", "No such file"]),
        (["{}/good", "{}/missing"], ["/missing", "No such file"]),
        (["{}"], ["is a directory"]),
        (["{}/empty"], ["empty"]),
        (["{}/good", "{}/good", "--source", "x"], ["--source"]),
        (["{}/good", "--lanes", "17"], ["--lanes"]),
        (["{}/good", "--batch-size", "0"], ["--batch-size"]),
        (["{}/good", "--rate", "0"], ["--rate"]),
        (["{}/good", "--rate", "nan"], ["--rate"]),
        (["{}/good", "--rate", "inf"], ["--rate"]),
        (["{}/good", "--linger", "soon"], ["--linger"]),
        (["{}/good", "--linger", "nan"], ["--linger"]),
        (["{}/good", "--max-future", "-1d"], ["--max-future"]),
        (["{}/good", "--max-line", "1GB"], ["--max-line"]),
        (["{}/good", "--max-line", "17MiB"], ["--max-line", "16MiB"]),
        (["{}/good", "--retry-for", "1w"], ["--retry-for"]),
    ],
    ids=lambda value: " ".join(value).replace("{}/", "").replace("{}", "directory"),
)
def test_bad_arguments(database: Database, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    write(tmp_path / "good", [document(make(1))])
    (tmp_path / "empty").touch()
    done = run(database, *(argument.replace("{}", str(tmp_path)) for argument in arguments))
    assert_one_sentence(done, *words)
    assert events(database) == 0


@newest
def test_empty_files_among_others(database: Database, tmp_path: Path) -> None:
    """An hour without events keeps no other from being loaded."""
    for number in range(3):
        write(tmp_path / f"{number}.ndjson", [document(make(number))] * (number != 1))
    done = run(database, tmp_path / "*.ndjson")
    assert (done.returncode, events(database)) == (0, 2)
    assert f"{tmp_path}/1.ndjson is empty" in done.stderr.splitlines()


@newest
def test_a_name_that_a_terminal_would_obey(database: Database, tmp_path: Path) -> None:
    names = [write(tmp_path / "\x1b[31mred\u202e\n", [document(make(1))]), tmp_path / "\x1b[2J"]
    names[1].touch()
    done = run(database, *names)
    assert (done.returncode, events(database)) == (0, 1)
    assert f"loading {tmp_path}/\\x1b[31mred\\u202e\\n" in done.stderr.splitlines()
    assert f"{tmp_path}/\\x1b[2J is empty" in done.stderr.splitlines()


@newest
@pytest.mark.parametrize("closed", [False, True], ids=["full", "closed"])
@pytest.mark.parametrize(
    "arguments", [["stream", "--json"], ["status"], ["validate"], ["generate", "--count", "9"], ["rejects", "list"],
                  ["rejects", "show", "1"], ["rejects", "export"], ["rejects", "retry"]], ids="-".join
)  # fmt: skip
def test_output_that_cannot_be_written(database: Database, arguments: list[str], closed: bool) -> None:
    """On a full disk that is a sentence; what had to be done is done. Nobody reads what is closed."""
    load(database, input="bad\n")
    command = ["sh", "-c", f'exec "$@" {">&-" if closed else "> /dev/full"}', "sh", *LOADER, *arguments]
    environment = database.environment | {"PGUSER": "segment_loader"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, input=ndjson([make(1)]), capture_output=True, text=True, check=False
    )
    if closed and arguments[0] != "generate" and arguments != ["rejects", "export"]:
        assert done.returncode == 0, done.stderr
    else:
        assert_one_sentence(done, "Standard output cannot be written", "stays loaded")
    assert events(database) == (arguments[0] == "stream")


@newest
def test_stdin_that_cannot_be_read(database: Database) -> None:
    done = database.run("/bin/sh", "-c", '"$0" -m loader stream <&-', sys.executable)
    assert_one_sentence(done, "cannot be read")


@newest
def test_an_unmigrated_database(empty_database: Database) -> None:
    assert_one_sentence(run(empty_database, PGUSER="postgres", input=ndjson([make(1)])), "alembic upgrade head")


@newest
def test_a_database_that_is_too_old(database: Database) -> None:
    execute(database, "update segment_alembic_version set version_num = '0000'")
    assert_one_sentence(run(database, input=ndjson([make(1)])), "alembic upgrade head")
    assert events(database) == 0


@newest
@pytest.mark.parametrize("role", ["segment_reader", "segment_owner", "nobody at all"])
def test_a_role_that_may_not(database: Database, role: str) -> None:
    assert_one_sentence(run(database, PGUSER=role, input=ndjson([make(1)])))
    assert events(database) == 0


@newest
@pytest.mark.parametrize(
    "where", [{"PGHOST": "/nowhere"}, {"PGPORT": "none"}, {"PGSERVICE": "none"}, {"PGDATABASE": "none"}], ids=str
)
def test_no_database(database: Database, where: dict[str, str]) -> None:
    assert_one_sentence(run(database, input=ndjson([make(1)]), **where), "PGHOST")


@newest
def test_a_stream_with_everything_that_goes_wrong(database: Database, tmp_path: Path) -> None:
    """As many duplicates and rejects as were generated, for every reason that there is without a horizon."""
    shares = ("--bots", "0.2", "--late", "0.2", "--values", "0.3", "--duplicates", "0.2", "--invalid", "0.2")
    made = CliRunner().invoke(main, ["generate", "--count", "1000", "--seed", "7", "--users", "30", "--segments", "9", *shares])
    path = tmp_path / "events"
    path.write_bytes(made.stdout_bytes)
    lines = [line for line in made.stdout_bytes.splitlines() if b'"other"' not in line]  # that is how a conflict is made
    again = len(lines) - len(set(lines))
    loaded, duplicates, rejected = load(database, path)
    assert (loaded + duplicates + rejected, duplicates) == (1000, again)
    assert 150 < rejected < 250
    assert {code for *_, code in rejects(database)} >= set(CODES)
    assert database.fetch("select count(*) > 50 from segment_outcomes where outcome = 'late'") == [(True,)]
    check_against_fold(database)
