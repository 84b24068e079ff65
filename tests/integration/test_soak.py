"""A soak of seconds: all of it runs, every measure is there, and the days that it simulates are really pruned."""

import json
import sys
import time
from pathlib import Path
from subprocess import PIPE

import msgspec
import pytest

from benchmarks import process
from benchmarks.ageing import Calendar, hasten, make_days
from benchmarks.chores import KEEP, Place, prune
from benchmarks.curves import draw
from benchmarks.flatness import MEASURES, levels
from benchmarks.process import MOMENT, Failed, background
from benchmarks.soaking import Load, Record, export, soak
from tests.conftest import Database
from tests.loading import newest

LOAD = Load(seconds=12, days=12, rate=1000)


@pytest.fixture
def place(database: Database, tmp_path: Path) -> Place:
    tmp_path.chmod(0o755)
    return Place(database.server, database.name, tmp_path)


@newest
def test_a_tiny_soak_measures_everything_and_prunes_what_it_simulates(database: Database, place: Place, tmp_path: Path) -> None:
    told: list[str] = []
    record = soak(place, LOAD, [], told.append)

    assert set(record.series) == {measure.name for measure in MEASURES}
    assert all(len(values) == len(record.times) for values in record.series.values())
    assert all(any(values) for name, values in record.series.items() if name != "temporary files"), record.series
    assert len(levels(record.series)) == len(MEASURES)
    assert record.delivered > 0

    # However slow the machine was: what was recorded before the first event of the stream is old enough by now.
    export(place)
    last = prune(place, Calendar(time.time(), LOAD.seconds, LOAD.days))
    assert len(told) == len(record.prunings) > 0
    assert all(record.removed()[kind] + number > 0 for kind, number in last.items()), told
    days = [day for (day,) in database.fetch("select segment_prunable_days('segment_events', current_date)")]
    assert 0 < len(days) <= KEEP + 2
    assert database.fetch("select count(*) from segment_batches where recorded_at < current_date - %s", KEEP + 2) == [(0,)]
    ((loaded, there, pruned),) = database.fetch(
        "select (select sum(loaded) from segment_sources where source = 'soak'), (select count(*) from segment_events),"
        " (select pruned from lake_destinations)"
    )
    assert loaded < there + pruned  # type: ignore[operator] # the files' events are there, too
    assert loaded >= LOAD.rate  # type: ignore[operator] # programs take a while to start

    draw(record, tmp_path / "soak.svg")
    assert "lake prune" in (tmp_path / "soak.svg").read_text()
    assert msgspec.json.decode(msgspec.json.encode(record), type=Record) == record


@newest
def test_a_database_that_is_hastened_notes_the_simulated_time_everywhere(database: Database, place: Place) -> None:
    calendar = Calendar(time.time() + 60, 60, 10)
    with database.connect(autocommit=True) as connection:
        hasten(connection, calendar)
        make_days(connection, calendar, calendar.began_at)
    file = place.folder / "events"
    happened = f"{calendar.simulated(calendar.began_at):%Y-%m-%dT%H:%M:%SZ}"
    event = {
        "event": "8c1f6d7e-3f0a-4b62-9f53-0d5f5a9f2d11", "timestamp": happened, "user": "u", "segment": {"vendor": 1, "name": "s"}
    }  # fmt: skip
    file.write_text(json.dumps(event) + "\nno event\n")
    assert database.loader("stream", file).returncode == 0

    ((days,),) = database.fetch(
        "select array_agg(distinct (at at time zone 'UTC')::date) from ("
        "  select recorded_at as at from segment_batches union all select recorded_at from segment_outcomes"
        "  union all select rejected_at from segment_rejects union all select finished_at from segment_sources"
        "  union all select first_seen_at from segment_sources) t"
    )
    assert days == [calendar.day(calendar.began_at)]
    assert database.fetch("select count(*) from segment_outcomes o join segment_batches b using (batch_id, recorded_at)") == [
        (1,)
    ]


@newest
def test_a_chore_that_fails_ends_the_soak(place: Place) -> None:
    def fail() -> None:
        raise Failed("no more")

    began = time.monotonic()
    with pytest.raises(Failed, match="no more"):
        soak(place, Load(seconds=60, days=60, rate=100), [(fail, 1)], print)
    assert time.monotonic() - began < 30, "at once, not at the end"


def test_a_program_that_fails_says_what_it_said(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no more')"]
    with pytest.raises(Failed, match="no more"), background(command, {}, tmp_path / "log") as program:
        program.process.wait()


def test_a_program_that_ends_before_its_time(tmp_path: Path) -> None:
    with background([sys.executable, "-c", ""], {}, tmp_path / "log") as program:
        program.wait()
        program.check_until(time.time() + MOMENT / 2)
        with pytest.raises(Failed, match="log has ended before its time"):
            program.check_until(time.time() + 60)


def test_a_program_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PATIENCE", 0.5)
    command = [sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"]
    with pytest.raises(Failed, match="has not ended in"), background(command, {}, tmp_path / "log", stdout=PIPE) as program:
        program.process.stdout.readline()  # type: ignore[union-attr]
    program.process.stdout.close()  # type: ignore[union-attr]


@newest
def test_a_prune_that_fails_says_why(place: Place) -> None:
    with pytest.raises(Failed, match="export"):
        prune(place, Calendar(time.time() + 60, 60, 10))
