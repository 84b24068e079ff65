"""What `make chaos` calls left: each query finds it, and finds nothing where nothing is left."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from chaos import leaks
from tests.conftest import Database, Row
from tests.loading import newest

pytestmark = newest

SLOT = "pg_create_physical_replication_slot"
SORT = "declare sorted cursor for select * from generate_series(1, 100000) order by 1 desc"
LEFT = {
    "cursors within": "insert into webhook_cursors (slot, publication) values ('left', 'segment_toggles')",
    "advisory locks": "select pg_advisory_xact_lock(18)",
    "temporary tables": "create temporary table left_over (a integer)",
    "indexes": "update pg_index set indisvalid = false where indexrelid = 'segment_memberships_pkey'::regclass",
    "files of the lake": """
insert into lake_fragments (destination, path, batches, rows, bytes, checksum) values ('l', 'p', '{}', 1, 1, '')""",
    "notes": "insert into webhook_delivered values ('left', 1, 1)",
    "temporary files": f"set local work_mem = '64kB'; {SORT}; fetch sorted",
}
SHARED = ("advisory locks", "temporary files")
"""What other tests may have, too: ours are those with our process's id."""


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Row]]:
    """Whose transaction does not stay."""
    with closing(database.connect()) as connection:
        connection.execute("set local session_replication_role = replica")
        yield connection
        connection.rollback()


def found(connection: psycopg.Connection[Any], words: str) -> list[tuple[Any, ...]]:
    (query,) = (query for what, query in leaks.LEFT.items() if what.startswith(words))
    rows = connection.execute(query.encode()).fetchall()
    return [row for row in rows if words not in SHARED or str(connection.info.backend_pid) in str(row)]


@pytest.mark.parametrize("words", LEFT)
def test_what_is_left(connection: psycopg.Connection[Row], words: str) -> None:
    assert not found(connection, words)
    connection.execute(LEFT[words].encode())
    assert found(connection, words)


def test_a_slot_without_a_cursor(connection: psycopg.Connection[Row]) -> None:
    name = f"left_{time.time_ns()}"
    connection.execute(f"select {SLOT}('{name}')".encode())
    try:
        assert name in {row[0] for row in found(connection, "slots")}
    finally:
        connection.execute("select pg_drop_replication_slot(%s)", [name])
    assert name not in {row[0] for row in found(connection, "slots")}


def test_connections(connection: psycopg.Connection[Row], database: Database) -> None:
    with closing(database.connect()) as other:
        assert other.info.backend_pid in {row[0] for row in found(connection, "connections")}
    assert connection.info.backend_pid not in {row[0] for row in found(connection, "connections")}


def test_a_role_with_many_sessions(
    connection: psycopg.Connection[Row], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaks, "MOST_SESSIONS", 0)
    with closing(database.connect("segment_lake")):
        assert any(sentence.startswith("The role segment_lake has ") for sentence in leaks.sessions(connection))
    monkeypatch.setattr(leaks, "MOST_SESSIONS", 1000)
    assert not list(leaks.sessions(connection))
