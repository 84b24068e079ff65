"""What each role must not do, tried."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.conftest import Database
from tests.events import MEMBERSHIPS, TODAY, check_against_fold

PARTITION = f"segment_events_{TODAY:%Y%m%d}"
EVENT = f"('u', '{TODAY.isoformat()}', gen_random_uuid(), 1, 's')"
COLUMNS = "user_id, occurred_at, event_id, vendor, segment_name"
ADD = f"insert into segment_events ({COLUMNS}) values {EVENT}"
LAKE = "(destination, format, system_identifier) values ('d', 'parquet', 1)"
NOTE = "(slot, batch_id, last_seq) values ('s', 1, 1)"
LETTER = "(slot, document, webhook_id, answer) values ('s', '{}', 'w', 'no')"

DENIED = {
    "segment_loader": [
        f"insert into segment_events ({COLUMNS}, batch_id) values ('u', '{TODAY.isoformat()}', gen_random_uuid(), 1, 's', 7)",
        f"insert into segment_events ({COLUMNS}, seq) values ('u', '{TODAY.isoformat()}', gen_random_uuid(), 1, 's', 7)",
        f"insert into {PARTITION} ({COLUMNS}) values {EVENT}",
        f"select * from {PARTITION}",
        "select batch_id from segment_events",
        "update segment_events set value = 'x'",
        f"update {PARTITION} set value = 'x'",
        "delete from segment_events",
        "truncate segment_events",
        f"truncate {PARTITION}",
        "insert into segment_memberships select * from segment_memberships",
        "update segment_memberships set member = true",
        "delete from segment_memberships",
        "insert into segment_outcomes select * from segment_outcomes",
        "insert into segment_batches (batch_id, arrival, first_seq, last_seq, events, outcomes) values (1, 1, 1, 1, 1, 1)",
        "update segment_batches set events = 0",
        "select batch_id from segment_batches",
        "select nextval('segment_batch_id')",
        "select setval('segment_batch_id', 1)",
        "select setval('segment_batch_floor', 1)",
        "select setval('segment_batch_transaction', 1)",
        "select setval('segment_event_seq', 1)",
        "select nextval('segment_arrival')",
        "select segment_begin_batch()",
        "select segment_end_batch()",
        "select segment_reduce()",
        "select segment_add_partition('segment_events', 'x', 'minvalue', 'maxvalue')",
        "select segment_reset()",
        "update segment_settings set horizon = now()",
        "truncate segment_rejects",
        "update segment_rejects set code = 'x'",
        "select * from webhook_cursors",
        "insert into webhook_cursors (slot, publication) values ('s', 'p')",
        "select * from webhook_delivered",
        f"insert into webhook_delivered {NOTE}",
        "select * from webhook_dead_letters",
        f"insert into webhook_dead_letters {LETTER}",
        "select nextval('webhook_dead_letter_id')",
        "select segment_adopt()",
        "select * from lake_destinations",
        "select * from lake_fragments",
        "create table mine (id int)",
        "create temp table t (id int); create trigger t after insert on t execute function segment_events_begin_batch()",
        "alter table segment_events disable trigger all",
        "set session_replication_role = replica",
        "set role segment_owner",
    ],
    "segment_listener": [
        ADD,
        "select * from segment_events",
        "select * from segment_memberships",
        "delete from segment_outcomes",
        "update segment_settings set horizon = now()",
        "update segment_batches set xact_id = pg_current_xact_id()",
        "select segment_ensure_partitions(current_date, current_date)",
        "truncate webhook_cursors",
        "truncate webhook_delivered",
        "update webhook_dead_letters set answer = 'x'",
        "truncate webhook_dead_letters",
        "select setval('webhook_dead_letter_id', 1)",
        "select segment_adopt()",
    ],
    "segment_lake": [
        ADD,
        "select * from segment_memberships",
        "select * from segment_outcomes",
        "delete from segment_events",
        "update segment_settings set horizon = now()",
        "update segment_batches set xact_id = pg_current_xact_id()",
        "select segment_ensure_partitions(current_date, current_date)",
        "delete from lake_destinations",
        "truncate lake_fragments",
        "select segment_adopt()",
    ],
    "segment_keeper": [
        ADD,
        "select * from segment_suppressions",
        "select * from segment_suppression_key",
        "select segment_suppressed('{nobody}')",
        "select * from segment_events",
        "select * from segment_memberships",
        "delete from segment_events",
        "delete from segment_batches",
        f"drop table {PARTITION}",
        "delete from segment_rejects",
        "delete from segment_sources",
        "delete from lake_destinations",
        "update segment_settings set horizon = now()",
        "select segment_reset()",
        "select segment_add_partition('segment_events', 'x', 'minvalue', 'maxvalue')",
        "select segment_adopt()",
        "set role segment_owner",
    ],
    "segment_reader": [
        ADD,
        "update segment_memberships set member = true",
        "delete from segment_outcomes",
        "insert into segment_rejects (source, position, bytes, length, code, reason) values ('s', 0, '', 0, 'c', 'r')",
        "update segment_sources set loaded = 0",
        "select segment_ensure_partitions(current_date, current_date)",
        "insert into webhook_cursors (slot, publication) values ('s', 'p')",
        "update webhook_cursors set documents = 0",
        f"insert into webhook_delivered {NOTE}",
        "delete from webhook_delivered",
        "delete from webhook_cursors",
        f"insert into webhook_dead_letters {LETTER}",
        "update webhook_dead_letters set answer = 'x'",
        "delete from webhook_dead_letters",
        "select nextval('webhook_dead_letter_id')",
        "select segment_adopt()",
        f"insert into lake_destinations {LAKE}",
        "update lake_destinations set batch_id = 0",
        "delete from lake_fragments",
    ],
}

PRUNING = [
    "select segment_move_horizon(current_date - 30)",
    "select segment_day_batches(null)",
    "select segment_prunable_days('segment_events', current_date)",
    "select segment_prune_sources()",
    "select segment_prune_rejects(now())",
    "select lake_forget('d')",
]

ERASING = [
    "select segment_suppress('nobody')",
    "select segment_leave('nobody')",
    "select segment_leave_awaited('nobody')",
    "select segment_erase_user('nobody')",
    "select segment_erase_rejects('{}')",
    "select segment_erasure_files('nobody', 'd')",
    "select lake_recount('d')",
    "select segment_erasure_finished('nobody')",
    "select segment_erase_statistics()",
    "insert into lake_removals (destination, path) values ('d', 'p')",
    "delete from lake_removals",
]

for role in DENIED:
    if role != "segment_keeper":
        DENIED[role] += ["select * from segment_suppressions", "select * from segment_suppression_key"]
        DENIED[role] += [statement for statement in ERASING if "removals" not in statement]
        DENIED[role] += [*PRUNING, "select segment_prune_events(null)", "select segment_prune_outcomes(current_date)"]

DENIED["segment_dbt"] = [
    *PRUNING,
    "select * from segment_suppressions",
    "select segment_suppressed('{nobody}')",
    ADD,
    f"select * from {PARTITION}",
    "update segment_memberships set member = true",
    "delete from segment_outcomes",
    "truncate segment_batches",
    "update segment_settings set horizon = now()",
    "select * from webhook_cursors",
    "select * from webhook_delivered",
    "select * from webhook_dead_letters",
    "select segment_reset()",
    "select segment_reduce()",
    "select segment_ensure_partitions(current_date, current_date)",
    "create or replace view segment_toggles as select 1",
    "alter table segment_memberships add column mine int",
    "create schema mine",
    "set role segment_owner",
]

SEEN = {
    "segment_dbt": (
        *("segment_events", "segment_memberships", "segment_outcomes", "segment_batches", "segment_rejects"),
        *("segment_settings", "segment_event_outcomes"),
    ),
    "segment_listener": (
        *("segment_outcomes", "segment_toggles", "segment_batches", "segment_settings", "segment_alembic_version"),
        *("webhook_cursors", "webhook_delivered", "webhook_dead_letters"),
    ),
    "segment_reader": (
        *("segment_events", "segment_memberships", "segment_outcomes", "segment_batches", "segment_event_outcomes"),
        *("segment_toggles", "segment_rejects", "segment_sources", "segment_source_positions", "segment_settings"),
        *("segment_alembic_version", "webhook_cursors", "webhook_delivered", "webhook_dead_letters"),
        *("lake_destinations", "lake_fragments"),
    ),
    "segment_keeper": (
        *("segment_settings", "segment_alembic_version", "lake_destinations", "lake_fragments", "lake_removals"),
        "segment_rejects",
    ),
    "segment_lake": (
        *("segment_events", "segment_batches", "segment_settings", "segment_alembic_version", "lake_destinations"),
        "lake_fragments",
    ),
}

LISTENING = [
    "insert into webhook_cursors (slot, publication) values ('s', 'p') on conflict (slot) do update set updated_at = now()",
    "update webhook_cursors set lsn = '0/1', delivered = delivered + 1 where slot = 's'",
    f"insert into webhook_delivered {NOTE} on conflict (slot, batch_id) do update set last_seq = 2",
    "delete from webhook_delivered where slot = 's'",
    "delete from webhook_cursors where slot = 's'",
    f"insert into webhook_dead_letters {LETTER}",
    "delete from webhook_dead_letters where slot = 's'",
]

EXPORTING = [
    f"insert into lake_destinations {LAKE}",
    "update lake_destinations set batch_id = 1 where destination = 'd'",
    "insert into lake_fragments (destination, path, batches, rows, bytes, checksum) values ('d', 'p', '{}', 1, 1, '')",
    "update lake_fragments set written_at = now()",
    "delete from lake_fragments",
]

SEEING = {role: [f"select * from {name}" for name in names] for role, names in SEEN.items()}

ALLOWED = {
    "segment_dbt": [*SEEING["segment_dbt"], "create view mine as select * from segment_memberships"],
    "segment_listener": SEEING["segment_listener"] + LISTENING,
    "segment_reader": SEEING["segment_reader"],
    "segment_lake": SEEING["segment_lake"] + EXPORTING,
    "segment_keeper": SEEING["segment_keeper"] + PRUNING + ERASING,
    "segment_loader": [
        ADD,
        "select segment_ensure_partitions(current_date, current_date + 1)",
        "select sum(events) from segment_batches",
        "delete from segment_rejects where reject_id = 1",
    ],
}


def sqlstate(database: Database, user: str, statement: str) -> str | None:
    """The error that the statement ends with."""
    with database.connect(user, autocommit=True) as connection:
        try:
            connection.execute(statement.encode())
        except psycopg.Error as error:
            return error.sqlstate
    return None


@pytest.mark.parametrize("user", DENIED)
def test_what_a_role_may_not_do(database: Database, user: str) -> None:
    done = {statement: sqlstate(database, user, statement) for statement in DENIED[user]}
    assert {statement: state for statement, state in done.items() if state != "42501"} == {}


@pytest.mark.parametrize("user", ALLOWED)
def test_what_a_role_may_do(database: Database, user: str) -> None:
    assert [sqlstate(database, user, statement) for statement in ALLOWED[user]] == [None] * len(ALLOWED[user])


def test_the_listener_may_stream(database: Database) -> None:
    assert database.fetch("select rolreplication from pg_roles where rolname = 'segment_listener'") == [(True,)]


@pytest.mark.parametrize("user", ["postgres", "segment_owner"])
def test_the_owner_and_superusers_are_kept_from_accidents(database: Database, user: str) -> None:
    database.execute(ADD)
    outcomes = f"segment_outcomes_{TODAY:%Y%m%d}"
    statements = [
        f"{change} {table}"
        for table in ("segment_events", PARTITION, "segment_outcomes", outcomes)
        for change in ("delete from", "truncate", "update")
    ]
    statements = [text + " set value = 'x'" if text.startswith("update") else text for text in statements]
    statements += [
        f"insert into {PARTITION} ({COLUMNS}, batch_id) values ('u', '{TODAY.isoformat()}', gen_random_uuid(), 1, 's', 1)"
    ]
    with database.connect(autocommit=True) as connection:
        connection.execute(f"set role {user}".encode())
        for statement in statements:
            with pytest.raises(psycopg.Error) as refused:
                connection.execute(statement.encode())
            assert refused.value.sqlstate == "SG001", statement
        connection.execute("select segment_reset()")
        with pytest.raises(psycopg.Error):
            connection.execute("truncate segment_events")
    assert database.fetch("select count(*) from segment_events") == [(0,)]


# Ways to run one insert within another, so that its batch id is drawn while the outer one's rows are being made.
EMPTY = f"insert into segment_events ({COLUMNS}) select 'u', now(), gen_random_uuid(), 1, 's' where false;"
FAILING = "begin insert into segment_events (user_id) values (null); exception when others then null; end;"
FORGET = "execute 'discard sequences';"
WITHIN = {
    "empty": EMPTY,
    "failing": FAILING,
    "full": f"{ADD};",
    "empty, then failing": EMPTY + FAILING,
    "forgetful, empty": FORGET + EMPTY,
    "forgetful, failing": FORGET + FAILING,
    "forgetful, full": f"{FORGET} {ADD};",
    "forgetful": FORGET,
}


def prepare(connection: psycopg.Connection[tuple[object, ...]], within: str) -> None:
    """Make pg_temp.f(), which inserts, and pg_temp.g(), which hides that from the planner."""
    connection.execute(
        f"create function pg_temp.f() returns text language plpgsql as $$ begin {within} return 'late'; end $$".encode()
    )
    connection.execute(
        "create function pg_temp.g() returns boolean language plpgsql stable as $$ begin perform pg_temp.f(); return true; end $$"
    )


def insert_select(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Rows before and after the inner insert, in one statement."""
    connection.execute(
        f"""
        insert into segment_events ({COLUMNS})
        select case when n = 2 then pg_temp.f() else 'u' || n end, '{TODAY.isoformat()}', gen_random_uuid(), 1, 's'
        from generate_series(1, 3) n
    """.encode()
    )


def insert_select_filtered(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Rows before the inner insert only."""
    connection.execute(
        f"""
        insert into segment_events ({COLUMNS})
        select 'u' || n, '{TODAY.isoformat()}', gen_random_uuid(), 1, 's'
        from generate_series(1, 3) n where n < 3 or pg_temp.f() is null
    """.encode()
    )


def copy_where(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Rows that COPY still holds in its buffer when the inner insert runs."""
    with (
        connection.cursor() as cursor,
        cursor.copy(f"copy segment_events ({COLUMNS}) from stdin where vendor = 1 or pg_temp.g()") as copy,
    ):
        for number in (1, 2, 3):
            copy.write_row((f"u{number}", TODAY, f"00000000-0000-4000-8000-00000000000{number}", 1 + number // 3, "s"))


@pytest.mark.parametrize("outer", [insert_select, insert_select_filtered, copy_where], ids=lambda outer: outer.__name__)
@pytest.mark.parametrize("within", WITHIN)
def test_no_event_passes_the_reducer_by(
    database: Database, outer: Callable[[psycopg.Connection[tuple[object, ...]]], None], within: str
) -> None:
    with database.connect("segment_loader", autocommit=True) as connection:
        prepare(connection, WITHIN[within])
        with pytest.raises(psycopg.Error) as refused:
            outer(connection)
        assert refused.value.sqlstate in ("SG003", "23505", "55000")
        connection.execute(ADD)
        with connection.transaction():
            connection.execute(ADD)
            with pytest.raises(psycopg.Error), connection.transaction():
                connection.execute("insert into segment_events (user_id) values (null)")
            connection.execute(ADD)
    assert database.fetch("select count(*) from segment_events") == [(3,)]
    check_against_fold(database)


def test_a_savepoint_does_not_make_the_guard_forget(database: Database) -> None:
    with database.connect("segment_loader") as connection:
        prepare(connection, FORGET + EMPTY)
        with connection.transaction(force_rollback=True):
            connection.execute(EMPTY.encode())
        hidden = f"insert into segment_events ({COLUMNS}) select 'hidden-' || i, now(), gen_random_uuid(), 1, 'x'"
        with pytest.raises(psycopg.Error) as refused:
            connection.execute(
                f"""
                with a as ({hidden} from generate_series(1, 5) i returning user_id)
                select pg_temp.f() from (select max(user_id) from a) m
            """.encode()
            )
    assert refused.value.sqlstate == "SG003"


def test_a_pooler_may_discard_between_transactions(database: Database) -> None:
    with database.connect("segment_loader", autocommit=True, prepare_threshold=None) as connection:
        for _ in range(3):
            connection.execute(ADD)
            connection.execute("discard all")
            with connection.transaction():
                connection.execute("create temporary table t (id int)")
                connection.execute(ADD)
                connection.execute(ADD)
            connection.execute("discard sequences")
    assert database.fetch("select count(*) from segment_batches") == [(9,)]
    check_against_fold(database)


def test_transactions_of_many_statements_side_by_side(database: Database) -> None:
    """Each draws batch ids between the others': none may be taken for a statement within another."""

    def work(_: int) -> None:
        with database.connect("segment_loader") as connection:
            for _ in range(40):
                connection.execute(ADD)
                connection.execute(ADD)
                connection.commit()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert database.fetch("select count(*) from segment_batches") == [(8 * 40 * 2,)]


def test_a_temporary_table_or_a_setting_deceives_nobody(database: Database) -> None:
    with database.connect("segment_loader", autocommit=True) as connection:
        connection.execute("create temp table segment_memberships (like public.segment_source_positions)")
        connection.execute("create temp table segment_batches (like public.segment_source_positions)")
        connection.execute("set segment.erasing = on")
        connection.execute("set search_path = pg_temp, public")
        connection.execute(ADD)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("truncate segment_events")
    assert len(database.fetch(MEMBERSHIPS)) == 1
    check_against_fold(database)


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        (f"('', '{TODAY.isoformat()}', gen_random_uuid(), 1, 's', null, false, null)", "segment_events_user"),
        (f"(repeat('é', 257), '{TODAY.isoformat()}', gen_random_uuid(), 1, 's', null, false, null)", "segment_events_user"),
        ("('u', '0001-01-01 BC', gen_random_uuid(), 1, 's', null, false, null)", "segment_events_timestamp"),
        ("('u', '-infinity', gen_random_uuid(), 1, 's', null, false, null)", "segment_events_timestamp"),
        (f"('u', '{TODAY.isoformat()}', gen_random_uuid(), 0, 's', null, false, null)", "segment_events_vendor"),
        (f"('u', '{TODAY.isoformat()}', gen_random_uuid(), 1, repeat('s', 33), null, false, null)", "segment_events_segment"),
        (f"('u', '{TODAY.isoformat()}', gen_random_uuid(), 1, 's', 'v', true, null)", "segment_events_value"),
        (f"('u', '{TODAY.isoformat()}', gen_random_uuid(), 1, 's', null, false, '[]')", "segment_events_extra"),
        (f"""('u', '{TODAY.isoformat()}', gen_random_uuid(), 1, 's', null, false, '{{"user": 1}}')""", "segment_events_extra"),
        (
            f"""('u', '{TODAY.isoformat()}', gen_random_uuid(), 1, 's', null, false, '{{"segment": {{"name": 1}}}}')""",
            "segment_events_extra",
        ),
    ],
)
def test_the_contract_holds_for_plain_sql(database: Database, values: str, constraint: str) -> None:
    with (
        database.connect("segment_loader", autocommit=True) as connection,
        pytest.raises(psycopg.errors.CheckViolation) as refused,
    ):
        connection.execute(f"insert into segment_events ({COLUMNS}, value, remove, extra) values {values}".encode())
    assert refused.value.diag.constraint_name == constraint
