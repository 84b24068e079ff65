"""A database on another server, by dump or by pg_upgrade: loader, listener and lake go on, nothing lost and nothing twice."""

import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.account import account, give
from demo.postgres import Server, installations
from demo.webhook import Receiver
from lake import ledger
from tests.conftest import ROOT, VERSIONS, Database, migrate
from tests.events import arrived, check_against_fold
from tests.exporting import check_equal, export, files, here
from tests.exporting import running as exporting
from tests.listening import LISTENER, catch_up, expected, identity, listen, listening
from tests.loading import assert_one_sentence, documents, ends, events, execute, load, newest, sample, wait_until, write
from tests.loading import running as loading
from tests.toggling import Gate, by_key, commit, flips

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESTORE = re.findall(r"^```sh\n(pg_dump .*?)```", README, re.DOTALL | re.MULTILINE)[0].splitlines()
ROLES = ROOT / "migrations/sql/roles.sql"

# What is kept beside the tables' rows: who owns what, who may do what with it, and how functions run.
OWNED = """
select 'relation', oid::regclass::text, relowner::regrole::text, relacl::text[] from pg_class
where relnamespace = 'public'::regnamespace
union all
select 'column', format('%s.%s', attrelid::regclass, attname), '', attacl::text[]
from pg_attribute join pg_class c on c.oid = attrelid and c.relnamespace = 'public'::regnamespace
where attnum > 0 and not attisdropped
union all
select 'function', oid::regprocedure::text, format('%s %s %s', proowner::regrole, prosecdef, proconfig), proacl::text[]
from pg_proc where pronamespace = 'public'::regnamespace
union all
select 'publication', pubname, pubowner::regrole::text, null from pg_publication
union all
select 'published', format('%s %s', pubname, tablename), format('%s %s', attnames, rowfilter), null from pg_publication_tables
union all
select 'schema', nspname, '', nspacl::text[] from pg_namespace where nspname = 'public'
union all
select 'database', '', '', datacl::text[] from pg_database where datname = current_database()
union all
select 'comment', format('%s %s', pg_describe_object(classoid, objoid, objsubid), description), '', null
from pg_description
where classoid = 'pg_class'::regclass and (select relnamespace from pg_class where oid = objoid) = 'public'::regnamespace
"""
ROLES_AS_MADE = """
select rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit,
  array(select roleid::regrole::text from pg_auth_members where member = r.oid),
  array(select member::regrole::text from pg_auth_members where roleid = r.oid)
from pg_roles r where rolname like 'segment\\_%' order by 1
"""
DEFINED_BY_SUPERUSERS = """
select p.oid::regprocedure::text from pg_proc p join pg_roles o on o.oid = proowner
where prosecdef and rolsuper and pronamespace = 'public'::regnamespace
"""


class Killed(BaseException):
    """Stands for a kill -9 of the process, at that point."""


@pytest.fixture(scope="module")
def another_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server to restore to, of the newest version."""
    with new_server(tmp_path_factory.mktemp("new") / "pg") as server:
        yield server


@contextmanager
def new_server(home: Path) -> Iterator[Server]:
    """A server on which nothing was ever migrated."""
    server = Server(home, installations()[VERSIONS[0]], shared_buffers=64, die_with_parent=True)
    server.start()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture
def restored(database: Database, another_server: Server) -> Iterator[Database]:
    """Where the database is restored to, under its name; there is nothing yet."""
    yield Database(another_server, database.name)
    with another_server.connect("postgres", autocommit=True) as connection:
        slots = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = %s"
        connection.execute(slots, [database.name])
    another_server.drop_database(database.name)


def dump(database: Database, folder: Path) -> None:
    """Take a dump by README's command, with the old server's program."""
    run(RESTORE[0], database.server, folder, database.name)


def restore(restored: Database, folder: Path, lines: list[str] = RESTORE[1:]) -> None:
    """Restore it by README's commands."""
    for line in lines:
        command = line.replace("restored", restored.name).replace("migrations/sql", str(ROLES.parent))
        run(command, restored.server, folder)


def run(command: str, server: Server, folder: Path, database: str = "postgres", user: str = "postgres") -> None:
    """Run a command line on a server, with its programs."""
    where = server.environment(database) | {"PGUSER": user, "PATH": f"{server.bin}:/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def described(database: Database) -> list[tuple[object, ...]]:
    """What OWNED says, in an order of its own."""
    return sorted(((*found[:3], tuple(sorted(found[3] or ()))) for found in database.fetch(OWNED)), key=str)  # type: ignore[call-overload]


def test_what_is_restored_is_as_migrated(tmp_path: Path) -> None:
    """And roles.sql makes the roles that the migrations make, on a server that has none."""
    with new_server(tmp_path / "old") as old, new_server(tmp_path / "new") as new:
        migrated, restored = Database(old, "migrated"), Database(new, "restored")
        old.create_database(migrated.name)
        migrate(migrated.environment)
        dump(migrated, tmp_path)
        restore(restored, tmp_path)
        restore(restored, tmp_path, [RESTORE[2]])  # idempotent
        assert described(restored) == described(migrated)
        assert restored.fetch(ROLES_AS_MADE) == migrated.fetch(ROLES_AS_MADE)
        assert restored.fetch(DEFINED_BY_SUPERUSERS) == []
        commit(restored, flips(40))
        check_against_fold(restored)


def test_roles_made_by_who_may_create_them(tmp_path: Path) -> None:
    """No superuser: it can become the owner afterwards, and hands on what it may."""
    with new_server(tmp_path / "pg") as server:
        database = Database(server, "restored")
        execute(Database(server, "postgres"), "create role app_admin login createrole createdb")
        for line in RESTORE[1:3]:
            run(line.replace("migrations/sql", str(ROLES.parent)), server, tmp_path, "postgres", "app_admin")
        owns = "select pg_has_role('app_admin', oid, 'usage') from pg_roles where rolname in ('segment_owner', 'segment_dbt')"
        assert database.fetch(owns) == [(True,), (True,)]
        assert database.fetch("select rolreplication from pg_roles where rolname = 'segment_listener'") == [(False,)]


def kill_within_a_batch(database: Database, receiver: Receiver) -> None:
    """Kill the listener while its third call waits for an answer, which is not to be had."""
    receiver.answer = gate = Gate(after=2)
    with listening(database, receiver, "--from", "start", "--max-documents", "70"):
        gate.await_call()
    gate.status = 503
    gate.open()


def kill_within_a_cut(database: Database, destination: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill the export when its files are in place, and the database has not heard so."""

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "advance", killed)
        with pytest.raises(Killed):
            here(database, "export", destination)


def half_way(database: Database, receiver: Receiver, folder: Path, streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events from a file and from plain SQL, a listener that was killed within a batch, a lake that was within a cut."""
    load(database, write(folder / "first.ndjson", documents(sample(300, 12))))
    if streamed:
        catch_up(database, receiver, "--from", "start")
    export(database, folder / "lake")
    commit(database, flips(100, first=10_000_000), flips(100, first=10_000_100))
    kill_within_a_cut(database, folder / "lake", monkeypatch)
    kill_within_a_batch(database, receiver)
    commit(database, flips(100, first=10_000_200))


def go_on(database: Database, receiver: Receiver, folder: Path, *options: str) -> None:
    """Load the file again and more, deliver, export; assert that each toggle came once, and each event is exported once."""
    assert load(database, write(folder / "again.ndjson", documents(sample(300, 12)))) == (0, 300, 0)
    commit(database, flips(100, first=10_000_300))
    receiver.answer = Gate()
    catch_up(database, receiver)
    export(database, folder / "lake", *options)
    commit(database, flips(40, first=10_000_400))
    catch_up(database, receiver)
    export(database, folder / "lake")
    wanted = expected(arrived(database))
    assert Counter(map(identity, receiver.received())) == Counter(map(identity, wanted))
    assert by_key(receiver.received()) == by_key(wanted)
    check_equal(database, folder / "lake")
    check_against_fold(database)
    assert here(database, "verify", folder / "lake").returncode == 0


@ends
@pytest.mark.parametrize("streamed", [False, True], ids=["in its past", "in the stream"])
def test_exactly_once_over_both_lives(
    database: Database, restored: Database, streamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the oldest and the newest version; the old server is refused by the lake from then on."""
    with Receiver(keep=True) as receiver:
        half_way(database, receiver, tmp_path, streamed, monkeypatch)
        dump(database, tmp_path)
        restore(restored, tmp_path, RESTORE[1:-1])
        for done in (
            restored.loader("stream", input="", PGUSER="segment_loader"),
            listen(restored, "run", "--url", receiver.url, "--until-caught-up"),
            here(restored, "export", tmp_path / "lake"),
        ):
            assert_one_sentence(done, "another server", "select segment_adopt()")
        restore(restored, tmp_path, RESTORE[-1:])
        assert_one_sentence(here(restored, "export", tmp_path / "lake"), "another database", "--take-over")
        go_on(restored, receiver, tmp_path, "--take-over")
        assert_one_sentence(here(database, "export", tmp_path / "lake"), "another database")
        assert_one_sentence(here(database, "export", tmp_path / "lake", "--take-over"), "that this database does not know")


@newest
def test_the_cut_that_was_announced_is_in_place_in_part(
    database: Database, restored: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are written under the same names again."""
    load(database, write(tmp_path / "first.ndjson", documents(sample(300, 12))))
    export(database, tmp_path / "lake")
    commit(database, flips(50, first=10_000_000))
    kill_within_a_cut(database, tmp_path / "lake", monkeypatch)
    placed = files(tmp_path / "lake")
    placed[-1].unlink()
    commit(database, flips(50, first=10_000_050))
    dump(database, tmp_path)
    restore(restored, tmp_path)
    export(restored, tmp_path / "lake", "--take-over")
    check_equal(restored, tmp_path / "lake")
    assert set(placed) <= set(files(tmp_path / "lake"))


@ends
def test_a_dump_taken_under_load(database: Database, restored: Database, tmp_path: Path) -> None:
    """All are killed after it. What came after is loaded again; twice comes only what was delivered since the dump was begun."""
    lines = write(tmp_path / "events.ndjson", documents(sample(60_000, 200)))
    lake = tmp_path / "lake"
    with (
        Receiver(keep=True) as receiver,
        loading(database, lines, "--batch-size", "500"),
        listening(database, receiver, "--from", "start"),
        exporting(database, "export", lake, "--every", "50ms", "--linger", "0s"),
    ):
        wait_until(lambda: receiver.counters.documents and files(lake))
        begun = time.time()
        dump(database, tmp_path)
        before = len(files(lake))
        wait_until(lambda: len(files(lake)) > before)
    calls = [call for call in receiver.calls if call.received_at < begun][:-1]  # each is noted before the next one is made
    once = {identity(found) for call in calls for found in call.documents()}
    with receiver:
        restore(restored, tmp_path)
        _, _, rejected = load(restored, lines)
        assert (events(restored), rejected) == (60_000, 0)
        catch_up(restored, receiver)
    received, wanted = Counter(map(identity, receiver.received())), Counter(map(identity, expected(arrived(restored))))
    assert received.keys() == wanted.keys()
    assert once & {found for found, count in received.items() if count > 1} == set()
    check_against_fold(restored)
    assert_one_sentence(here(restored, "export", lake, "--take-over"), "that this database does not know", "new destination")
    export(restored, tmp_path / "new")
    execute(restored, "delete from lake_fragments where destination = %s", str(lake))
    check_equal(restored, tmp_path / "new")


@newest
def test_a_lake_of_a_stranger_is_not_taken_over(database: Database, another: Database, tmp_path: Path) -> None:
    commit(database, flips(4))
    export(database, tmp_path / "lake")
    assert_one_sentence(here(another, "export", tmp_path / "lake", "--take-over"), "does not come from", "new one")
    export(database, tmp_path / "lake", "--take-over")  # its own already
    (tmp_path / "lake").rename(tmp_path / "moved")
    execute(another, f"insert into lake_destinations values ('{tmp_path}/lake', 'jsonl.gz', 1)")
    assert_one_sentence(here(another, "export", tmp_path / "moved", "--take-over"), "name it so")


@newest
def test_a_copy_on_the_same_server_drops_its_cursor_alone(database: Database) -> None:
    with Receiver(keep=True) as receiver:
        commit(database, flips(40))
        catch_up(database, receiver, "--from", "start")
        copy = Database(database.server, f"{database.name}_copy")
        database.server.create_database(copy.name, template=database.name)
        try:
            drop = (*LISTENER, "drop", "--slot", database.name)
            assert copy.run(*drop, PGUSER="segment_listener").returncode == 0
            assert_one_sentence(copy.run(*drop, PGUSER="segment_listener"), "for something else")
            assert copy.fetch("select * from webhook_cursors") == []
        finally:
            database.server.drop_database(copy.name)
        commit(database, flips(40, first=40))
        catch_up(database, receiver)
    assert receiver.received() == expected(flips(80))


@pytest.mark.parametrize("major", VERSIONS[1:2], ids=lambda major: f"pg{major}")
def test_pg_upgrade(major: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps transaction ids, but makes another identity."""
    old, new = (Server(tmp_path / f"pg{v}", installations()[v], shared_buffers=64, die_with_parent=True) for v in (major, 18))
    try:
        old.start()
        old.create_database("upgraded")
        migrate(old.environment("upgraded"))
        with Receiver(keep=True) as receiver:
            half_way(Database(old, "upgraded"), receiver, tmp_path, True, monkeypatch)
            upgrade(old, new)
            database = Database(new, "upgraded")
            assert_one_sentence(here(database, "export", tmp_path / "lake"), "select segment_adopt()")
            execute(database, "select segment_adopt()")
            go_on(database, receiver, tmp_path, "--take-over")
    finally:
        old.remove()
        new.remove()


def upgrade(old: Server, new: Server) -> None:
    """Run pg_upgrade; the new server runs then."""
    new.start()
    for server in (old, new):
        server.stop()
    scratch = new.folder / "upgrade"
    give(scratch)
    command: list[str | Path] = [
        new.bin / "pg_upgrade",
        "--username=postgres",
        f"--socketdir={scratch}",
        "--old-options=-c wal_level=logical",
    ]
    command += [f"--old-bindir={old.bin}", f"--new-bindir={new.bin}", f"--old-datadir={old.data}", f"--new-datadir={new.data}"]
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    done = subprocess.run(command, cwd=scratch, env=environment, check=False, capture_output=True, text=True, **account())
    log = [file.read_text() for file in new.data.glob("pg_upgrade_output.d/*/log/pg_upgrade_server.log")]
    assert done.returncode == 0, done.stdout + "".join(log)
    shutil.rmtree(scratch)
    new.start()
