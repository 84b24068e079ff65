"""Retention: what has had its time goes, and nothing that is needed still."""

import random
import signal
import subprocess
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from demo.fold import Event
from demo.webhook import Receiver
from tests.conftest import Database, migrate
from tests.events import MEMBERSHIPS, TODAY, document, make, ndjson
from tests.exporting import export, exported, here, run, running
from tests.listening import catch_up, listen
from tests.loading import assert_one_sentence, ends, finish, load, newest, send, wait_for_count, wait_until
from tests.loading import running as loading
from tests.pruning import ROLE, age, ago, day, kept_days, prune, pruned

INSERT = b"""
insert into segment_events (user_id, occurred_at, event_id, vendor, segment_name) values ('late', %s, gen_random_uuid(), 1, 's')
"""
WAITING = "select count(*) > 0 from pg_locks join pg_database d on d.oid = database where datname = %s and not granted"
DAYS = (45, 40, 35, 31, 20, 0)


def fill(database: Database, days: tuple[int, ...] = DAYS) -> list[Event]:
    """A batch for each of the days: somebody is added on each, and u is added and removed in turn."""
    events = []
    for index, days_ago in enumerate(days):
        batch = [ago(days_ago, 1, remove=index % 2 == 1), ago(days_ago, 2, f"user {days_ago}")]
        load(database, "--lanes", "1", input=ndjson(batch))
        events += batch
    return events


@pytest.fixture
def receiver() -> Receiver:
    """One that accepts everything."""
    return Receiver(keep=True)


@ends
def test_what_is_old_goes(database: Database, tmp_path: Path) -> None:
    """Events by the day on which they happened; memberships stay, and the lake has everything still."""
    events = fill(database)
    export(database, tmp_path)
    memberships = database.fetch(MEMBERSHIPS)
    said = pruned(database, tmp_path)
    assert f"removed the events of {day(45)}: 2\n" in said
    assert (
        f"removed 8 events of 4 days, 0 outcomes of 0 days, 0 batches, 0 sources, 0 rejects; events from before {day(30)}" in said
    )
    assert kept_days(database, "segment_events") == [0, 20]
    assert database.fetch(MEMBERSHIPS) == memberships
    assert database.fetch("select horizon from segment_settings") == [(TODAY - timedelta(days=30),)]
    assert database.fetch("select events from segment_batches order by batch_id") == [(0,), (0,), (0,), (0,), (2,), (2,)]
    assert len(exported(tmp_path)) == len(events)
    done = run(database, "verify", tmp_path)
    assert done.returncode == 0, done.stdout
    assert "removed 0 events of 0 days" in pruned(database, tmp_path)


@newest
def test_a_day_is_looked_at_once_however_many_files_the_lake_has(database: Database, tmp_path: Path) -> None:
    database.execute(f"alter database {database.name} set track_functions = 'pl'")
    for days_ago in DAYS:
        fill(database, (days_ago,))
        export(database, tmp_path)
    assert database.fetch("select count(*) from lake_fragments") == [(len(DAYS),)]
    pruned(database, tmp_path)
    wait_until(
        lambda: database.fetch("select from pg_stat_activity where datname = %s and usename = %s", database.name, ROLE) == []
    )
    # The four that went, and the time before the first day.
    assert database.fetch("select calls from pg_stat_user_functions where funcname = 'segment_day_batches'") == [(5,)]


@ends
def test_outcomes_go_once_delivered_and_without_events(database: Database, tmp_path: Path, receiver: Receiver) -> None:
    """In order of their days, and their batches with them; a listener that ran only until it had caught up holds nothing back."""
    fill(database)
    age(database)
    export(database, tmp_path)
    with receiver:
        catch_up(database, receiver, "--from", "start")
        toggles = len(receiver.received())
        said = pruned(database, tmp_path)
        assert "8 outcomes of 4 days, 4 batches" in said
        assert kept_days(database, "segment_outcomes") == kept_days(database, "segment_events") == [0, 20]
        load(database, input=ndjson([make(1, "new"), make(2, "new", remove=True)]))
        catch_up(database, receiver)
        assert len(receiver.received()) == toggles + 1
        listen(database, "drop")
    export(database, tmp_path)
    done = run(database, "verify", tmp_path)
    assert done.returncode == 0, done.stdout


@newest
def test_what_is_not_delivered_stays_and_says_whose(database: Database, tmp_path: Path, receiver: Receiver) -> None:
    fill(database, (45, 40))
    age(database)
    export(database, tmp_path)
    with receiver:
        catch_up(database, receiver, "--from", "start")
        load(database, input=ndjson([ago(39, 1)]))
        age(database)
        export(database, tmp_path)
        said = pruned(database, tmp_path)
        assert f"kept the outcomes of {day(39)} and later: The listener of the slot {database.name} has not delivered" in said
        assert [found for found in kept_days(database, "segment_outcomes") if found] == [39]
        catch_up(database, receiver)
        listen(database, "drop")
    pruned(database, tmp_path)
    assert [found for found in kept_days(database, "segment_outcomes") if found] == []


@newest
def test_what_a_lake_has_not_stays_and_says_which(database: Database, tmp_path: Path) -> None:
    """Every lake has to have it; one that is given up is forgotten."""
    done = prune(database, tmp_path / "one")
    assert_one_sentence(done)
    assert done.returncode == 1
    fill(database)
    export(database, tmp_path / "one")
    load(database, input=ndjson([ago(40, 9)]))
    export(database, tmp_path / "two")
    said = pruned(database, tmp_path / "two")
    assert f"kept the events of {day(40)} and later: Events of 1 batches are not in the lake {tmp_path}/one yet." in said
    assert kept_days(database, "segment_events") == [0, 20, 31, 35, 40]
    assert run(database, "forget", tmp_path / "one", PGUSER=ROLE).returncode == 0
    assert_one_sentence(run(database, "forget", tmp_path / "one", PGUSER=ROLE))
    pruned(database, tmp_path / "two")
    assert kept_days(database, "segment_events") == [0, 20]
    assert list((tmp_path / "one").rglob("*.gz"))


@newest
def test_a_damaged_lake_keeps_its_events(database: Database, tmp_path: Path) -> None:
    fill(database)
    export(database, tmp_path)
    file = next(tmp_path.rglob("*.gz"))
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"?")
    done = prune(database, tmp_path)
    assert done.returncode == 1
    assert "is altered" in done.stderr
    assert kept_days(database, "segment_events") == sorted(DAYS)
    file.write_bytes(content)
    pruned(database, tmp_path)
    assert kept_days(database, "segment_events") == [0, 20]


@ends
def test_events_of_before_the_first_day(database: Database, tmp_path: Path) -> None:
    """They share a partition, of which only what is expired goes, and which takes nothing that is expired."""
    for number, days_ago in enumerate((900, 800, 450, 20)):
        load(database, input=ndjson([ago(days_ago, number)]))
    export(database, tmp_path)
    pruned(database, tmp_path, keep="600d")
    assert kept_days(database, "segment_events") == [20, 450]
    assert load(database, input=ndjson([ago(700, 1), ago(500, 1)])) == (1, 0, 1)
    with pytest.raises(psycopg.errors.CheckViolation):
        database.execute(f"""
            insert into segment_events (user_id, occurred_at, event_id, vendor, segment_name)
            values ('u', timestamptz '{day(700)}', gen_random_uuid(), 1, 's')
        """)
    export(database, tmp_path)
    pruned(database, tmp_path)
    assert kept_days(database, "segment_events") == [20]
    database.execute("select segment_reset()")
    assert load(database, input=ndjson([ago(700, 1), ago(40, 1)])) == (2, 0, 0)


@ends
def test_a_loader_that_knows_the_old_horizon_rejects_what_is_expired(database: Database, tmp_path: Path) -> None:
    """Also of a day that is gone, and within one batch with others."""
    fill(database)
    export(database, tmp_path)
    with loading(database, "-") as process:
        send(process, document(make(1)) + "\n")
        wait_for_count(database, 2 * len(DAYS) + 1, process)
        pruned(database, tmp_path)
        send(process, ndjson([make(2), ago(40, 7), ago(32, 7), ago(800, 1), ago(25, 1), make(3)]))
        process.stdin.close()  # type: ignore[union-attr]
        process.stdin = None
        finish(process)
    assert database.fetch("select code, count(*) from segment_rejects group by 1") == [("expired", 3)]
    assert kept_days(database, "segment_events") == [0, 20, 25]
    assert not database.fetch("select to_regclass(%s)", f"segment_events_{day(40):%Y%m%d}")[0][0]


@newest
def test_loading_goes_on_meanwhile(database: Database, tmp_path: Path) -> None:
    """A transaction that is open keeps what it uses; it is named, and the rest of the time nobody waits for long."""
    fill(database)
    export(database, tmp_path)
    with database.connect() as connection:
        connection.execute("set application_name = 'somebody'")
        connection.execute("select from segment_events where occurred_at > now()")
        done = prune(database, tmp_path, "--retry-for", "1s")
        assert done.returncode == 1
        assert f"process {connection.info.backend_pid} (somebody)" in done.stderr
        assert load(database, input=ndjson([make(1)])) == (1, 0, 0)
    pruned(database, tmp_path)
    assert kept_days(database, "segment_events") == [0, 20]


@newest
def test_an_event_that_comes_in_between_is_not_lost(database: Database, tmp_path: Path) -> None:
    """It is in no lake, so under the lock its day is found to be needed."""
    fill(database)
    export(database, tmp_path)
    with database.connect() as late:
        late.execute(INSERT, [ago(40, 1).occurred_at])
        with running(database, "prune", tmp_path, "--keep", "30d", PGUSER=ROLE) as process:
            waiting = (
                "select count(*) > 0 from pg_locks join pg_database d on d.oid = database where datname = %s and not granted"
            )
            wait_until(lambda: database.fetch(waiting, database.name) == [(True,)])
            late.commit()
            _, said = finish(process)
    assert "Events of 1 batches are not in the lake" in said
    assert database.fetch("select count(*) from segment_events where user_id = 'late'") == [(1,)]


@newest
def test_rejects_and_finished_sources(database: Database, tmp_path: Path) -> None:
    """A file that was read to its end is forgotten with its events; a stream, which has no end, is not."""
    old, new, bad = tmp_path / "old.ndjson", tmp_path / "new.ndjson", tmp_path / "bad.ndjson"
    old.write_text(ndjson([ago(40, 1)]))
    load(database, old)
    age(database)
    database.execute("update segment_sources set finished_at = finished_at - interval '40 days'")
    new.write_text(ndjson([make(1)]))
    bad.write_text("{}\n")
    load(database, new)
    load(database, bad)
    load(database, input=ndjson([ago(39, 1)]))
    export(database, tmp_path / "lake")
    said = pruned(database, tmp_path / "lake", "--keep-rejects", "30d")
    assert "1 sources, 0 rejects" in said
    assert database.fetch("select source from segment_sources order by 1") == [("-",), (str(bad),), (str(new),)]
    assert database.fetch("select count(*) from segment_source_positions") == [(32,)]
    database.execute("update segment_rejects set rejected_at = now() - interval '31 days'")
    assert "1 rejects" in pruned(database, tmp_path / "lake", "--keep-rejects", "30d")
    assert load(database, old) == (0, 0, 1)


@newest
def test_a_file_that_was_just_read_is_not_forgotten(database: Database, tmp_path: Path) -> None:
    """Though no event be left: given to the loader again it is known."""
    bad = tmp_path / "bad.ndjson"
    bad.write_text("{}\n")
    load(database, input=ndjson([ago(40, 1)]))
    export(database, tmp_path / "lake")
    load(database, bad)
    pruned(database, tmp_path / "lake")
    assert load(database, bad) == (0, 0, 0)


@newest
def test_a_lake_that_begins_meanwhile(database: Database, tmp_path: Path) -> None:
    """It never gets what went, and is none the worse for it; a call that is repeated finds the day gone."""
    fill(database)
    export(database, tmp_path / "one")
    with database.connect() as holder, loading(database, "-"):
        holder.execute("select from segment_events where occurred_at < now() - interval '39 days'")
        with running(database, "prune", tmp_path / "one", "--keep", "30d", PGUSER=ROLE) as process:
            wait_until(lambda: database.fetch(WAITING, database.name) == [(True,)])
            database.execute("""
                insert into lake_destinations (destination, format, system_identifier)
                select 'elsewhere', 'jsonl.gz', system_identifier from segment_settings
            """)
            holder.rollback()
            process.wait()
    assert database.fetch("select pruned from lake_destinations where destination = 'elsewhere'") == [(0,)]
    database.execute("select lake_forget('elsewhere')")
    pruned(database, tmp_path / "one")
    assert database.fetch(f"select segment_prune_events('{day(40)}')") == [(0,)]
    assert run(database, "verify", tmp_path / "one").returncode == 0


@newest
def test_told_to_stop_while_it_waits(database: Database, tmp_path: Path) -> None:
    fill(database)
    export(database, tmp_path)
    with database.connect() as holder:
        holder.execute("select from segment_events")
        with running(database, "prune", tmp_path, "--keep", "30d", PGUSER=ROLE) as process:
            wait_until(lambda: database.fetch(WAITING, database.name) == [(True,)])
            process.terminate()
            _, said = finish(process)
    assert "stopped as asked" in said


@newest
def test_what_others_have_built_on_a_day(database: Database, tmp_path: Path) -> None:
    """It is named, and the day stays until it is dropped."""
    fill(database)
    export(database, tmp_path)
    database.execute(f"create view theirs as select * from segment_events_{day(40):%Y%m%d}")
    done = prune(database, tmp_path)
    assert_one_sentence(done, "theirs")
    database.execute("drop view theirs")
    pruned(database, tmp_path)
    assert kept_days(database, "segment_events") == [0, 20]


@newest
def test_the_horizon_goes_as_far_as_asked(database: Database, tmp_path: Path) -> None:
    """Where no day is left that it could stop at, and older revisions are not for what retention has left."""
    load(database, input=ndjson([make(1)]))
    export(database, tmp_path)
    pruned(database, tmp_path)
    assert load(database, input=ndjson([ago(31, 1), ago(30, 1)])) == (1, 0, 1)
    refused = migrate(database.environment, "downgrade", "0007")
    assert refused.returncode != 0
    assert "Retention has removed events" in refused.stderr + refused.stdout


@newest
def test_only_one_at_a_time_and_only_a_keeper(database: Database, tmp_path: Path) -> None:
    export(database, tmp_path)
    with database.connect() as connection:
        connection.execute("select pg_advisory_lock(hashtextextended('pgsegments keeper', 0))")
        done = prune(database, tmp_path)
        assert done.returncode == 1
        assert "Another lake prune or lake erase" in done.stderr
    done = run(database, "prune", tmp_path, "--keep", "30d", PGUSER="segment_lake")
    assert done.returncode == 1
    assert "grant segment_keeper" in done.stderr
    for keep in ("1h", "3000000d"):
        assert here(database, "prune", tmp_path, "--keep", keep).returncode == 2


@newest
def test_the_functions_guard_themselves(database: Database, tmp_path: Path) -> None:
    """By plain SQL nothing goes that is needed: not in another isolation, not unexported, not today's, not out of order."""
    fill(database)
    age(database)
    for call, state in {
        f"select segment_prune_events('{day(40)}')": "SG008",
        "select segment_move_horizon(current_date)": "SG008",
        f"select segment_prune_outcomes('{day(40)}')": "SG008",
        f"select segment_move_horizon('{day(30)}'); select segment_prune_events('{day(45)}')": "SG006",
    }.items():
        with database.connect(ROLE) as connection, pytest.raises(psycopg.Error) as error:
            connection.execute(call.encode())
        assert error.value.sqlstate == state, call
    export(database, tmp_path)
    database.execute(f"select segment_move_horizon('{day(30)}')")
    with database.connect(ROLE) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with pytest.raises(psycopg.Error) as error:
            connection.execute(f"select segment_prune_events('{day(45)}')".encode())
    assert error.value.sqlstate == "SG007"


@newest
def test_killed_anywhere_it_goes_on(database: Database, tmp_path: Path, receiver: Receiver) -> None:
    """Command or server process, again and again: in the end what should be gone is, and nothing else."""
    seed = random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    fill(database, tuple(range(60, 28, -2)))
    age(database)
    export(database, tmp_path)
    memberships = database.fetch(MEMBERSHIPS)
    with receiver:
        catch_up(database, receiver, "--from", "start")
        for _ in range(8):
            with running(database, "prune", tmp_path, "--keep", "30d", PGUSER=ROLE) as process:
                try:
                    process.wait(timeout=chance.uniform(0.3, 1.0))
                except subprocess.TimeoutExpired:
                    if chance.random() < 0.5:
                        process.send_signal(signal.SIGKILL)
                    else:
                        database.fetch(
                            "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s and datname = %s",
                            ROLE,
                            database.name,
                        )
                        finish(process)
            left = kept_days(database, "segment_events")
            assert set(left) <= set(kept_days(database, "segment_outcomes")) | {0}
        pruned(database, tmp_path)
        assert kept_days(database, "segment_events") == kept_days(database, "segment_outcomes") == [30]
        assert database.fetch(MEMBERSHIPS) == memberships
        assert database.fetch("select count(*), sum(events) from segment_batches") == [(1, 2)]
        load(database, input=ndjson([make(5, seconds=5, remove=True), make(6, seconds=6)]))
        catch_up(database, receiver)
        identities = [item["event"] for item in receiver.received()]
        assert len(identities) == len(set(identities))
        listen(database, "drop")
    done = run(database, "verify", tmp_path)
    assert done.returncode == 0, done.stdout
