"""Erasure where something comes between: other sessions, damaged lines, settings, a listener that has not come."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from demo.webhook import Receiver
from tests.conftest import Database
from tests.events import MISCOUNTED, check_against_fold, make, ndjson
from tests.exporting import export, files, rebuild, run
from tests.exporting import running as lake_running
from tests.integration.test_erase import ROLE, dump, erase, erased, lake_text
from tests.listening import catch_up, listen
from tests.loading import assert_one_sentence, invoke, load, newest, wait_until

ADD = """
insert into segment_events (user_id, occurred_at, event_id, vendor, segment_name) values (%s, now(), gen_random_uuid(), 1, 's')
"""

HELD = """
select count(*) > 0 from pg_locks l join pg_database d on d.oid = l.database where datname = %s and locktype = 'advisory'
"""

ODD_USERS = ["a'b", 'q"uote', "back\\slash", "100%s%", "tab\there", "\u00e9\u2028\U0001f642", "\U0001f642" * 256, "{}", "null"]

DAMAGED = [
    '{"event": 7, "user": "zoe-77", "segment": {"vendor": 1',
    '{"event": 7, "user": "zoe-77',
    '{"event": 7, "USER": "zoe-77"}',
    '{"event": 7, "user_id" : "zoe-77"}',
    '{"user": "zoe-77", "user": "zoe-77"}',
    '{"us\\u0065r": "\\u007aoe-77"}',
    '[{"user": "zoe-77"}]',
    '{"user": "zoe-77", "note": "\\ud800"}',
]
HARMLESS = ['{"user": "zoe-771"}', '{"event": 7, "note": "other"}', '{"user": "zoe']
"""Lines of other users, or of nobody known."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that accepts everything."""
    with Receiver(keep=True) as started:
        yield started


@newest
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_snapshot_from_before_is_refused(database: Database, level: str) -> None:
    """A transaction that cannot see the list must not add whom it lacks; one of its own kind that begins later sees it."""
    with database.connect("segment_loader") as connection:
        connection.execute(f"set transaction isolation level {level}".encode())
        connection.execute("select from segment_events")
        database.execute("select segment_suppress('zoe-77')")
        with pytest.raises(psycopg.errors.SerializationFailure):
            connection.execute(ADD, ["zoe-77"])
        connection.rollback()
        connection.execute(f"set transaction isolation level {level}".encode())
        connection.execute(ADD, ["stays"])
    assert database.fetch("select user_id from segment_events") == [("stays",)]


@newest
def test_who_has_asked_is_waited_for(database: Database) -> None:
    """A loader that was told that nobody is erased may keep a line of theirs until it commits: so the list waits for it."""
    with database.connect("segment_loader") as connection:
        assert connection.execute("select segment_suppressed('{zoe-77}')").fetchall() == [([],)]
        with pytest.raises(psycopg.errors.LockNotAvailable):
            database.execute("select segment_suppress('zoe-77')")
    database.execute("select segment_suppress('zoe-77')")
    with database.connect("segment_loader") as connection:
        assert connection.execute("select segment_suppressed('{zoe-77}')").fetchall() == [(["zoe-77"],)]


@newest
def test_damaged_lines_are_found(database: Database) -> None:
    """Whatever is wrong with a line, its user is found in it: in quarantine, and when it comes later."""
    load(database, input="\n".join(DAMAGED + HARMLESS) + "\n")
    assert f"quarantine: {len(DAMAGED)} rejects" in erased(database, "zoe-77")
    kept = "select convert_from(bytes, 'UTF8') from segment_rejects"
    assert {line for (line,) in database.fetch(kept)} == set(HARMLESS)
    load(database, input="\n".join(DAMAGED) + "\n")
    assert {line for (line,) in database.fetch(kept)} == set(HARMLESS)
    assert database.fetch("select sum(suppressed) from segment_sources") == [(len(DAMAGED),)]


@newest
@pytest.mark.parametrize("form", ["jsonl.gz", "parquet"])
def test_odd_names(database: Database, tmp_path: Path, form: str) -> None:
    """Every name is found wherever it stands, and no other."""
    load(database, input=ndjson([make(number, user, value="x") for number, user in enumerate([*ODD_USERS, "stays"])]))
    load(database, input="".join(json.dumps({"user": user}) + "\n" for user in ODD_USERS))
    export(database, tmp_path, "--format", form)
    for left, user in zip(reversed(range(1, len(ODD_USERS) + 1)), ODD_USERS, strict=True):
        said = erased(database, user)
        assert "tables: 1 segments left, 2 events" in said
        assert "quarantine: 1 rejects" in said
        assert database.fetch("select count(*) from segment_events") == [(left,)]
    assert "stays" in lake_text(tmp_path)
    assert len(files(tmp_path)) == 1
    assert run(database, "verify", tmp_path).returncode == 0
    assert database.fetch(MISCOUNTED) == []


@newest
def test_names_that_no_user_has(database: Database) -> None:
    for user in ("", "x" * 257, "\udcff"):
        done = erase(database, user)
        assert done.returncode != 0
        assert "1 to 256 characters" in done.stderr
        assert "Traceback" not in done.stderr
    assert database.fetch("select count(*) from segment_suppressions") == [(0,)]


@newest
def test_who_was_never_there_does_not_come(database: Database) -> None:
    said = erased(database, "zoe-77")
    assert said.splitlines()[0] == "tables: 0 segments left, 0 events, 0 outcomes, 0 memberships, 0 dead letters"
    assert load(database, input=ndjson([make(1, "zoe-77"), make(2, "stays")])) == (1, 0, 0)
    assert "zoe-77" not in dump(database)


@newest
def test_an_older_toggle_is_delivered_first(database: Database, receiver: Receiver) -> None:
    """They are in no segment any more, but a listener has yet to read from the tables that they left one."""
    load(database, input=ndjson([make(1, "zoe-77"), make(2, "zoe-77", seconds=1, remove=True)]))
    load(database, input=ndjson([make(3, "stays")]))
    database.execute(
        f"insert into webhook_cursors (slot, publication, past) values ('{database.name}', 'segment_toggles', 'wanted')"
    )
    assert_one_sentence(erase(database, "zoe-77", "--retry-for", "0s"), f"slot {database.name} has not delivered")
    database.execute("delete from webhook_cursors")
    catch_up(database, receiver, "--from", "start")
    erased(database, "zoe-77")
    assert [item["user"] for item in receiver.received()] == ["zoe-77"]
    listen(database, "drop")


@newest
def test_what_receivers_said_of_them_goes(database: Database) -> None:
    """An answer may repeat what was posted, also beside a document of somebody else's."""
    database.execute("""
        insert into webhook_dead_letters (slot, document, webhook_id, answer)
        values ('gone', '{"user": "stays"}', 'id', 'no zoe-77 here'), ('gone', '{"user": "zoe-77"}', 'id', 'no');
        insert into webhook_cursors (slot, publication, answer, base)
        values ('s', 'segment_toggles', 'no zoe-77', '1000000000:1000000000:')
    """)
    assert "1 dead letters" in erased(database, "zoe-77")
    assert "zoe-77" not in dump(database)
    assert database.fetch("select document ->> 'user' from webhook_dead_letters") == [("stays",)]


@newest
def test_settings_of_the_database_do_not_end_it(database: Database, tmp_path: Path) -> None:
    load(database, input=ndjson([make(1, "zoe-77"), make(2, "stays")]))
    export(database, tmp_path)
    for name in ("idle_session_timeout", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        database.execute(f"alter database {database.name} set {name} = '20ms'")
    assert f"{tmp_path}: 1 events" in erased(database, "zoe-77")


@newest
def test_an_export_that_was_announced_is_no_hindrance(database: Database, tmp_path: Path) -> None:
    """Killed before it marked its files, and then all of its batches go: the files go, and exports go on."""
    load(database, input=ndjson([make(1, "stays")]))
    export(database, tmp_path)
    load(database, input=ndjson([make(2, "zoe-77")]))
    before = database.fetch("select xact_id::text, batch_id from lake_destinations")
    export(database, tmp_path)
    database.execute(f"""
        update lake_fragments set written_at = null where recorded_at = (select max(recorded_at) from lake_fragments);
        update lake_destinations set until_xact_id = xact_id, until_batch_id = batch_id;
        update lake_destinations set xact_id = '{before[0][0]}', batch_id = {before[0][1]}
    """)
    erased(database, "zoe-77")
    assert "zoe-77" not in lake_text(tmp_path)
    load(database, input=ndjson([make(3, "stays", "t")]))
    export(database, tmp_path)
    done = run(database, "verify", tmp_path)
    assert done.returncode == 0, done.stdout
    assert database.fetch("select sum(rows) from lake_fragments") == [(2,)]


@newest
def test_verify_tells_an_unfinished_erasure(database: Database, tmp_path: Path) -> None:
    """Not of damage, which it is not."""
    load(database, input=ndjson([make(1, "zoe-77"), make(2, "stays")]))
    export(database, tmp_path)
    database.execute("""
        select segment_suppress('zoe-77');
        select segment_leave('zoe-77');
        select segment_erase_user('zoe-77')
    """)
    done = run(database, "verify", tmp_path)
    assert done.stdout.splitlines()[0] == "the files may have events of an erased user still: run lake erase again"
    erased(database, "zoe-77")
    assert run(database, "verify", tmp_path).returncode == 0


@newest
def test_an_export_that_runs_is_named(database: Database, tmp_path: Path) -> None:
    """The lake is its own until it ends; all else is done."""
    load(database, input=ndjson([make(1, "zoe-77"), make(2, "stays")]))
    export(database, tmp_path)
    with lake_running(database, "export", tmp_path, "--every", "1s") as process:
        wait_until(lambda: database.fetch(HELD, database.name) == [(True,)])
        assert_one_sentence(erase(database, "zoe-77"), "Another lake export writes to this destination")
        process.terminate()
        process.wait()
    assert "zoe-77" not in dump(database)
    erased(database, "zoe-77")
    assert "zoe-77" not in lake_text(tmp_path)


@newest
def test_a_rebuild_does_not_bring_them_back(database: Database, another: Database, tmp_path: Path) -> None:
    """From files of before, into a database whose list has them."""
    load(database, input=ndjson([make(1, "zoe-77"), make(2, "stays")]))
    export(database, tmp_path / "lake")
    shutil.copytree(tmp_path / "lake" / "events", tmp_path / "old" / "events")
    erased(another, "zoe-77")
    done = rebuild(another, tmp_path / "old")
    assert done.returncode == 0, done.stderr
    assert another.fetch("select user_id from segment_events") == [("stays",)]
    assert "zoe-77" not in dump(another)


@newest
def test_a_dump_that_runs_does_not_hold_it_up(database: Database) -> None:
    """Its locks on every table are shared ones."""
    load(database, input=ndjson([make(1, "zoe-77"), make(2, "stays")]))
    with database.connect() as connection:
        connection.execute(
            "lock table segment_events, segment_outcomes, segment_memberships, segment_suppressions in access share mode"
        )
        erased(database, "zoe-77")
    check_against_fold(database)
    assert invoke(database, "status")
    assert run(database, "erase", "--user", "zoe-77", PGUSER=ROLE).returncode == 0


@newest
def test_what_a_killed_export_left(database: Database, tmp_path: Path) -> None:
    """Files that it had not finished go too."""
    load(database, input=ndjson([make(1, "zoe-77"), make(2, "stays")]))
    export(database, tmp_path)
    (tmp_path / ".unfinished").mkdir()
    (tmp_path / ".unfinished" / "0").write_bytes(b"zoe-77")
    erased(database, "zoe-77")
    assert not list(tmp_path.rglob(".unfinished/*"))


@newest
def test_statistics_and_counts(database: Database) -> None:
    """The planner's statistics know neither the user nor their values; a source counts what is in quarantine."""
    load(database, input=ndjson([make(n, "zoe-77", f"s{n}", value="zoe's street") for n in range(300)] + [make(400, "stays")]))
    load(database, input='{"user": "zoe-77"}\n{"user": "stays"}\n')
    database.execute("analyze")
    erased(database, "zoe-77")
    assert "zoe" not in dump(database)
    assert database.fetch("select rejected from segment_sources") == [(1,)]


@newest
def test_a_line_of_theirs_among_many_costs_little(database: Database) -> None:
    """The users of a batch are looked up once, not for each of its rows."""
    erased(database, "zoe-77")
    events = [make(n, f"user {n}") for n in range(20_000)] + [make(30_000, "zoe-77")]
    database.execute(f"alter database {database.name} set statement_timeout = '20s'")
    assert load(database, "--lanes", "1", input=ndjson(events)) == (20_000, 0, 0)
