"""`loader status`: what it tells is what the tables say, with no more rights than the loader has."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Database
from tests.events import TODAY, document, make, ndjson
from tests.loading import ROLE, assert_one_sentence, documents, execute, invoke, load, newest, sample, write

SIZE = """
select sum(pg_total_relation_size(oid))::bigint from pg_class
where oid = %s::regclass or oid in (select inhrelid from pg_inherits where inhparent = %s::regclass)
"""
FIELDS = ("source", "position", "size", "loaded", "duplicates", "rejected")


def status(database: Database, user: str = ROLE) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(invoke(database, "status", "--json", user=user))
    return found


@newest
def test_nothing_yet(database: Database) -> None:
    found = status(database, "segment_reader")
    assert (found["sources"], found["rejects"], found["missing"], found["last_batch_at"]) == ([], {}, [], None)
    done = database.loader("status", PGUSER=ROLE)
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "rejects: none"
    assert done.stdout.splitlines()[-1] == "last batch: none"


@newest
def test_sources_rejects_and_sizes(database: Database, tmp_path: Path) -> None:
    path = write(tmp_path / "events", [*documents(sample(30, 4)), "{", "[]", document(make(9_999, seconds=2 * 86_400))])
    size = path.stat().st_size
    load(database, path)
    load(database, "--source", "a pipe", input=ndjson([make(7), make(7)]))
    found = status(database)
    file, pipe = found["sources"]
    assert [file[name] for name in FIELDS] == [str(path), size, size, 30, 0, 3]
    assert [pipe[name] for name in FIELDS] == ["a pipe", None, None, 1, 1, 0]
    assert found["rejects"] == {"future": 1, "invalid_json": 2}
    sizes = {table["table"]: table["bytes"] for table in found["tables"]}
    assert sizes == {name: database.fetch(SIZE, name, name)[0][0] for name in sizes}
    assert datetime.fromisoformat(found["last_batch_at"]) == datetime.fromisoformat(pipe["updated_at"])
    assert datetime.now(UTC) - datetime.fromisoformat(pipe["updated_at"]) < timedelta(minutes=2)
    lines = invoke(database, "status").splitlines()
    assert lines[1].startswith("a pipe: 1 loaded, 1 duplicates, 0 rejected, last 20")
    assert lines[0].startswith(f"{path}: read to byte {size:,} of {size:,}, 30 loaded, 0 duplicates, 3 rejected, last 20")
    assert lines[2] == "rejects: 1 future, 2 invalid_json"


@newest
def test_a_file_that_grew_was_replaced_or_is_gone(database: Database, tmp_path: Path) -> None:
    """The size is told of the file that was read, and of no other of that name; the position is the least of all buckets."""
    path = write(tmp_path / "events", documents(sample(5, 2)))
    load(database, path)
    size = path.stat().st_size
    execute(database, "update segment_source_positions set position = 3 where bucket = 7")
    with path.open("a") as file:
        file.write(document(make(99)))
    grown = path.stat().st_size
    assert [(source["position"], source["size"]) for source in status(database)["sources"]] == [(3, grown)]
    write(path, ["x" * size])
    assert status(database)["sources"][0]["size"] is None
    path.unlink()
    assert status(database)["sources"][0]["size"] is None
    assert f"{path}: read to byte 3, 5 loaded" in invoke(database, "status")


@newest
def test_partitions(database: Database) -> None:
    load(
        database, "--max-future", "9d", input=ndjson(make(day + 999, seconds=86_400 * day) for day in (-900, -3, -2, 0, 1, 4, 5))
    )
    events, memberships, outcomes = status(database)["tables"]
    assert [events[name] for name in ("table", "behind", "today", "ahead")] == ["segment_events", 2, 1, 3]
    assert [memberships[name] for name in ("table", "behind", "today", "ahead")] == ["segment_memberships", 0, 0, 0]
    assert [outcomes[name] for name in ("table", "behind", "today", "ahead")] == ["segment_outcomes", 0, 1, 1]
    shown = invoke(database, "status").splitlines()
    assert shown[2].startswith("segment_events: ")
    assert shown[2].endswith(" bytes, partitions: 2 behind, 1 today, 3 ahead")
    assert shown[3].endswith(" bytes")


@newest
@pytest.mark.parametrize("days", [[1], [0, 1]])
def test_a_missing_partition_is_told(database: Database, days: list[int]) -> None:
    missing = [f"{TODAY + timedelta(days=day):%Y-%m-%d}" for day in days]
    for day in missing:
        execute(database, f"drop table segment_outcomes_{day.replace('-', '')}")
    assert status(database)["missing"] == missing
    done = database.loader("status", PGUSER=ROLE)
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert f"Warning: segment_outcomes has no partition for {' and '.join(missing)}: " in done.stderr
    assert "segment_ensure_partitions(current_date, current_date + 1)" in done.stderr


@newest
def test_who_may_not(database: Database, empty_database: Database) -> None:
    assert_one_sentence(database.loader("status", PGUSER="segment_dbt"), "segment_loader")
    assert_one_sentence(empty_database.loader("status"), "alembic upgrade head")
