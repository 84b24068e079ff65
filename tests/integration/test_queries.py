"""Each of the live queries, run by psql as it is and with its variable set."""

import json

from tests.conftest import ROOT, Database
from tests.events import make, ndjson
from tests.loading import newest

QUERIES = ROOT / "queries"


def fill(database: Database) -> None:
    """Two users of the generator's, one of whom has left."""
    events = [
        make(1, "usr-000000", "seg-0", seconds=1, value="gold"),
        make(2, "usr-000001", "seg-0", seconds=2),
        make(3, "usr-000001", "seg-0", seconds=3, remove=True),
        make(4, "usr-000001", "seg-1", seconds=4),
        make(5, "usr-000001", "seg-1", seconds=5),
    ]
    assert database.loader("stream", input=ndjson(events)).returncode == 0


def ask(database: Database, name: str, *variables: str, user: str = "segment_reader") -> list[list[str]]:
    """The query's rows."""
    options = [word for variable in variables for word in ("-v", variable)]
    done = database.psql("-U", user, *options, "-f", QUERIES / f"{name}.sql")
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split("|") for line in done.stdout.splitlines()]


def test_every_query_starts_with_its_question() -> None:
    for path in QUERIES.glob("*.sql"):
        assert path.read_text().startswith("-- "), path


@newest
def test_active_segments_of_a_range_of_users(built: Database) -> None:
    fill(built)
    assert ask(built, "pg_user_active_segments") == [["usr-000000", "1", "{seg-0}"], ["usr-000001", "1", "{seg-1}"]]
    assert [row[0] for row in ask(built, "pg_user_active_segments", "from_user=usr-000001")] == ["usr-000001"]


@newest
def test_point_lookup(built: Database) -> None:
    """One row, with a line a segment."""
    fill(built)
    assert ask(built, "pg_user_point_lookup")[0][:4] == ["usr-000000", "1", "1", "{seg-0}"]
    first, *others = ask(built, "pg_user_point_lookup", "user=usr-000001")
    assert first[:4] == ["usr-000001", "1", "2", "{seg-1}"]
    segments = [json.loads(line) for line in (first[4], *(row[0] for row in others))]
    assert [(segment["segment"]["name"], segment["member"]) for segment in segments] == [("seg-0", False), ("seg-1", True)]


def test_segment_membership(database: Database) -> None:
    fill(database)
    assert [row[:2] for row in ask(database, "pg_segment_membership")] == [["seg-0", "usr-000000"], ["seg-1", "usr-000001"]]
    assert ask(database, "pg_segment_membership", "vendor=2") == []
    assert len(ask(database, "pg_segment_membership", "rows=1")) == 1


def test_event_outcomes(database: Database) -> None:
    fill(database)
    rows = ask(database, "pg_event_outcomes")
    assert sorted(row[5] for row in rows) == ["joined", "joined", "joined", "left", "repeat"]
    assert len(ask(database, "pg_event_outcomes", "rows=2")) == 2


def test_reset(database: Database) -> None:
    fill(database)
    database.loader("stream", input="rubbish\n")
    done = database.psql("-U", "segment_reader", "-f", QUERIES / "pg_reset_tables.sql")
    assert done.returncode != 0
    assert ask(database, "pg_reset_tables", user="postgres") == [[""]]
    for table in ("events", "memberships", "outcomes", "batches", "rejects", "sources", "source_positions"):
        assert database.fetch(f"select count(*) from segment_{table}") == [(0,)], table
    assert database.fetch("select horizon, system_identifier is not null from segment_settings") == [(None, True)]
    assert database.fetch("select count(*) from segment_alembic_version") == [(1,)]
    fill(database)
