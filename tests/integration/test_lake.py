"""Exporting: each event once, in its file, while loaders run and wherever the export ends."""

import json
import random
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

import lake.held
from lake import cut
from lake.cli import main
from lake.ledger import Position
from lake.store import Folder
from tests.conftest import Database
from tests.events import TODAY, document, make, ndjson
from tests.exporting import PAST, check_equal, export, exported, files, here, recorded, run, running
from tests.loading import assert_one_sentence, documents, finish, load, newest, sample, wait_until, write
from tests.loading import running as loading

ODD = [
    {"_meta": {"arrival": 1, "seq": 2, "event": None}, "n": 1},
    {"_meta": None},
    {"name": {"a\t\n\u2028\x01": ["\\", '"', "\x7f", "é", "🙂", {}]}, "": []},
    {"segment": {"vendor": 3, "name": "odd", "more": {"vendor": 1}, "list": [1, [2, {}]]}},
]
INSERT = b"""
insert into segment_events (user_id, occurred_at, event_id, vendor, segment_name) values ('o', now(), gen_random_uuid(), 7, 's')
"""
EXACT = '"n": 12345678901234567890.123456789012345678901, "small": 1e-30, "large": 1e300, "zero": -0.00, "ten": 10.0'


def odd_lines() -> list[str]:
    """Events with fields of their own and text that needs care."""
    lines = [json.dumps(json.loads(document(make(number, f"odd {number}"))) | more) for number, more in enumerate(ODD)]
    lines.append(f"{document(make(90))[:-1]}, {EXACT}}}")
    lines.append(f'{document(make(91))[:-1]}, "_meta": {{{EXACT}}}}}')
    for number, text in enumerate(['"', "\\", "\x01\x02", "\r\n\t", "é", "🙂" * 8, "\\.", "a,b", "\u2028", "{}", "null", ","]):
        lines.append(document(make(100 + number, text, text, value=text)))
    lines.append(document(make(120, "x" * 256, value="")))
    return [*lines, document(make(121, seconds=0.5)), document(make(122, seconds=86_399.999999, remove=True))]


def test_each_event_once_in_its_file(database: Database, tmp_path: Path) -> None:
    """And once more: nothing; and then what is new, in new files."""
    lines = odd_lines()
    assert load(database, input="\n".join([*lines, *documents(sample(400, 30))])) == (len(lines) + 400, 0, 0)
    assert "events in 2 files" in export(database, tmp_path)
    check_equal(database, tmp_path)
    before = {file: file.read_bytes() for file in files(tmp_path)}
    assert "0 events in 0 files" in export(database, tmp_path)
    load(database, input=ndjson([make(200, vendor) for vendor in "ab"]))
    export(database, tmp_path)
    check_equal(database, tmp_path)
    assert {file: file.read_bytes() for file in before} == before
    assert len(files(tmp_path)) == 3
    done = run(database, "verify", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 files have" in done.stdout


@newest
def test_a_line_is_the_event_as_its_contract_has_it(database: Database, tmp_path: Path) -> None:
    line = document(make(1, seconds=1.5, value="v"))
    load(database, input=f'{line[:-1]}, "x": 1.50, "y": null, "_meta": 7}}'.replace('"name": "s"', '"name": "s", "a": {}'))
    load(database, input=ndjson([make(2, remove=True)]))
    export(database, tmp_path)
    done = database.run("bash", "-c", f"zcat '{files(tmp_path)[0]}'")
    lines = [
        '{"event":"00000000-0000-0000-0000-000000000001","timestamp":"DAYT00:00:01.5Z","user":"u",'
        '"segment":{"vendor":1,"name":"s","a": {}},"value":"v","x": 1.50, "y": null,"_meta":{"arrival":1,"seq":1,"event":7}}',
        '{"event":"00000000-0000-0000-0000-000000000002","timestamp":"DAYT00:00:00Z","user":"u",'
        '"segment":{"vendor":1,"name":"s"},"remove":true,"_meta":{"arrival":2,"seq":2}}',
    ]
    assert done.stdout.splitlines() == [line.replace("DAY", f"{TODAY:%Y-%m-%d}") for line in lines]


@newest
def test_parquet_is_read_by_others(database: Database, tmp_path: Path) -> None:
    """Several destinations side by side, each with its format; the same bytes every time."""
    lines = odd_lines()
    load(database, input="\n".join([*lines, *documents(sample(50, 9))]))
    for name in ("a", "b"):
        export(database, tmp_path / name, "--format", "parquet")
    export(database, tmp_path / "lines")
    a, b = ([file.read_bytes() for file in files(tmp_path / name)] for name in ("a", "b"))
    assert a == b
    query = """
        select event, "timestamp" at time zone 'UTC', "user", segment.vendor, segment.name, value, remove, extra, arrival, seq,
          vendor = segment.vendor and strftime(utc_date::date, '%Y') >= '2021' and utc_hour::int between 0 and 23
        from read_parquet($files, hive_partitioning = true) order by seq
    """
    with duckdb.connect() as connection:
        found = connection.execute(query, {"files": f"{tmp_path}/a/**/*.parquet"}).fetchall()
    expected = [(*row[:7], row[7], *row[8:10]) for row in recorded(database)]
    read = [(row[0], make(0).occurred_at.__class__.fromisoformat(f"{row[1]}+00:00"), *row[2:7]) for row in found]
    assert read == [row[:7] for row in expected]
    assert [row[8:10] for row in found] == [row[8:10] for row in expected]
    assert [row[7] for row in found] == [
        text for (text,) in database.fetch("select extra::text from segment_events order by seq")
    ]
    assert all(row[10] for row in found)
    assert exported(tmp_path / "lines") == recorded(database)


def test_an_older_transaction_holds_back_what_is_younger(
    own_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is older than it goes; then the export says who it is, or goes on when it ends. On a server without other tests'."""
    database = own_database
    load(database, input=ndjson([make(1)]))
    for name, value in database.server.environment(database.name).items():
        monkeypatch.setenv(name, value)
    with database.connect() as older:
        older.execute(INSERT)
        load(database, input=ndjson([make(2)]))
        monkeypatch.setattr(lake.held, "OLDER_SECONDS", 0.3)
        refused = CliRunner().invoke(main, ["export", str(tmp_path)])
        assert refused.exit_code == 1
        assert f"process {older.info.backend_pid}" in refused.stderr
        assert [row[0] for row in exported(tmp_path)] == [make(1).event_id]
        with running(database, "export", tmp_path) as process:
            wait_until(
                lambda: database.fetch(
                    "select from pg_stat_activity where application_name = 'pgsegments lake' and datname = current_database()"
                )
            )
            older.commit()
            finish(process)
    check_equal(database, tmp_path)


@newest
def test_an_older_transaction_that_adds_nothing_is_not_waited_for(database: Database, tmp_path: Path) -> None:
    load(database, input=ndjson([make(1)]))
    with database.connect() as younger:
        younger.execute("select pg_current_xact_id()")
        export(database, tmp_path)
    check_equal(database, tmp_path)


@newest
def test_killed_anywhere_while_loaders_run(database: Database, tmp_path: Path) -> None:
    """Loaders share users, transactions overlap, the export is killed -9 at random moments: the lake is the table in the end."""
    seed = random.SystemRandom().randrange(1_000)
    print("seed", seed)
    chance = random.Random(seed)
    paths = [write(tmp_path / str(number), documents(sample(20_000, 20, seed + number))) for number in range(2)]
    destination = tmp_path / "lake"
    with (
        loading(database, "--batch-size", "20", "--rate", "300", paths[0]) as one,
        loading(database, "--batch-size", "7", "--rate", "200", paths[1]) as two,
    ):
        for _ in range(3):
            before = fragments(database)
            with running(database, "export", destination, "--every", "10ms", "--linger", "0s") as process:
                wait_until(lambda before=before: fragments(database) > before)  # type: ignore[misc]
                with suppress(subprocess.TimeoutExpired):
                    process.wait(chance.uniform(0, 0.2))
        for loader in (one, two):
            loader.send_signal(signal.SIGTERM)
            finish(loader)
    export(database, destination)
    check_equal(database, destination)
    assert run(database, "verify", destination).returncode == 0


def fragments(database: Database) -> int:
    """How many files are recorded."""
    return int(str(database.fetch("select count(*) from lake_fragments")[0][0]))


class Crash(BaseException):
    """Ends the export as kill -9 would, at a place of the test's choice."""


@newest
@pytest.mark.parametrize(("placed", "lost"), [(0, False), (1, False), (3, False), (1, True), (3, True)])
def test_ended_between_recording_and_marking(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, placed: int, lost: bool
) -> None:
    """After so many files were put in place, of three; what was recorded and is not there, or no more, is written again."""
    for name, value in database.server.environment(database.name).items():
        monkeypatch.setenv(name, value)
    load(
        database, input="\n".join(document(make(n, f"u{n}")).replace('"vendor": 1', f'"vendor": {n % 3 + 1}') for n in range(30))
    )
    place = Folder.place

    def crashing(store: Folder, written: list[object]) -> None:
        place(store, written[:placed])  # type: ignore[arg-type]
        raise Crash

    monkeypatch.setattr(Folder, "place", crashing)
    with pytest.raises(Crash):
        CliRunner().invoke(main, ["export", str(tmp_path)])
    monkeypatch.setattr(Folder, "place", place)
    assert len(files(tmp_path)) == placed
    if lost:
        for file in files(tmp_path):
            file.unlink()
    load(database, input=ndjson([make(100)]))
    assert here(database, "verify", tmp_path).returncode == 0, "what is not marked is not expected yet"
    export(database, tmp_path)
    check_equal(database, tmp_path)
    assert len(files(tmp_path)) == 4, "what came meanwhile is not among what was recorded"


@newest
def test_a_library_whose_bytes_differ(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had put in place but not marked goes; no event is there twice."""
    for name, value in database.server.environment(database.name).items():
        monkeypatch.setenv(name, value)
    load(database, input=ndjson(sample(30, 3)))
    with monkeypatch.context() as patch:
        patch.setattr("lake.export.ledger.advance", lambda *_: (_ for _ in ()).throw(Crash))
        patch.setattr("lake.fragment.LEVEL", 3)
        with pytest.raises(Crash):
            CliRunner().invoke(main, ["export", str(tmp_path)])
    before = files(tmp_path)
    export(database, tmp_path)
    check_equal(database, tmp_path)
    assert set(before).isdisjoint(files(tmp_path))


@newest
def test_two_exports_to_one_destination(database: Database, tmp_path: Path) -> None:
    load(database, input=ndjson([make(1)]))
    with running(database, "export", tmp_path, "--every", "50ms") as process:
        wait_until(lambda: database.fetch("select from lake_destinations"))
        assert_one_sentence(run(database, "export", tmp_path), "Another lake export", "process")
        export(database, tmp_path.with_name("other"))
        process.send_signal(signal.SIGTERM)
        finish(process)


@newest
def test_a_slow_stream_gathers(database: Database, tmp_path: Path) -> None:
    """Its events wait for a file of some size or a certain age, with no transaction open; a signal ends the wait."""
    load(database, input=ndjson([make(1)]))
    with running(database, "export", tmp_path, "--every", "10ms") as process:
        wait_until(lambda: database.fetch("select from lake_destinations"))
        load(database, input=ndjson([make(2)]))
        assert (
            database.fetch(
                "select from pg_stat_activity where application_name = 'pgsegments lake' and xact_start < now() - interval '1 s'"
            )
            == []
        )
        process.send_signal(signal.SIGTERM)
        finish(process)
    assert files(tmp_path) == []
    with running(database, "export", tmp_path, "--every", "10ms", "--linger", "1s") as process:
        wait_until(lambda: len(files(tmp_path)) == 1)
        process.send_signal(signal.SIGTERM)
        finish(process)
    check_equal(database, tmp_path)


@newest
def test_the_order_of_a_cut_is_by_vendor_batch_and_seq(database: Database) -> None:
    """Though it is mostly by one number: whatever the vendors, the number of batches, and how long one was in the making."""
    chance = random.Random(1)
    rows = []
    for rank in (1, 2, cut.MOST_BATCHES):
        first = chance.randrange(1 << 40)
        for vendor in (0, 1, 1 << 13, (1 << 31) - 1):
            rows += [(vendor, rank, first + after, first) for after in (0, 1, (1 << 18) - 2, (1 << 18) - 1, 1 << 18, 1 << 33)]
    chance.shuffle(rows)
    found = database.fetch(
        f"""
        select e.vendor, b.rank, e.seq
        from unnest(%s::integer[], %s::bigint[], %s::bigint[], %s::bigint[]) e (vendor, rank, seq, first_seq)
        cross join lateral (select e.rank, e.first_seq) b
        order by {cut.ORDER}
        """,
        *map(list, zip(*rows, strict=True)),
    )
    assert found == sorted(row[:3] for row in rows)


@newest
def test_many_events_are_due_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "LEAST_ROWS", 20)
    for number in range(4):
        load(database, input=ndjson(make(number * 10 + n, f"u{n}") for n in range(10)))
    wait_until(lambda: database.fetch(PAST) == [(True,)])
    with database.connect() as connection:
        batches = cut.safe(connection, Position(0, 0))
        assert cut.due(connection, batches, 600)
        assert not cut.due(connection, batches[:1], 600)
        assert not cut.due(connection, [], 0)
        monkeypatch.setattr(cut, "LEAST_ROWS", 100)
        assert not cut.due(connection, batches, 600)


@newest
def test_cuts_and_files_end_where_they_are_large_enough(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in database.server.environment(database.name).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cut, "MOST_EVENTS", 50)
    monkeypatch.setattr("lake.fragment.MOST_ROWS", 30)
    monkeypatch.setattr("lake.events.ROWS", 10)
    load(database, "--batch-size", "40", "--lanes", "1", input=ndjson(sample(200, 9)))
    done = CliRunner().invoke(main, ["export", str(tmp_path)])
    assert done.exit_code == 0, done.output
    check_equal(database, tmp_path)
    rows = [int(str(rows)) for (rows,) in database.fetch("select rows from lake_fragments")]
    assert sorted(rows) == sorted([31, 39, 10, 31, 39, 10, 31, 9]), "a batch comes as 1, 10, 10, 10 and 9 rows, the next by tens"


@newest
def test_the_position_is_not_overtaken_by_a_batch_with_an_older_id(database: Database, tmp_path: Path) -> None:
    """A batch whose id and transaction are older than those of batches that were exported before it committed."""
    with database.connect() as older:
        older.execute(INSERT)
        for number in range(3):
            load(database, input=ndjson([make(number)]))
        with running(database, "export", tmp_path, "--every", "10ms", "--linger", "0s") as process:
            wait_until(lambda: database.fetch("select from lake_destinations"))
            older.commit()
            wait_until(lambda: database.fetch("select sum(rows) from lake_fragments where written_at is not null") == [(4,)])
            process.send_signal(signal.SIGTERM)
            finish(process)
    check_equal(database, tmp_path)
