"""A standby that is promoted under load: nothing is to be adopted, and what it lacks of a lake it says."""

import json
from pathlib import Path

from demo.webhook import Receiver
from tests.conftest import Database
from tests.events import arrived, check_against_fold
from tests.exporting import check_equal, export, files, here
from tests.exporting import running as exporting
from tests.listening import await_log, expected, identity, listening, stop
from tests.loading import assert_one_sentence, documents, events, execute, finish, load, sample, wait_until, write
from tests.loading import running as loading
from tests.replicating import standby_of, take_over
from tests.toggling import commit, flips


def timeline(lake: Path) -> str:
    """What the lake's mark says."""
    return str(json.loads((lake / "lake.json").read_text())["timeline"])


def both(database: Database, standby: Database) -> dict[str, str]:
    """Environment in which libpq finds whichever server may be written to."""
    hosts = f"{database.server.socket},{standby.server.socket}"
    return {"PGHOST": hosts, "PGTARGETSESSIONATTRS": "read-write"}


def test_promoted_under_load(own_database: Database, tmp_path: Path) -> None:
    """Loader, listener and lake find the new server by themselves; the lake's mark names its timeline, which refuses the old."""
    lines, lake = write(tmp_path / "events.ndjson", documents(sample(20_000, 100))), tmp_path / "lake"
    with standby_of(own_database.server, tmp_path / "standby") as standby, Receiver(keep=True) as receiver:
        execute(own_database, "alter system set synchronous_standby_names = '*'")
        execute(own_database, "alter system set synchronous_commit = 'remote_apply'")
        execute(own_database, "select pg_reload_conf()")
        database = Database(standby, own_database.name)
        where = both(own_database, database)
        with (
            loading(own_database, lines, "--batch-size", "200", "--rate", "5000", **where) as loader,
            listening(own_database, receiver, "--from", "start", **where) as listener,
            exporting(own_database, "export", lake, "--every", "50ms", "--linger", "0s", **where) as exporter,
        ):
            wait_until(lambda: receiver.counters.documents and len(files(lake)) > 2)
            assert timeline(lake) == "00000001"
            own_database.server.stop("immediate")
            execute(database, "alter system reset all")
            execute(database, "select pg_promote()")
            execute(database, "select pg_reload_conf()")
            await_log(listener, "the slot is lost; making another")
            finish(loader)
            wait_until(lambda: timeline(lake) == "00000002")
            exporter.terminate()
            finish(exporter)
            commit(database, flips(40, first=10_000_000))
            wanted = expected(arrived(database))
            wait_until(lambda: len(set(map(identity, receiver.received()))) == len(wanted))
            stop(listener)
        assert events(database) == 20_040
        assert set(map(identity, receiver.received())) == set(map(identity, wanted))
        check_against_fold(database)
        export(database, lake)
        check_equal(database, lake)
        own_database.server.start()  # by mistake; it waits for no standby any more
        execute(own_database, "alter system reset all")
        execute(own_database, "select pg_reload_conf()")
        assert_one_sentence(here(own_database, "export", lake), "has taken this one's place")


def test_a_standby_that_lacks_what_the_lake_has(own_database: Database, tmp_path: Path) -> None:
    """It does not export twice without a word; and where it is only the mark that is old, it goes on."""
    lake = tmp_path / "lake"
    with standby_of(own_database.server, tmp_path / "standby") as standby:
        database = Database(standby, own_database.name)
        commit(own_database, flips(40))
        export(own_database, lake)
        (written,) = own_database.fetch("select pg_current_wal_insert_lsn()::text")[0]
        wait_until(lambda: database.fetch("select where pg_last_wal_replay_lsn() >= %s", written))
        standby.stop()
        load(own_database, write(tmp_path / "lost.ndjson", documents(flips(40, first=40))))
        export(own_database, lake)
        before = files(lake)
        own_database.server.stop("immediate")
        standby.start()
        execute(database, "select pg_promote()")
        assert load(database, tmp_path / "lost.ndjson") == (40, 0, 0)
        assert_one_sentence(here(database, "export", lake), "1 file that this database does not know", "new destination")
        assert files(lake) == before
        assert timeline(lake) == "00000001"
        export(database, tmp_path / "new")
        execute(database, "delete from lake_fragments where destination = %s", str(lake))
        check_equal(database, tmp_path / "new")


def test_a_standby_that_has_all_goes_on(own_database: Database, tmp_path: Path) -> None:
    """With a lake from before timelines were kept, too."""
    lake = tmp_path / "lake"
    with standby_of(own_database.server, tmp_path / "standby") as standby:
        commit(own_database, flips(40))
        export(own_database, lake)
        mark = json.loads((lake / "lake.json").read_text())
        del mark["timeline"]
        (lake / "lake.json").write_text(json.dumps(mark))
        take_over(own_database, standby)
        database = Database(standby, own_database.name)
        commit(database, flips(40, first=40))
        export(database, lake)
        assert timeline(lake) == "00000002"
        check_equal(database, lake)
