"""Erasure: nothing of a user is left anywhere, everything of others is as it was, and the user does not come back."""

import gzip
import json
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from duckdb import connect as duckdb

from demo.calls import Answer
from demo.webhook import Receiver
from tests.conftest import Database
from tests.events import MEMBERSHIPS, MISCOUNTED, check_against_fold, make, ndjson
from tests.exporting import export, files, run, running
from tests.listening import catch_up, listen, listening
from tests.loading import assert_one_sentence, ends, finish, invoke, load, newest, send, wait_for_count, wait_until
from tests.loading import running as loading
from tests.pruning import age, ago, pruned

ROLE = "segment_keeper"
ODD = 'é"\\%_{}\n\t🙂 ;--' + "x" * 240

WAITING = "select count(*) > 0 from pg_locks join pg_database d on d.oid = database where datname = %s and not granted"

OTHERS = """
select e.user_id, e.event_id::text, e.occurred_at, o.outcome from segment_events e
left join segment_outcomes o using (seq, user_id) where e.user_id <> %s order by e.seq
"""


def erase(database: Database, user: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `lake erase` to its end."""
    return run(database, "erase", "--user", user, *options, PGUSER=ROLE)


def erased(database: Database, user: str, *options: str) -> str:
    """Erase with success; return the report."""
    done = erase(database, user, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def dump(database: Database) -> str:
    """Everything that the database holds, as text, and what the planner has noted of it."""
    done = database.run(database.server.bin / "pg_dump", "--inserts")
    assert done.returncode == 0, done.stderr
    noted = database.fetch("select most_common_vals::text, histogram_bounds::text from pg_stats where schemaname = 'public'")
    return done.stdout + str(noted)


def lake_text(folder: Path) -> str:
    """Every event of the lake, as text."""
    return "".join(map(file_text, files(folder)))


def file_text(file: Path) -> str:
    """Every event of a file, as text."""
    if file.suffix == ".gz":
        return gzip.decompress(file.read_bytes()).decode()
    return str(duckdb().execute("select * from read_parquet(?)", [str(file)]).fetchall())


def fill(database: Database, user: str = ODD) -> None:
    """The user among others: a member of two segments, a former member of a third, in quarantine."""
    events = [
        make(1, user),
        make(2, "other", seconds=1),
        make(3, user, "t"),
        make(4, user, "r"),
        make(5, "other", "t"),
        make(6, "third"),
    ]
    load(database, "--lanes", "1", input=ndjson(events))
    load(database, input=ndjson([make(7, user, "r", seconds=9, remove=True), make(8, "other", seconds=9, remove=True)]))
    load(database, input=ndjson([make(9, user, seconds=-9)]))
    broken = [
        json.dumps({"user": user, "event": 1}),
        json.dumps({"user": user}, ensure_ascii=False) + "}",
        json.dumps({"user": "other"}),
    ]
    load(database, input="\n".join(broken) + "\n")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that accepts everything."""
    with Receiver(keep=True) as started:
        yield started


@ends
@pytest.mark.parametrize("form", ["jsonl.gz", "parquet"])
def test_nothing_of_the_user_is_left(database: Database, tmp_path: Path, receiver: Receiver, form: str) -> None:
    """Not in the tables nor in any file; they left each segment first, and all that is others' is as it was."""
    fill(database)
    database.execute("analyze")
    export(database, tmp_path, "--format", form)
    with listening(database, receiver, "--from", "start") as process:
        wait_until(lambda: len(receiver.received()) == 2)
        others = database.fetch(OTHERS, ODD)
        said = erased(database, ODD)
        process.terminate()
        process.wait()
    assert said.splitlines()[0] == "tables: 2 segments left, 7 events, 7 outcomes, 3 memberships, 0 dead letters"
    assert "quarantine: 2 rejects" in said
    assert f"{tmp_path}: 5 events, " in said
    last = receiver.received()[2:]
    assert sorted((item["user"], item["segment"]["name"], item["remove"]) for item in last) == [
        (ODD, "s", True),
        (ODD, "t", True),
    ]
    found = dump(database) + lake_text(tmp_path)
    for form_ in (ODD, json.dumps(ODD)[1:-1], json.dumps(ODD, ensure_ascii=False)[1:-1], "x" * 240):
        assert form_ not in found
    assert database.fetch(OTHERS, ODD) == others
    assert database.fetch(MISCOUNTED) == []
    check_against_fold(database)
    done = run(database, "verify", tmp_path)
    assert done.returncode == 0, done.stdout
    assert erased(database, ODD).splitlines()[0] == "tables: 0 segments left, 0 events, 0 outcomes, 0 memberships, 0 dead letters"
    load(database, input=ndjson([make(50, "other", "late")]))
    export(database, tmp_path, "--format", form)
    assert run(database, "verify", tmp_path).returncode == 0
    listen(database, "drop")


@ends
def test_the_user_does_not_come_back(database: Database) -> None:
    """By no way: their lines are counted, and of them nothing is kept; others' in the same batch are loaded."""
    with loading(database, "-") as process:
        send(process, ndjson([make(1, "zoe-77")]))
        wait_for_count(database, 1, process)
        erased(database, "zoe-77")
        send(process, ndjson([make(2, "zoe-77"), make(3, "stays"), make(4, "zoe-77", "t"), make(2, "zoe-77")]))
        send(process, '{"user": "zoe-77", "event": 7}\n{"user": "stays"}\n')
        process.stdin.close()  # type: ignore[union-attr]
        process.stdin = None
        out, _ = finish(process)
    summary = json.loads(out)
    assert (summary["loaded"], summary["rejected"], summary["suppressed"]) == (2, 1, 4)
    assert database.fetch("select suppressed from segment_sources") == [(4,)]
    assert "of erased users" in invoke(database, "status")
    with pytest.raises(psycopg.Error) as refused:
        database.execute("""
            insert into segment_events (user_id, occurred_at, event_id, vendor, segment_name)
            values ('stays', now(), gen_random_uuid(), 1, 's'), ('zoe-77', now(), gen_random_uuid(), 1, 's')
        """)
    assert refused.value.sqlstate == "SG009"
    assert "'zoe-77'" not in dump(database)
    database.execute("select segment_reset()")
    assert load(database, input=ndjson([make(5, "zoe-77"), make(6, "stays")])) == (1, 0, 0)


@newest
def test_what_waits_in_quarantine_does_not_come_back(database: Database) -> None:
    load(database, input=ndjson([make(1, "zoe-77", seconds=3 * 86_400)]))
    database.execute("select segment_suppress('zoe-77')")
    assert invoke(database, "rejects", "retry", "--max-future", "9d").startswith("0 loaded, 0 duplicates, 0 stay")
    assert database.fetch("select (select count(*) from segment_events), (select count(*) from segment_rejects)") == [(0, 0)]


@newest
def test_it_waits_for_listeners_and_names_them(database: Database, receiver: Receiver) -> None:
    """Nothing goes before it is delivered that they left; what a receiver refuses for good goes with them."""
    load(database, input=ndjson([make(1, "zoe-77"), make(2, "stays")]))
    catch_up(database, receiver, "--from", "start")
    done = erase(database, "zoe-77", "--retry-for", "1s")
    assert_one_sentence(done, f"slot {database.name} has not delivered")
    assert database.fetch("select count(*) from segment_events where user_id = 'zoe-77'") == [(2,)]
    receiver.answer = lambda _: Answer(422)
    catch_up(database, receiver)
    assert "1 dead letters" in erased(database, "zoe-77")
    assert "zoe-77" not in dump(database)
    listen(database, "drop")


@newest
def test_a_loader_in_flight_does_not_slip_by(database: Database) -> None:
    """Who added the user before the list had them has committed before it has; the list waits."""
    with database.connect() as connection:
        connection.execute("""
            insert into segment_events (user_id, occurred_at, event_id, vendor, segment_name)
            values ('zoe-77', now(), gen_random_uuid(), 1, 's')
        """)
        assert_one_sentence(erase(database, "zoe-77", "--retry-for", "1s"), "A transaction that adds events is open")
        with running(database, "erase", "--user", "zoe-77", PGUSER=ROLE) as process:
            waiting = (
                "select count(*) > 0 from pg_locks join pg_database d on d.oid = database where datname = %s and not granted"
            )
            wait_until(lambda: database.fetch(waiting, database.name) == [(True,)])
            connection.commit()
            out, _ = finish(process)
    assert out.startswith("tables: 1 segments left, 2 events")
    assert database.fetch(MEMBERSHIPS) == []


@newest
def test_the_functions_guard_themselves(database: Database) -> None:
    """A member does not go without leaving, nobody leaves who may come back, and a session's setting is no key."""
    load(database, input=ndjson([make(1, "zoe-77")]))
    for call, state in {"segment_leave('zoe-77')": "SG008", "segment_erase_user('zoe-77')": "SG006"}.items():
        with database.connect(ROLE) as connection, pytest.raises(psycopg.Error) as error:
            connection.execute(f"select {call}".encode())
        assert error.value.sqlstate == state
    with database.connect("segment_loader") as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("select * from segment_suppressions")


@newest
def test_pruned_events_go_from_the_lake_too(database: Database, tmp_path: Path) -> None:
    load(database, input=ndjson([ago(40, 1, "zoe-77"), ago(40, 2, "stays"), ago(1, 3, "zoe-77"), ago(1, 4, "stays")]))
    age(database)
    export(database, tmp_path)
    pruned(database, tmp_path)
    assert f"{tmp_path}: 2 events, " in erased(database, "zoe-77")
    assert "zoe-77" not in lake_text(tmp_path) + dump(database)
    assert run(database, "verify", tmp_path).returncode == 0


@newest
def test_files_that_nobody_knows_are_named(database: Database, tmp_path: Path) -> None:
    """And the erasure is unfinished until they are gone; a lake that cannot be reached keeps none of the others back."""
    fill(database, "zoe-77")
    for name in ("one", "two"):
        export(database, tmp_path / name)
    strange = files(tmp_path / "one")[0].parent / "copy.jsonl.gz"
    strange.write_bytes(gzip.compress(b'{"user": "zoe-77"}\n'))
    (tmp_path / "one").rename(tmp_path / "away")
    done = erase(database, "zoe-77")
    assert_one_sentence(done, str(tmp_path / "one"))
    assert "zoe-77" not in lake_text(tmp_path / "two")
    (tmp_path / "away").rename(tmp_path / "one")
    assert_one_sentence(erase(database, "zoe-77"), "copy.jsonl.gz")
    assert database.fetch("select finished_at from segment_suppressions") == [(None,)]
    strange.unlink()
    erased(database, "zoe-77")
    assert "zoe-77" not in lake_text(tmp_path / "one")
    assert run(database, "verify", tmp_path / "one").returncode == 0


@newest
@pytest.mark.parametrize("form", ["jsonl.gz", "parquet"])
def test_killed_anywhere_it_goes_on(database: Database, tmp_path: Path, form: str) -> None:
    """While others are loaded and exported: in the end nothing of the user is left, and nothing of others is missing."""
    seed = random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    for number in range(6):
        load(database, input=ndjson([make(10 * number + n, chance.choice(["zoe-77", "a", "b"]), f"s{n}") for n in range(8)]))
        export(database, tmp_path, "--format", form)
    others = database.fetch(OTHERS, "zoe-77")
    for _ in range(8):
        with running(database, "erase", "--user", "zoe-77", PGUSER=ROLE) as process:
            try:
                process.wait(timeout=chance.uniform(0.3, 1.2))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        export(database, tmp_path, "--format", form)
    erased(database, "zoe-77")
    assert "zoe-77" not in lake_text(tmp_path) + dump(database)
    assert database.fetch(OTHERS, "zoe-77") == others
    done = run(database, "verify", tmp_path)
    assert done.returncode == 0, done.stdout
    assert not list(tmp_path.rglob(".unfinished/*"))
    check_against_fold(database)
