"""Partitions: made on demand, ahead, by several at once, and without getting in anybody's way."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from tests.conftest import Database
from tests.events import check_against_fold, make, ndjson, values
from tests.loading import newest

PARTITIONS = "select relname from pg_class where relname ~ '^segment_events_' and relkind = 'r' order by 1"
ENSURE = "select segment_ensure_partitions(%s, %s)"

INSERT = """
insert into segment_events (user_id, occurred_at, event_id, vendor, segment_name, value, remove)
values (%s, %s, %s, %s, %s, %s, %s)
"""


def today() -> date:
    """The UTC day."""
    return datetime.now(UTC).date()


def names(database: Database) -> list[str]:
    """The partitions of segment_events, by their day or `older`."""
    return [str(name).removeprefix("segment_events_") for (name,) in database.fetch(PARTITIONS)]


def days(first: date, count: int) -> list[str]:
    """So many days from the first on."""
    return [f"{first + timedelta(days=number):%Y%m%d}" for number in range(count)]


def test_the_migration_makes_today_and_tomorrow(database: Database) -> None:
    made = names(database)
    assert made[-1] == "older"
    assert made[:-1] == days(datetime.strptime(made[0], "%Y%m%d").replace(tzinfo=UTC).date(), 2)


def test_a_range_is_made_once(database: Database) -> None:
    for _ in range(2):
        database.fetch(ENSURE, today() - timedelta(days=3), today() + timedelta(days=3))
    assert names(database)[:-1] == days(today() - timedelta(days=3), 7)


def test_several_at_once(database: Database) -> None:
    def ensure(_: int) -> None:
        with database.connect("segment_loader", autocommit=True) as connection:
            connection.execute(ENSURE, [today(), today() + timedelta(days=30)])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ensure, range(4)))
    assert names(database)[:-1] == days(today(), 31)


def test_days_long_ago_share_one(database: Database) -> None:
    before = names(database)
    database.fetch(ENSURE, date(1, 1, 1), today() - timedelta(days=401))
    assert names(database) == before
    old = [make(number, seconds=-86_400 * (401 + 100 * number)) for number in range(20)]
    assert database.loader("stream", input=ndjson(old)).returncode == 0
    assert database.fetch("select count(*) from only segment_events_older") == [(20,)]
    check_against_fold(database)


@newest
@pytest.mark.parametrize("bounds", [("2026-01-01", "2096-01-01"), (None, None), ("2026-01-01", "infinity")])
def test_too_many_or_none_are_refused(database: Database, bounds: tuple[str | None, str | None]) -> None:
    with pytest.raises(psycopg.Error) as refused:
        database.fetch("select segment_ensure_partitions(%s::date, %s::date)", *bounds)
    assert refused.value.sqlstate == "SG004"


def test_neither_loading_nor_reading_waits(database: Database) -> None:
    with database.connect() as loading, database.connect() as reading, database.connect() as ensuring:
        for connection in (loading, reading, ensuring):
            connection.execute("set lock_timeout = '5s'")
            connection.commit()
        loading.execute(INSERT, values(make(1)))
        reading.execute("select * from segment_event_outcomes")
        ensuring.execute(ENSURE, [today(), today() + timedelta(days=5)])
        loading.execute(INSERT, values(make(2, seconds=1, remove=True)))
        reading.execute("select * from segment_event_outcomes")
        loading.commit()
    check_against_fold(database)


def test_each_refuses_to_be_named(database: Database) -> None:
    """Also those that were made after the migration."""
    day = today() + timedelta(days=4)
    database.fetch(ENSURE, day, day)
    for statement in (f"truncate segment_events_{day:%Y%m%d}", f"delete from segment_events_{day:%Y%m%d}"):
        with pytest.raises(psycopg.Error) as refused:
            database.execute(statement)
        assert refused.value.sqlstate == "SG001"
    attached = "select pg_get_expr(relpartbound, oid) from pg_class where relname = %s"
    assert database.fetch(attached, f"segment_events_{day:%Y%m%d}") == [
        (f"FOR VALUES FROM ('{day} 00:00:00+00') TO ('{day + timedelta(days=1)} 00:00:00+00')",)
    ]
