"""The migrations: one head, up, down, up; what they result in; and how they behave towards what others have in the database."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from demo.postgres import Server
from demo.webhook import Receiver
from migrations import schema
from tests.conftest import ROOT, Database, migrate
from tests.events import check_against_fold, make, ndjson
from tests.listening import catch_up, expected
from tests.loading import assert_one_sentence, newest
from tests.toggling import commit, flips

OURS = """
select 'relation', relname from pg_class where relnamespace = 'public'::regnamespace and relname ~ '^(segment|webhook|lake)'
union all select 'function', proname from pg_proc
  where pronamespace = 'public'::regnamespace and proname ~ '^(segment|webhook|lake)'
union all select 'publication', pubname from pg_publication
union all select 'grant', grantee::regrole::text from pg_namespace, aclexplode(nspacl)
  where nspname = 'public' and grantee <> 0 and grantee::regrole::text like 'segment%'
union all select 'grant', grantee::regrole::text from pg_database, aclexplode(datacl)
  where datname = current_database() and grantee <> 0 and grantee::regrole::text like 'segment%'
"""

UNCOMMENTED = """
select c.oid::regclass::text from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'S') and obj_description(c.oid, 'pg_class') is null
union all
select c.oid::regclass || '.' || a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
  and a.attnum > 0 and not a.attisdropped and col_description(c.oid, a.attnum) is null
union all
select p.oid::regprocedure::text from pg_proc p
where p.pronamespace = 'public'::regnamespace and obj_description(p.oid, 'pg_proc') is null
"""

NOT_THE_OWNERS = """
select c.oid::regclass::text from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'S') and relowner <> 'segment_owner'::regrole
union all select oid::regprocedure::text from pg_proc
where pronamespace = 'public'::regnamespace and proowner <> 'segment_owner'::regrole
union all select pubname from pg_publication where pubowner <> 'segment_owner'::regrole
"""

# Every function of ours fixes search_path, or (called once a row) names its schemas; none may be called by just anybody.
LAX = """
select oid::regprocedure::text from pg_proc
where pronamespace = 'public'::regnamespace
  and (
    (not coalesce(proconfig::text, '') like '%search_path=public, pg_temp%' and proname <> 'segment_current_batch')
    or has_function_privilege('public', oid, 'execute')
  )
"""

# The function, and the rights of the loader's role on the batches.
RESET = """
select prosrc, proacl::text, proowner::regrole::text, obj_description(oid),
  has_any_column_privilege('segment_loader', 'segment_batches', 'select')
from pg_proc where proname = 'segment_reset'
"""
LAKE = """
insert into lake_destinations (destination, format, system_identifier) values ('d', 'parquet', 1);
insert into lake_fragments (destination, path, batches, rows, bytes, checksum) values ('d', 'p', '{}', 1, 1, '')
"""
CURSOR = "insert into webhook_cursors (slot, publication) values ('s', 'segment_toggles')"
WITHIN_THE_PAST = """
insert into webhook_cursors (slot, publication, lsn, past, past_snapshot, past_arrival, past_seq)
"""
WITHIN_ITS_SECOND_BATCH = """
'segment_toggles', pg_current_wal_lsn(), 'begun', pg_current_snapshot(),
(select arrival from segment_batches order by arrival offset 1 limit 1),
(select first_seq + 9 from segment_batches order by arrival offset 1 limit 1)
"""
BATCHES = "select * from segment_batches order by batch_id"
UNSEEN = "select batch_id from segment_batches where not pg_visible_in_snapshot(xact_id, pg_current_snapshot())"
OWN = "select system_identifier from pg_control_system()"

# What a database looks like that was dumped on a server with another identity and more transactions behind it.
FOREIGN = """
update segment_settings set system_identifier = 7;
update segment_batches set xact_id = (batch_id + (1::bigint << 60))::text::xid8
"""


def test_there_is_exactly_one_head() -> None:
    scripts = ScriptDirectory.from_config(Config(toml_file=ROOT / "pyproject.toml"))
    assert len(scripts.get_heads()) == 1
    assert all(not isinstance(script.down_revision, tuple) for script in scripts.walk_revisions())


def test_upgrade_downgrade_upgrade(empty_database: Database) -> None:
    empty_database.execute("create table someone_elses (id int)")
    before = empty_database.fetch(OURS)
    for _ in range(2):
        migrate(empty_database.environment)
        done = empty_database.loader("stream", input=ndjson([make(1), make(2, seconds=1, remove=True)]))
        assert done.returncode == 0, done.stderr
        check_against_fold(empty_database)
        down = migrate(empty_database.environment, "downgrade", "base")
        assert down.returncode == 0, down.stderr
        assert empty_database.fetch(OURS) == before
    assert empty_database.fetch("select count(*) from someone_elses") == [(0,)]


@newest
def test_the_webhooks_tables_come_and_go_beside_the_data(empty_database: Database) -> None:
    """Up from 0001, down to it and up again, on a database with data; views on what stays are no hindrance."""
    migrate(empty_database.environment, "upgrade", "0001")
    core = empty_database.fetch(OURS)
    commit(empty_database, [make(1), make(2, seconds=1, remove=True)])
    before = empty_database.fetch(BATCHES)
    empty_database.execute("create view theirs as select * from segment_memberships")
    for _ in range(2):
        up = migrate(empty_database.environment, "upgrade", "0002")
        assert up.returncode == 0, up.stderr
        assert len(set(empty_database.fetch(OURS)) - set(core)) == 7, "two tables with an index each, two more, a function"
        assert empty_database.fetch(BATCHES) == before
        check_against_fold(empty_database)
        empty_database.execute(CURSOR)
        down = migrate(empty_database.environment, "downgrade", "0001")
        assert down.returncode == 0, down.stderr
        assert sorted(map(str, empty_database.fetch(OURS))) == sorted(map(str, core))
        check_against_fold(empty_database)


def test_the_lakes_tables_come_and_go_beside_the_data(empty_database: Database) -> None:
    migrate(empty_database.environment, "upgrade", "0003")
    before = empty_database.fetch(OURS)
    commit(empty_database, [make(1), make(2)])
    for _ in range(2):
        migrate(empty_database.environment, "upgrade", "0004")
        assert len(set(empty_database.fetch(OURS)) - set(before)) == 7, "two tables, four indexes, the role's grants"
        empty_database.execute("create view theirs as select * from lake_fragments")
        refused = migrate(empty_database.environment, "downgrade", "0003")
        assert "To drop them first: drop view theirs;" in refused.stdout + refused.stderr
        empty_database.execute("drop view theirs")
        down = migrate(empty_database.environment, "downgrade", "0003")
        assert down.returncode == 0, down.stderr
        assert sorted(map(str, empty_database.fetch(OURS))) == sorted(map(str, before))
        check_against_fold(empty_database)


@newest
def test_reset_forgets_lakes_and_comes_back_as_it_was(empty_database: Database) -> None:
    migrate(empty_database.environment, "upgrade", "0005")
    before = empty_database.fetch(RESET)
    for _ in range(2):
        up = migrate(empty_database.environment, "upgrade", "0006")
        assert up.returncode == 0, up.stderr
        commit(empty_database, [make(1)])
        empty_database.execute(LAKE)
        empty_database.execute("set role segment_owner; select segment_reset()")
        for table in ("segment_events", "lake_destinations", "lake_fragments"):
            assert empty_database.fetch(f"select * from {table}") == []
        down = migrate(empty_database.environment, "downgrade", "0005")
        assert down.returncode == 0, down.stderr
        assert empty_database.fetch(RESET) == before


@newest
def test_a_listener_goes_on_within_the_past_over_an_upgrade(empty_database: Database) -> None:
    """What an older listener had delivered of the past is what a newer one passes over."""
    migrate(empty_database.environment, "upgrade", "0006")
    before = empty_database.fetch(OURS)
    for first in (0, 40, 80):
        commit(empty_database, flips(40, first=first))
    empty_database.execute(f"select pg_create_logical_replication_slot('{empty_database.name}', 'pgoutput')")
    empty_database.execute(f"{WITHIN_THE_PAST} values ('{empty_database.name}', {WITHIN_ITS_SECOND_BATCH})")
    for _ in range(2):
        up = migrate(empty_database.environment, "upgrade", "0007")
        assert up.returncode == 0, up.stderr
        empty_database.execute("create view theirs as select * from webhook_delivered")
        refused = migrate(empty_database.environment, "downgrade", "0006")
        assert "To drop them first: drop view theirs;" in refused.stdout + refused.stderr
        empty_database.execute("drop view theirs")
        with Receiver(keep=True) as receiver:
            catch_up(empty_database, receiver)
        assert receiver.received() == expected(flips(120))[46:]
        down = migrate(empty_database.environment, "downgrade", "0006")
        assert down.returncode == 0, down.stderr
        assert sorted(map(str, empty_database.fetch(OURS))) == sorted(map(str, before))
        empty_database.execute("delete from webhook_cursors")
        empty_database.execute(f"{WITHIN_THE_PAST} values ('{empty_database.name}', {WITHIN_ITS_SECOND_BATCH})")


@newest
def test_views_on_the_webhooks_tables_are_named_and_kept(database: Database) -> None:
    database.execute("create view theirs as select * from webhook_cursors; create view kept as select * from segment_batches")
    refused = migrate(database.environment, "downgrade", "0001")
    assert refused.returncode != 0
    assert "To drop them first: drop view theirs;" in refused.stdout + refused.stderr
    assert database.fetch("select count(*) from theirs") == [(0,)]


@newest
@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ("commit_lsn = '0/1'", "webhook_cursors_documents"),
        ("documents = 1", "webhook_cursors_documents"),
        ("past = 'over'", "webhook_cursors_past"),
        ("past = 'begun'", "webhook_cursors_past_snapshot"),
        ("past = 'done'", "webhook_cursors_past_snapshot"),
        ("past = 'wanted', past_snapshot = '1:1:'", "webhook_cursors_past_snapshot"),
        ("past_snapshot = '1:1:'", "webhook_cursors_past_snapshot"),
    ],
)
def test_a_cursor_does_not_contradict_itself(database: Database, values: str, constraint: str) -> None:
    database.execute(CURSOR)
    database.execute("update webhook_cursors set past = 'begun', past_snapshot = '1:1:', commit_lsn = '0/1', documents = 1")
    database.execute("update webhook_cursors set past = 'none', past_snapshot = null, commit_lsn = null, documents = 0")
    with pytest.raises(psycopg.errors.CheckViolation) as refused:
        database.execute(f"update webhook_cursors set {values}")
    assert refused.value.diag.constraint_name == constraint


@newest
def test_a_dead_letter_keeps_its_text(database: Database) -> None:
    text = '{"b": 1.0,  "a": "\\u00e9", "b": 2}'
    database.execute(f"insert into webhook_dead_letters (slot, document, webhook_id, answer) values ('s', '{text}', 'w', 'no')")
    assert database.fetch("select id, document::text, status from webhook_dead_letters") == [(1, text, None)]


def test_everything_is_commented_owned_and_closed(database: Database) -> None:
    assert database.fetch(UNCOMMENTED) == []
    assert database.fetch(NOT_THE_OWNERS) == []
    assert database.fetch(LAX) == []
    assert database.fetch("select rolcanlogin, rolsuper from pg_roles where rolname = 'segment_owner'") == [(False, False)]


@pytest.mark.parametrize("server", [18], indirect=True, ids=["pg18"])
def test_schema_sql_is_what_the_migrations_make(server: Server, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in database.server.environment(database.name).items():
        monkeypatch.setenv(name, value)
    assert schema.dump(str(server.bin / "pg_dump")) == (ROOT / "migrations/schema.sql").read_text(), "run: make schema"


@newest
def test_views_of_others_are_named_and_kept(database: Database) -> None:
    database.execute("""
        create view theirs as select * from segment_memberships; create view on_top as select * from theirs;
        create materialized view stored as select * from segment_toggles
    """)
    refused = migrate(database.environment, "downgrade", "base")
    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr
    command = refused.stdout[refused.stdout.index("drop ") :] if "drop " in refused.stdout else refused.stderr
    assert "drop view on_top, theirs; drop materialized view stored;" in command
    assert database.fetch("select count(*) from segment_memberships") == [(0,)]
    database.execute("drop view on_top, theirs; drop materialized view stored")
    assert migrate(database.environment, "downgrade", "base").returncode == 0


@newest
def test_what_dbt_built_goes_with_its_role(database: Database) -> None:
    """In any schema; unless others have built on it."""
    database.execute("""
        create schema analytics authorization segment_dbt; create schema theirs;
        set role segment_dbt;
        create view segment_profiles as select user_id from segment_memberships;
        create table analytics.segment_activity (id int primary key);
        create view analytics.both as select * from segment_profiles, analytics.segment_activity
    """)
    database.execute(
        "create view theirs.on_top as select * from analytics.both; create view theirs.own as select from segment_events"
    )
    refused = migrate(database.environment, "downgrade", "0002")
    assert refused.returncode != 0
    assert "To drop them first: drop view theirs.on_top;" in refused.stdout + refused.stderr
    assert database.fetch("select from theirs.on_top, segment_profiles") == []
    database.execute("drop view theirs.on_top")
    assert migrate(database.environment, "downgrade", "0002").returncode == 0
    built = database.fetch("select from pg_class where relowner = 'segment_dbt'::regrole")
    assert (built, database.fetch("select from theirs.own")) == ([], [])
    assert migrate(database.environment, "upgrade", "0003").returncode == 0


@newest
def test_another_alembic_application_is_left_alone(empty_database: Database) -> None:
    empty_database.execute("create table alembic_version (version_num text); insert into alembic_version values ('theirs')")
    migrate(empty_database.environment)
    migrate(empty_database.environment, "downgrade", "base")
    assert empty_database.fetch("select version_num from alembic_version") == [("theirs",)]


@newest
def test_two_migrations_at_once(server: Server, empty_database: Database) -> None:
    """In one database, and in another of the same server: roles belong to both."""
    other = f"{empty_database.name}_b"
    server.create_database(other)
    try:
        environments = [empty_database.environment, empty_database.environment, server.environment(other)]
        with ThreadPoolExecutor() as threads:
            results = list(threads.map(migrate_quietly, environments))
    finally:
        server.drop_database(other)
    assert results == [(0, "")] * 3


def migrate_quietly(environment: dict[str, str]) -> tuple[int, str]:
    """The exit code and, where it is not 0, what was said."""
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr if done.returncode else ""


@pytest.mark.parametrize(
    ("attributes", "grant"),
    [
        ("createrole", "grant segment_owner to {} with admin option"),
        ("createrole", "grant segment_owner to {}"),
        ("nocreaterole", "grant segment_owner to {}"),
    ],
)
def test_a_role_that_is_no_superuser_may_migrate(empty_database: Database, attributes: str, grant: str) -> None:
    """It owns the database, and can be segment_owner."""
    name = f"migrator_{empty_database.name}"
    empty_database.execute(f"create role {name} login {attributes}; alter database {empty_database.name} owner to {name}")
    empty_database.execute(grant.format(name))
    done = migrate(empty_database.environment | {"PGUSER": name}, "upgrade", "head")
    assert done.returncode == 0, done.stderr + done.stdout
    assert empty_database.fetch(NOT_THE_OWNERS) == []
    done = migrate(empty_database.environment | {"PGUSER": name}, "downgrade", "base")
    assert done.returncode == 0, done.stderr + done.stdout
    empty_database.execute(f"alter database {empty_database.name} owner to postgres; drop owned by {name}; drop role {name}")


@newest
def test_what_else_stands_on_the_tables_is_named(database: Database) -> None:
    database.execute("create table theirs (batch_id bigint references segment_batches)")
    refused = migrate(database.environment, "downgrade", "base")
    assert refused.returncode != 0
    assert "theirs" in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stderr


@newest
def test_a_role_that_may_not_migrate_is_told_why(empty_database: Database) -> None:
    done = migrate(empty_database.environment | {"PGUSER": "segment_reader"}, "upgrade", "head")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "permission denied" in done.stdout + done.stderr


@newest
def test_an_encoding_that_is_not_utf8_is_refused(server: Server) -> None:
    name = f"latin_{os.getpid()}"
    with Database(server, "postgres").connect(autocommit=True) as connection:
        connection.execute(f"create database {name} encoding 'LATIN1' locale 'C' template template0".encode())
    try:
        done = migrate(server.environment(name), "upgrade", "head")
    finally:
        server.drop_database(name)
    assert done.returncode != 0
    assert "encoding is LATIN1" in done.stdout + done.stderr


def test_no_server_is_one_sentence() -> None:
    done = migrate({"PGHOST": "/nonexistent", "PGDATABASE": "x"}, "upgrade", "head")
    assert done.returncode != 0
    assert "cannot be reached" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_dump_and_restore_goes_on(server: Server, database: Database, empty_database: Database) -> None:
    events = [make(1, seconds=1), make(2, seconds=2, remove=True)]
    assert database.loader("stream", input=ndjson(events)).returncode == 0
    dumped = database.run(server.bin / "pg_dump")
    restored = empty_database.psql(input=dumped.stdout)
    assert restored.returncode == 0, restored.stderr
    done = empty_database.loader("stream", "--json", input=ndjson([*events, make(3, seconds=3)]))
    assert '"loaded": 1, "duplicates": 2' in done.stdout, done.stderr
    check_against_fold(empty_database)
    assert database.fetch("select * from segment_events order by seq") == empty_database.fetch(
        "select * from segment_events order by seq limit 2"
    )


def load(database: Database, *numbers: int) -> None:
    """Load events, each as a batch of its own."""
    for number in numbers:
        done = database.loader("stream", input=ndjson([make(number, seconds=number, remove=number % 2 == 0)]))
        assert done.returncode == 0, done.stderr


def adopt(database: Database) -> None:
    """Call the function as its owner, who is no superuser."""
    database.execute("set role segment_owner; select segment_adopt()")


@newest
def test_another_server_is_adopted(database: Database) -> None:
    load(database, 1, 2)
    database.execute(FOREIGN)
    assert_one_sentence(database.loader("stream", input=ndjson([make(3)])), "another server", "segment_adopt()")
    database.execute(CURSOR)
    batches = "select batch_id, arrival, recorded_at, first_seq, last_seq, events, outcomes from segment_batches order by 1"
    before = database.fetch(batches)
    settings = database.fetch("select one, first_day, horizon from segment_settings")
    assert database.fetch(UNSEEN) == [(1,), (2,)]
    adopt(database)
    assert database.fetch(UNSEEN) == []
    assert database.fetch("select system_identifier from segment_settings") == database.fetch(OWN)
    assert database.fetch("select one, first_day, horizon from segment_settings") == settings
    assert database.fetch("select past from webhook_cursors") == [("none",)]
    assert database.fetch(batches) == before
    load(database, 4)
    assert database.fetch(UNSEEN) == []
    check_against_fold(database)
