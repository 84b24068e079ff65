"""Rebuilding: a database made from a lake has the memberships and outcomes of the original."""

import gzip
import random
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests.conftest import ROOT, Database, Row
from tests.events import MEMBERSHIPS, check_against_fold, document, fold, make, ndjson
from tests.exporting import export, files, here, rebuild, running
from tests.loading import assert_one_sentence, documents, execute, finish, load, newest, sample, wait_until, write
from tests.loading import running as loading

OUTCOMES = """
select event_id::text, user_id, occurred_at, outcome, previous_event_id::text, previous_occurred_at, previous_value
from segment_event_outcomes order by 1, 2, 3
"""

EVENTS = """
select event_id::text, user_id, occurred_at, vendor, segment_name, value, remove, extra
from segment_events order by 1, 2, 3
"""

EXPORTED = """
select bool_and(until_batch_id is null and not exists (
  select from segment_batches b where (b.xact_id, b.batch_id) > (d.xact_id, d.batch_id)
)) from lake_destinations d
"""

SMALL = """
import dataclasses, lake.cli, lake.rebuild
lake.rebuild.CHUNK, lake.rebuild.MOST_OPEN = 4096, 7
lake.cli.OPTIONS = dataclasses.replace(lake.cli.OPTIONS, batch_size=50)
lake.cli.main()
"""
"""The command with small batches and few open files."""


def state(database: Database) -> list[list[Row]]:
    """All that must be the same."""
    return [database.fetch(query) for query in (MEMBERSHIPS, OUTCOMES)]


def fill(database: Database, tmp_path: Path, destination: Path, *options: str) -> None:
    """Two loaders share users while exports make many files of their events; some are old, late, odd, or far ahead."""
    paths = [write(tmp_path / f"source {number}", documents(sample(500, 25, number))) for number in range(4)]
    with running(database, "export", destination, "--every", "10ms", "--linger", "0s", *options) as exporting:
        wait_until(lambda: database.fetch("select from lake_destinations"))
        for first, second in (paths[:2], paths[2:]):
            with (
                loading(database, "--batch-size", "11", "--rate", "500", first) as one,
                loading(database, "--batch-size", "17", "--rate", "500", second) as two,
            ):
                finish(one)
                finish(two)
            wait_until(lambda: database.fetch(EXPORTED) == [(True,)])
        exporting.terminate()
        finish(exporting)
    ahead = make(9_000_001, seconds=timedelta(days=900).total_seconds())
    odd = f'{document(make(9_000_002))[:-1]}, "n": 1.10, "_meta": {{"arrival": 1, "seq": 2}}}}'
    lines = [document(ahead), document(make(9_000_003, seconds=-40_000_000)), odd.replace('"name"', '"x": [], "name"')]
    load(database, "--max-future", "1000d", input="\n".join(lines))
    export(database, destination, *options)


@newest
@pytest.mark.parametrize("form", ["jsonl.gz", "parquet"])
def test_what_is_rebuilt_is_the_original(database: Database, another: Database, tmp_path: Path, form: str) -> None:
    """Killed on the way, and run again: exactly what was missing."""
    fill(database, tmp_path, tmp_path / "lake", "--format", form)
    assert len(files(tmp_path / "lake")) > 3  # two at least of the loaders, and one of each odd event
    with running(another, "rebuild", tmp_path / "lake", PGUSER="segment_loader") as process:
        wait_until(lambda: another.fetch("select from segment_sources") or process.poll() is not None)
    done = rebuild(another, tmp_path / "lake")
    assert done.returncode == 0, done.stderr
    assert state(another) == state(database)
    assert another.fetch(EVENTS) == database.fetch(EVENTS)
    assert another.fetch("select loaded, duplicates, rejected from segment_sources") == [(2_003, 0, 0)]
    check_against_fold(another)
    again = rebuild(another, tmp_path / "lake")
    assert (again.returncode, again.stderr.splitlines()[-1]) == (0, "0 loaded, 0 duplicates, 0 rejected")


@newest
def test_interrupted_time_and_again(another: Database, tmp_path: Path) -> None:
    """Batches are small here, so that most of them are on their way when it ends."""
    seed = random.SystemRandom().randrange(1_000)
    print("seed", seed)
    chance = random.Random(seed)
    good = sample(4_000, 40, seed)
    lake = arrange(tmp_path / "lake", good_lines(documents(good)), 40)
    for _ in range(4):
        target = count(another) + chance.randrange(1, 900)
        with subprocess.Popen(
            [sys.executable, "-c", SMALL, "rebuild", lake], cwd=ROOT, env=loading_environment(another)
        ) as process:
            wait_until(lambda target=target, process=process: count(another) >= target or process.poll() == 0)  # type: ignore[misc]
            process.kill()
    assert rebuild(another, lake).returncode == 0
    memberships, _ = fold(good)
    assert another.fetch(MEMBERSHIPS) == memberships
    assert another.fetch("select loaded, duplicates from segment_sources") == [(4_000, 0)]
    check_against_fold(another)


def loading_environment(database: Database) -> dict[str, str]:
    """What a rebuild runs in."""
    return database.environment | {"PGUSER": "segment_loader"}


def count(database: Database) -> int:
    """How many events there are."""
    return int(str(database.fetch("select count(*) from segment_events")[0][0]))


def good_lines(lines: list[str]) -> list[str]:
    """Lines with our `_meta`: three in a batch."""
    return [f'{line[:-1]},"_meta":{{"arrival":{n // 3 + 1},"seq":{n + 1}}}}}' for n, line in enumerate(lines)]


def arrange(lake: Path, lines: list[str], number: int) -> Path:
    """Put lines into files of a lake, each file's in order, any next to each other."""
    chance = random.Random(number)
    spread: list[list[str]] = [[] for _ in range(number)]
    for line in lines:
        spread[chance.randrange(number)].append(line)
    for vendor, of_file in enumerate(spread):
        folder = lake / f"events/vendor={vendor}/utc_date=2026-01-01/utc_hour={vendor % 24:02}"
        folder.mkdir(parents=True)
        with gzip.open(folder / "part.jsonl.gz", "wt") as file:
            file.write("".join(line + "\n" for line in of_file))
    return lake


@newest
def test_a_lake_of_others(another: Database, tmp_path: Path) -> None:
    """Gzip NDJSON somewhere below the folder, with fields beside the contract's; file by file, each in its order."""
    good = sample(200, 9)
    for number in range(4):
        folder = tmp_path / f"day={number}"
        folder.mkdir()
        with gzip.open(folder / "events.ndjson.gz", "wt", newline="") as file:
            lines = documents(good[number * 50 : number * 50 + 50])
            file.write("\r\n".join(f'{line[:-1]}, "_meta": {{"offset": {at}}}, "_id": 7}}' for at, line in enumerate(lines)))
    for name in ("README", "a\n.jsonl", "lake.json", ".hidden", "b.csv"):
        (tmp_path / name).write_text("no events")
    done = rebuild(another, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "not read" in line] == ["not read: README and 2 more"]
    memberships, _ = fold(good)
    assert another.fetch(MEMBERSHIPS) == memberships
    check_against_fold(another)
    assert another.fetch("select distinct extra ->> '_id', extra -> '_meta' ? 'offset' from segment_events") == [("7", True)]


@newest
def test_lines_that_are_no_events(another: Database, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "x.gz", "wt") as file:
        file.write(ndjson([make(1)]) + "no event\n\n" + ndjson([make(2)]))
    assert_one_sentence(rebuild(another, tmp_path), "no events")
    assert (count(another), another.fetch("select count(*) from segment_rejects")) == (2, [(1,)])


@newest
@pytest.mark.parametrize("damage", ["cut", "changed", "no gzip", "another name"])
def test_a_damaged_file(another: Database, tmp_path: Path, damage: str) -> None:
    lake = arrange(tmp_path / "lake", good_lines(documents(sample(4_000, 9))), 3)
    file = files(lake)[1]
    data = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(data[:-100])
    elif damage == "changed":
        data[len(data) // 2] ^= 255
        file.write_bytes(data)
    elif damage == "no gzip":
        file.write_bytes(b"{}\n")
    else:
        file = file.rename(file.with_name(f"1-2-{'0' * 16}.jsonl.gz"))
    done = rebuild(another, lake)
    assert_one_sentence(done, str(file), "cannot be read to its end", "segment_reset()")


@newest
def test_no_parquet_of_ours(another: Database, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 or not")
    assert_one_sentence(rebuild(another, tmp_path), "x.parquet cannot be read")


@newest
def test_what_cannot_be_rebuilt(another: Database, empty_database: Database, tmp_path: Path) -> None:
    lake = arrange(tmp_path / "lake", good_lines(documents(sample(100, 9))), 3)
    assert_one_sentence(rebuild(another, tmp_path / "nothing"), "is not there")
    assert_one_sentence(rebuild(empty_database, lake), "alembic upgrade head")
    execute(another, "update segment_settings set horizon = now()")
    assert_one_sentence(rebuild(another, lake), "segment_reset()")
    execute(another, "select segment_reset()")
    assert rebuild(another, lake).returncode == 0
    shutil.copy(files(lake)[0], lake / "more.gz")
    assert_one_sentence(rebuild(another, lake), "has changed since")
    (lake / "more.gz").unlink()
    load(another, input=ndjson([make(-1 % (1 << 128))]))
    assert_one_sentence(rebuild(another, lake), "has events that are not from this lake")
    execute(another, "select segment_reset()")
    load(another, input=ndjson([make(1)]))
    assert_one_sentence(rebuild(another, lake), "has events")


@newest
@pytest.mark.parametrize("role", ["segment_lake", "segment_listener", "segment_reader", "segment_dbt"])
def test_a_role_that_may_not_load(another: Database, tmp_path: Path, role: str) -> None:
    lake = arrange(tmp_path / "lake", good_lines(documents(sample(10, 9))), 3)
    assert_one_sentence(here(another, "rebuild", lake, PGUSER=role), "grant segment_loader to it")


@newest
def test_a_signal_ends_it_well(another: Database, tmp_path: Path) -> None:
    good = sample(3_000, 20)
    lake = arrange(tmp_path / "lake", good_lines(documents(good)), 20)
    with running(another, "rebuild", lake, PGUSER="segment_loader") as process:
        wait_until(lambda: another.fetch("select from segment_sources"))
        process.terminate()
        finish(process)
    assert rebuild(another, lake).returncode == 0
    check_against_fold(another)
    assert count(another) == 3_000
