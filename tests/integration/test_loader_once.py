"""Exactly once: every line of a source takes effect one time, however often it is delivered and wherever the loader ends.

What only the client decides is tested with the newest server alone.
"""

import json
import random
import re
import signal
from pathlib import Path
from zlib import crc32

import pytest

from loader.source import open_source
from tests.conftest import Database
from tests.events import COPY, MEMBERSHIPS, OUTCOMES, TODAY, check_against_fold, document, make, ndjson, values
from tests.loading import (
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
    wait_for_count,
    wait_until,
    write,
)

TOO_LARGE = '{"n": 1e200000, "trap": "segment_reduce() \\nsegment_events_end_batch()"}'
"""JSON that the contract allows and numeric does not hold; its text is that of an error of the reducer."""


WAITING = "select from pg_locks join pg_stat_activity using (pid) where not granted and datname = current_database()"
COLUMNS = "user_id, occurred_at, event_id, vendor, segment_name, value, remove"


def with_extra(line: str, extra: str) -> str:
    """The line with an unknown field."""
    return f'{line[:-1]}, "extra": {extra}}}'


@newest
def test_a_finished_file_loads_nothing(database: Database, tmp_path: Path) -> None:
    good = sample(60, 9)
    path = write(tmp_path / "events", spoil(documents(good), 13))
    assert load(database, path) == (60, 0, 4)
    assert load(database, path) == (0, 0, 0)
    assert "loaded already, nothing to do" in run(database, path).stderr
    check_exactly_once(database, path, good)


@newest
@pytest.mark.parametrize("line_end", ["\n", ""], ids=["whole", "without the last line end"])
def test_a_file_that_has_grown(database: Database, tmp_path: Path, line_end: str) -> None:
    good = sample(90, 9)
    path = tmp_path / "events"
    path.write_text("\n".join(documents(good[:40])) + line_end)
    assert load(database, path) == (40, 0, 0)
    with path.open("a") as file:
        file.write(("" if line_end else "\n") + "\n".join(documents(good[40:])) + "\n")
    assert load(database, "--lanes", "5", path) == (50, 0, 0)
    check_exactly_once(database, path, good)


@newest
def test_a_file_replaced_by_another(database: Database, tmp_path: Path) -> None:
    path = write(tmp_path / "events", documents(sample(60, 9, seed=1)))
    assert load(database, path) == (60, 0, 0)
    other = documents(sample(80, 9, seed=2))
    write(path, other)
    done = run(database, path)
    assert "was replaced by another file" in done.stderr
    assert database.fetch("select loaded from segment_sources") == [(80,)]
    write(path, other[:30])
    assert "was replaced by another file" in run(database, path).stderr
    assert database.fetch("select loaded, duplicates from segment_sources") == [(0, 30)]
    assert events(database) == 140
    check_against_fold(database)


@newest
def test_the_same_events_from_elsewhere_are_duplicates(database: Database, tmp_path: Path) -> None:
    good = sample(200, 9)
    first = write(tmp_path / "first", documents(good))
    second = write(tmp_path / "second", reversed(documents(good)))
    assert load(database, first) == (200, 0, 0)
    before = [database.fetch(query) for query in (MEMBERSHIPS, OUTCOMES)]
    assert load(database, "--batch-size", "40", "--lanes", "3", second) == (0, 200, 0)
    assert load(database, "--batch-size", "1", input=ndjson(good[:20])) == (0, 20, 0)
    assert load(database, "--source", "renamed", first) == (0, 200, 0)
    assert [database.fetch(query) for query in (MEMBERSHIPS, OUTCOMES)] == before
    check_against_fold(database)


@mostly_newest("batch_size", {"1": ("1",), "30000": ("30000",)})
def test_duplicates_among_new_events(database: Database, batch_size: str) -> None:
    """Within a batch and across; the stream goes on in its order after them."""
    good = sample(60, 4)
    mixed = [event for number, event in enumerate(good) for event in (event, good[number // 2], event)]
    assert load(database, "--batch-size", batch_size, input=ndjson(mixed)) == (60, 120, 0)
    check_against_fold(database)
    once = database.fetch(MEMBERSHIPS)
    database.fetch("select segment_reset()")
    load(database, input=ndjson(good))
    assert database.fetch(MEMBERSHIPS) == once


@pytest.mark.parametrize("batch_size", ["1", "30000"])
def test_conflicts(database: Database, batch_size: str) -> None:
    line = with_extra(document(make(1, value="v")), "1.0")
    same = [line.replace("1.0", "1.00"), line.replace(" ", ""), line.replace("Z", "+00:00"), line.replace(": ", ":\t")]
    other = [
        line.replace("1.0", "1.01"),
        line.replace("1.0", "null"),
        document(make(1, value="v")),
        with_extra(document(make(1, value="")), "1.0"),
        with_extra(document(make(1)), "1.0"),
        with_extra(document(make(1, remove=True)), "1.0"),
        with_extra(document(make(1, segment="S", value="v")), "1.0"),
        line.replace('"vendor": 1', '"vendor": 2'),
        line.replace('"vendor": 1', '"vendor": 1, "more": 1'),
    ]
    fine = [document(make(2, "other user")), document(make(1, "other user")), document(make(1, seconds=1))]
    lines = [line, *other, *same, *fine]
    assert load(database, "--batch-size", batch_size, input="\n".join(lines)) == (4, 4, len(other))
    assert [row[2] for row in rejects(database)] == list(map(str.encode, other))
    assert {row[3] for row in rejects(database)} == {"conflict"}
    check_against_fold(database)


def test_an_event_added_by_plain_sql_is_a_duplicate(database: Database) -> None:
    with database.connect() as connection, connection.cursor() as cursor, cursor.copy(COPY) as rows:
        rows.write_row(values(make(1, value="a\tb\\")))
    assert load(database, input=ndjson([make(1, value="a\tb\\"), make(2)])) == (1, 1, 0)
    check_against_fold(database)


@mostly_newest(
    "batch_size, again",
    {"1": ("1", False), "30000": ("30000", False), "1-with duplicates": ("1", True), "30000-with duplicates": ("30000", True)},
)
def test_rows_that_postgresql_refuses(database: Database, tmp_path: Path, batch_size: str, again: bool) -> None:
    """They become rejects, the rest is loaded; with events in the batch that are there already, too."""
    good = sample(40, 9)
    if again:
        load(database, input=ndjson(good[::2]))
    lines = documents(good)
    for number, at in enumerate((0, 10, 11, 12, 30, 45)):
        lines.insert(at, with_extra(document(make(10_000 + number, f"user-{number}")), TOO_LARGE))
    path = write(tmp_path / "events", lines)
    assert load(database, "--batch-size", batch_size, path) == ((20, 20, 6) if again else (40, 0, 6))
    found = rejects(database)
    assert [row[3] for row in found] == ["refused"] * 6
    assert [row[2] for row in found] == list(map(str.encode, [line for line in lines if "trap" in line]))
    assert "loaded already" in run(database, path).stderr
    check_against_fold(database)


@newest
def test_an_error_of_the_reducer_is_no_fault_of_a_row(database: Database, tmp_path: Path) -> None:
    execute(database, "alter table segment_memberships add constraint broken check (user_id <> 'u3')")
    path = write(tmp_path / "events", documents(make(number, f"u{number}") for number in range(9)))
    assert_one_sentence(run(database, "--lanes", "1", path), "broken")
    assert (events(database), rejects(database)) == (0, [])
    execute(database, "alter table segment_memberships drop constraint broken")
    assert load(database, path) == (9, 0, 0)


def test_partitions_dropped_while_loading(database: Database) -> None:
    """Those of outcomes, and that of a day that the loader made: it makes them again, also where a row is refused."""
    yesterday = make(1, seconds=-86_400)
    with running(database) as process:
        send(process, ndjson([yesterday]))
        wait_until(lambda: events(database) == 1)
        day = f"{yesterday.occurred_at:%Y%m%d}"
        execute(database, f"drop table segment_outcomes_{TODAY:%Y%m%d}, segment_events_{day}")
        refused = with_extra(document(make(2)), TOO_LARGE)
        send(process, f"{refused}\n" + ndjson([make(3, "v", seconds=-86_400), make(4)]))
        wait_until(lambda: events(database) == 2)
        out, _ = finish(process)
    assert json.loads(out)["rejected"] == 1
    assert [row[3] for row in rejects(database)] == ["refused"]


@mostly_newest("users, lanes", {"2": (2, ["1", "16", "3"]), "500": (500, ["5", "2", "16", "1"])})
def test_killed_anywhere_and_resumed(database: Database, tmp_path: Path, users: int, lanes: list[str]) -> None:
    """Kill -9 at random points; few users leave most lanes idle, many use every bucket."""
    seed = random.SystemRandom().randrange(1_000)
    print("seed", seed)
    chance = random.Random(seed)
    good = sample(3_000, users, seed)
    path = write(tmp_path / "events", spoil(documents(good), 37))
    reached = 0
    for number in lanes[:-1]:
        reached += chance.randrange(1, len(good) // len(lanes))
        with running(database, "--lanes", number, "--batch-size", "20", "--rate", "5000", path) as process:
            wait_for_count(database, reached, process)
    load(database, "--lanes", lanes[-1], "--batch-size", "20", path)
    check_exactly_once(database, path, good)


@newest
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_it_well(database: Database, tmp_path: Path, number: signal.Signals) -> None:
    good = sample(2_000, 50)
    path = write(tmp_path / "events", spoil(documents(good), 99))
    with running(database, "--rate", "400", "--batch-size", "100", path) as process:
        wait_for_count(database, 100, process)
        process.send_signal(number)
        out, err = finish(process)
    summary = json.loads(out)
    assert not summary["complete"]
    assert "stopped as asked" in err
    counted = database.fetch("select loaded, duplicates, rejected from segment_sources")
    assert counted == [(summary["loaded"], summary["duplicates"], summary["rejected"])]
    loaded, duplicates, _ = load(database, "--lanes", "3", path)
    assert (loaded + summary["loaded"], duplicates) == (2_000, 0)
    check_exactly_once(database, path, good)


@newest
@pytest.mark.parametrize("options", [("--linger", "1h"), ()], ids=["lingering", "at once"])
def test_a_signal_ends_a_pipe_that_stays_open(database: Database, options: tuple[str, ...]) -> None:
    with running(database, *options) as process:
        send(process, ndjson(sample(30, 9)))
        wait_until(lambda: database.fetch("select * from segment_sources"))
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=60)
    assert code == 0
    check_against_fold(database)


@newest
def test_two_loaders_on_one_source(database: Database, tmp_path: Path) -> None:
    good = sample(1_000, 50)
    path = write(tmp_path / "events", documents(good))
    with running(database, "--rate", "20", path) as process:
        wait_for_count(database, 1, process)
        refused = run(database, path)
        assert_one_sentence(refused, "Another loader is reading")
        pid = re.findall(r"process (\d+)", refused.stderr)
        assert database.fetch("select application_name from pg_stat_activity where pid = %s", *pid) == [("pgsegments loader",)]
        assert database.fetch("select count(*) from segment_sources") == [(1,)]
        process.send_signal(signal.SIGTERM)
        finish(process)
    load(database, path)
    check_exactly_once(database, path, good)


@newest
def test_a_source_is_free_while_the_next_is_loaded(database: Database, tmp_path: Path) -> None:
    first = write(tmp_path / "first", documents(sample(10, 5, seed=1)))
    with running(database, first, "-") as process:
        send(process, ndjson(sample(1, 1, seed=2)))
        wait_until(lambda: events(database) == 11)
        assert load(database, first) == (0, 0, 0)
        finish(process)


@newest
def test_positions_that_somebody_else_moved(database: Database, tmp_path: Path) -> None:
    """As another loader would, or a commit that arrived late: what is below them is done, and they never go back."""
    path = write(tmp_path / "events", spoil(documents(sample(300, 50)), 9))
    size = path.stat().st_size
    with running(database, "--rate", "200", "--lanes", "3", path) as process:
        wait_for_count(database, 1, process)
        execute(database, "update segment_source_positions set position = %s", size)
        before = events(database), len(rejects(database))
        finish(process)
    assert (events(database), len(rejects(database))) == before
    assert database.fetch("select distinct position from segment_source_positions") == [(size,)]
    check_against_fold(database)


@newest
def test_positions_never_go_back(database: Database, tmp_path: Path) -> None:
    """A lane goes on where the least of its buckets is; those further on stay where they are."""
    path = write(tmp_path / "events", documents(sample(100, 1)))
    assert load(database, path) == (100, 0, 0)
    empty = "(select min(bucket) from segment_source_positions where bucket <> %s)"
    bucket = crc32(b"user-0") & 15
    execute(database, f"update segment_source_positions set position = 0 where bucket = {empty}", bucket)
    with running(database, "--lanes", "1", "--rate", "20", path) as process:
        assert process.stderr
        assert "going on with" in process.stderr.readline().decode()
        process.terminate()
        finish(process)
    behind = database.fetch("select count(*) from segment_source_positions where position < %s", path.stat().st_size)
    assert behind == [(1,)]
    assert load(database, path) == (0, 0, 0)


@newest
def test_a_deadlock_is_tried_again(database: Database) -> None:
    """The loader adds a, then waits for our b; we wait for its a, and are the more patient."""
    execute(database, f"alter database {database.name} set deadlock_timeout to '3s'")
    one, two = make(1, "a"), make(2, "b")
    with database.connect() as connection, running(database, "--lanes", "1") as process:
        connection.execute("set deadlock_timeout to '100s'")
        insert = f"insert into segment_events ({COLUMNS}) values (%s, %s, %s, %s, %s, %s, %s)".encode()
        connection.execute(insert, values(two))
        send(process, ndjson([one, two, make(3, "c")]))
        wait_until(lambda: len(database.fetch(WAITING)) == 1)
        connection.execute(insert, values(one))
        connection.commit()
        out, _ = finish(process)
    assert (json.loads(out)["loaded"], json.loads(out)["duplicates"]) == (1, 2)
    check_against_fold(database)


@newest
def test_reset_while_a_file_is_loaded(database: Database, tmp_path: Path) -> None:
    path = write(tmp_path / "events", documents(sample(3_000, 50)))
    with running(database, "--rate", "100", path) as process:
        wait_for_count(database, 1, process)
        database.fetch("select segment_reset()")
        _, err = finish(process, 1)
    assert "Error: What was known of the source was removed" in err
    assert "Traceback" not in err
    assert events(database) == 0
    assert load(database, path) == (3_000, 0, 0)


@newest
def test_a_line_of_100_mb_takes_no_memory(database: Database) -> None:
    """Its peak is far below the line's length. (The newest server only: it hardly sees the line.)"""
    with running(database) as process:
        send(process, document(make(1)) + "\n")
        for _ in range(100):
            send(process, "x" * 1_000_000)
        peak = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        send(process, "\n" + document(make(2)))
        finish(process)
    assert int(peak[0]) < 100_000
    assert events(database) == 2
    assert database.fetch("select length, octet_length(bytes) from segment_rejects") == [(100_000_000, 65_536)]


def test_four_loaders_share_events_and_keys(database: Database, tmp_path: Path) -> None:
    """The same events in four orders: deadlocks are tried again, every event counts once."""
    execute(database, f"alter database {database.name} set deadlock_timeout to '10ms'")
    good = sample(600, 6)
    paths = []
    for number in range(4):
        shuffled = random.Random(number).sample(good, len(good))
        paths.append(write(tmp_path / str(number), documents(shuffled)))
    started = [running(database, "--batch-size", "40", "--lanes", "3", path) for path in paths]
    with started[0] as one, started[1] as two, started[2] as three, started[3] as four:
        with database.connect() as connection:
            connection.execute("lock table segment_events in exclusive mode")  # so that all begin at once
            wait_until(lambda: len(database.fetch(WAITING)) >= 4)
        summaries = [json.loads(finish(process)[0]) for process in (one, two, three, four)]
    assert sum(summary["loaded"] for summary in summaries) == 600
    assert sum(summary["duplicates"] for summary in summaries) == 1_800
    assert events(database) == 600
    check_against_fold(database)


@newest
@pytest.mark.parametrize("kept", [1, 60, -1])
@pytest.mark.parametrize("end", ["\n", "\r\n", "", "\nrubbish\n"])
def test_a_last_line_that_was_half_written_is_read_again(database: Database, tmp_path: Path, kept: int, end: str) -> None:
    path = tmp_path / "growing"
    first, last = document(make(1)), document(make(2, "v"))
    path.write_text(f"{first}\n{last[:kept]}")
    assert load(database, path) == (1, 0, 1)
    assert load(database, path) == (0, 0, 0)
    path.write_text(f"{first}\n{last}{end}")
    assert load(database, path) == (1, 0, int("rubbish" in end))
    assert load(database, path) == (0, 0, 0)
    assert database.fetch("select count(*) from segment_events") == [(2,)]


@newest
def test_a_last_line_without_a_line_end_is_read_once(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "growing"
    path.write_text(document(make(1)))
    assert load(database, path) == (1, 0, 0)
    path.write_text(document(make(1)) + "\n" + document(make(2, "v")) + "\n")
    assert load(database, path) == (1, 0, 0)


@newest
def test_a_carriage_return_alone_is_no_growth(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "growing"
    path.write_text('{"a":1}')
    assert load(database, path) == (0, 0, 1)
    for growth in ("\r", "\n"):
        with path.open("a", newline="") as file:
            file.write(growth)
        assert load(database, path) == (0, 0, 0)


def test_what_is_written_while_a_file_is_read_is_for_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "growing"
    path.write_text("half")
    with open_source(str(path), None) as source:
        source.end = source.size
        path.write_text("half a line\n")
        assert list(source.chunks(0.1)) == [b"half"]
