"""What the loader is measured against does the same work: the same events lead to the same memberships and outcomes."""

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from benchmarks import row_trigger
from tests.conftest import ROOT, Database, Row
from tests.loading import execute, newest, run

MEMBERSHIPS = "select user_id, vendor, segment_name, member, first, last, events, value from {} order by 1, 2, 3"
OUTCOMES = "select user_id, occurred_at, event_id, outcome, previous_event_id from {} where outcome <> 'late' order by 1, 2, 3"


@pytest.fixture
def file(database: Database, tmp_path: Path) -> Path:
    """Events of every outcome, which are loaded, too."""
    path = tmp_path / "events"
    options = ("--count", "5000", "--seed", "1", "--users", "100", "--segments", "5", "--late", "0.1", "--values", "0.2")
    with path.open("wb") as opened:
        subprocess.run([sys.executable, "-m", "loader", "generate", *options], cwd=ROOT, stdout=opened, check=True)
    assert run(database, path).returncode == 0
    outcomes = database.fetch("select distinct outcome from segment_event_outcomes order by 1")
    assert outcomes == [(name,) for name in ("absent", "joined", "late", "left", "rejoined", "repeat")]
    return path


def tables(database: Database) -> tuple[list[Row], list[Row]]:
    return database.fetch(MEMBERSHIPS.format("segment_memberships")), database.fetch(OUTCOMES.format("segment_outcomes"))


@newest
def test_the_batch_engine(database: Database, file: Path, tmp_path: Path) -> None:
    target = tmp_path / "events.duckdb"
    subprocess.run([sys.executable, "-m", "benchmarks.batch_engine", file, target, "2"], cwd=ROOT, check=True)
    with duckdb.connect(str(target)) as connection:
        # Without a time zone, as is what PostgreSQL shows in UTC.
        found = [
            connection.execute(query.format(of)).fetchall()
            for query, of in ((MEMBERSHIPS, "memberships"), (OUTCOMES, "outcomes"))
        ]
    assert found == [[tuple(map(naive, row)) for row in rows] for rows in tables(database)]


def naive(value: object) -> object:
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


@newest
@pytest.mark.usefixtures("file")
def test_the_trigger_for_each_row(database: Database) -> None:
    execute(database, row_trigger.TABLES)
    execute(database, f"insert into row_by_row select {row_trigger.COLUMNS} from segment_events order by seq")
    memberships, outcomes = tables(database)
    found = database.fetch(MEMBERSHIPS.format("row_memberships"))
    assert [row[:-1] for row in found] == [row[:-1] for row in memberships], "but for values: it forgets those of late events"
    assert database.fetch(OUTCOMES.format("row_outcomes")) == outcomes
