"""The dbt project as its users run it: what it says of itself, and what happens to those who query and load meanwhile."""

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from demo.postgres import Server
from tests.building import DBT, PROJECT, ROLE, dbt, files, session, settle, stream
from tests.conftest import Database
from tests.events import ndjson
from tests.loading import ends, load, newest, running, wait_until

MODELS = sorted(path.stem for path in PROJECT.glob("models/*/*.sql"))
VIEWS = sorted(set(MODELS) - {"segment_activity", "segment_overlap"})

COMMENTS = """
select attname, col_description(attrelid, attnum) from pg_attribute
where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum
"""
RECOUNT = """
select date_trunc('hour', occurred_at, 'UTC'), vendor, segment_name,
  count(*) filter (where not remove), count(*) filter (where remove), count(*) filter (where outcome = 'repeat'),
  count(*) filter (where outcome = 'late'), count(*) filter (where outcome in ('left', 'rejoined'))
from segment_event_outcomes where {} group by 1, 2, 3 order by 1, 2, 3
"""
SLOW = """
insert into segment_events (user_id, occurred_at, event_id, vendor, segment_name)
values ('slow', '2001-01-01', gen_random_uuid(), 1, 's0')
"""
ACTIVITY = "select hour, vendor, segment_name, adds, removes, repeats, lates, toggles from segment_activity order by 1, 2, 3"
BLOCKED = """
select a.query from pg_stat_activity a join pg_stat_activity d on d.pid = any (pg_blocking_pids(a.pid))
where a.application_name = 'pgsegments loader' and d.application_name = 'dbt'
"""


@ends
def test_build_passes(server: Server, built: Database) -> None:
    said = (files(server) / "stdout").read_text()
    assert re.search(r"Done\. PASS=\d+ WARN=0 ERROR=0 SKIP=0", said), said
    assert "eprecat" not in said
    owners = built.fetch("select relname, relowner::regrole::text from pg_class where relname = any (%s) order by 1", MODELS)
    assert owners == [(name, ROLE) for name in MODELS]
    with built.connect("segment_reader") as connection:
        for name in MODELS:
            assert connection.execute(f"select count(*) from {name}".encode()).fetchall() != [(0,)], name


@newest
def test_everything_is_described(server: Server, built: Database) -> None:
    manifest = json.loads((files(server) / "manifest.json").read_text())
    models = {node["name"]: node for node in manifest["nodes"].values() if node["resource_type"] == "model"}
    tested = {test["model"] for test in manifest["unit_tests"].values()}
    assert sorted(models) == MODELS
    assert sorted(tested) == MODELS
    for name, model in models.items():
        assert (PROJECT / model["original_file_path"]).with_suffix(".yml").exists()
        assert model["contract"]["enforced"]
        described(built, name, model)
        assert model["config"]["grants"] == {"select": ["segment_reader"]}
    for source in manifest["sources"].values():
        described(built, source["name"], source, comments=source["name"] != "segment_event_outcomes")
    assert {source["name"] for source in manifest["sources"].values()} >= {
        *("segment_events", "segment_memberships", "segment_outcomes", "segment_batches", "segment_rejects"),
    }
    assert "exposure.pgsegments.webhook" in manifest["exposures"]


def described(database: Database, name: str, node: dict[str, Any], *, comments: bool = True) -> None:
    """Assert that the relation and each of its columns have a description, which psql shows too."""
    assert node["description"]
    columns = database.fetch(COMMENTS, name)
    assert list(node["columns"]) == [column for column, _ in columns]
    for column, comment in columns:
        description = node["columns"][column]["description"]
        assert description
        assert description == comment or not comments, f"{name}.{column}"


class Watch:
    """Queries views without pause, and looks whether dbt blocks a loader; what goes wrong it keeps."""

    def __init__(self, database: Database) -> None:
        self.queries = 0
        self.wrong: list[object] = []
        self._database = database
        self._over = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watch for as long as the block runs."""
        threads = [threading.Thread(target=self._query), threading.Thread(target=self._look)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _query(self) -> None:
        with self._database.connect("segment_reader", autocommit=True, options="-c statement_timeout=20s") as connection:
            while not self._over.wait(0.002):
                for view in (
                    "segment_profiles where user_id = 'user-7'",
                    "theirs where user_id = 'user-7'",
                    "segment_members limit 1",
                ):
                    try:
                        if not connection.execute(f"select * from {view}".encode()).fetchall():
                            self.wrong.append(f"nothing in {view}")
                    except psycopg.Error as error:
                        self.wrong.append(error)
                    self.queries += 1

    def _look(self) -> None:
        with self._database.connect(autocommit=True) as connection:
            while not self._over.wait(0.01):
                self.wrong += connection.execute(BLOCKED.encode()).fetchall()


@newest
def test_nothing_vanishes_and_nobody_waits(built: Database, tmp_path: Path) -> None:
    """While a loader loads: dbt build, and each model alone, its definition changed so that it is replaced."""
    built.execute("""
        create view theirs as select * from segment_profiles;
        grant select on theirs to segment_reader;
        create role somebody_else; grant select on segment_profiles to somebody_else
    """)
    events = [event for part in stream(8, seed=7) for event in part]
    watch = Watch(built)
    with running(built, "--rate", "150", "--batch-size", "20", "--lanes", "2", "--source", "s") as loader:
        assert loader.stdin
        threading.Thread(target=feed, args=(loader, ndjson(events))).start()
        wait_until(lambda: built.fetch("select from segment_sources where loaded > 0"))
        with session(built, files=tmp_path) as run, watch.running():
            for command in ("build", *(f"run --select {model}" for model in MODELS)):
                for view in VIEWS:  # as in a release that changes each definition
                    change(built, view)
                done, said = run(command)
                assert done, said
        assert loader.poll() is None, "the loader should have had work until the end"
    assert watch.wrong == []
    assert watch.queries > 100
    granted = "select has_table_privilege('somebody_else', 'segment_profiles', 'select')"
    assert built.fetch(granted) == [(True,)]
    built.execute("drop owned by somebody_else; drop role somebody_else")


def feed(process: subprocess.Popen[bytes], text: str) -> None:
    """Write to the loader for as long as it takes."""
    assert process.stdin
    try:
        process.stdin.write(text.encode())
        process.stdin.flush()
    except OSError:  # it was stopped
        return


def change(database: Database, view: str) -> None:
    """Give a view another definition with the same columns, so that dbt replaces it."""
    names = (
        f"select string_agg(attname, ', ' order by attnum) from pg_attribute where attrelid = '{view}'::regclass and attnum > 0"
    )
    ((columns, definition),) = database.fetch(f"select ({names}), pg_get_viewdef('{view}'::regclass)")
    inner = str(definition).rstrip(";")
    database.execute(f"set role {ROLE}; create or replace view {view} as select {columns} from ({inner}) as former")


@newest
def test_activity_counts_every_event_once(built: Database, tmp_path: Path) -> None:
    """Late data, a transaction that was open while a later one was counted, runs for nothing, two runs at once."""

    run = "run --select segment_activity"
    first, second, third = stream(3, seed=3)
    assert built.fetch(ACTIVITY) == built.fetch(RECOUNT.format(True))
    with session(built, files=tmp_path / "1") as dbt, session(built, files=tmp_path / "2") as other:
        with built.connect("segment_loader") as slow:
            slow.execute(SLOW)
            before = built.fetch(ACTIVITY)
            load(built, input=ndjson(first))
            assert dbt(run)[0]
            assert built.fetch(ACTIVITY) == before, "the later ones wait for the older transaction"
        load(built, input=ndjson(second))
        settle(built)
        assert dbt(run)[0]
        assert built.fetch(ACTIVITY) == built.fetch(RECOUNT.format(True))
        rows = "select ctid, * from segment_activity order by 1"
        before = built.fetch(rows)
        assert dbt(run)[0]
        assert built.fetch(rows) == before
        load(built, input=ndjson(third))
        settle(built)
        with ThreadPoolExecutor() as threads:
            assert [done for done, _ in threads.map(lambda run_one: run_one(run), (dbt, other))] == [True, True]
    assert built.fetch(ACTIVITY) == built.fetch(RECOUNT.format(True))


@newest
def test_views_of_others_are_kept_by_a_full_refresh(built: Database, tmp_path: Path) -> None:
    built.execute(
        "create view theirs as select m.* from segment_members m, (select from segment_overlap, segment_activity limit 1) t"
    )
    done = dbt(built, "run", "--full-refresh", files=tmp_path)
    assert done.returncode == 1
    assert "cannot drop view segment_members because other objects depend on it" in done.stdout
    assert "WARN=0 ERROR=1 SKIP=0" in done.stdout, done.stdout
    assert built.fetch("select count(*) from theirs") != [(0,)]
    assert built.fetch(ACTIVITY) == built.fetch(RECOUNT.format(True))


@newest
def test_docs_freshness_and_another_schema(built: Database, tmp_path: Path) -> None:
    """By somebody who was granted segment_dbt, over the environment of psql."""
    name = f"analyst_{built.name}"
    built.execute(f"create role {name} login; grant segment_dbt to {name}; create schema analytics authorization segment_dbt")
    with session(built, files=tmp_path, PGUSER=name, DBT_SCHEMA="analytics") as run:
        for command in ("run --select segment_profiles", "source freshness", "docs generate"):
            done, said = run(command)
            assert done, said
    assert built.fetch("select count(*) from analytics.segment_profiles") == built.fetch("select count(*) from segment_profiles")
    assert "segment_profiles" in (tmp_path / "catalog.json").read_text()
    assert (tmp_path / "index.html").stat().st_size > 100_000
    built.execute(f"drop role {name}")


@newest
@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PGSERVICE": "somewhere", "PGHOST": None}, "'PGHOST'"),
        ({"PGUSER": "segment_reader"}, 'permission denied to set role "segment_dbt"'),
        ({"PGDATABASE": "postgres"}, 'run "alembic upgrade head" with the same PG* first'),
    ],
    ids=["service", "role", "tables"],
)
def test_what_is_wrong_is_said(database: Database, environment: dict[str, str | None], words: str, tmp_path: Path) -> None:
    where = database.environment | {"DBT_TARGET_PATH": str(tmp_path), "DBT_LOG_PATH": str(tmp_path), "PGPASSWORD": "s3cr3t"}
    given = {name: value for name, value in (where | environment).items() if value is not None}
    done = subprocess.run([DBT, "run"], cwd=PROJECT, env=given, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert words in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert all(b"s3cr3t" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
