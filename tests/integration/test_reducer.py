"""The reducer against an independent fold, one event at a time, on real servers."""

import random
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby, permutations
from operator import itemgetter

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.fold import Event
from loader.copy import Copier, Counts
from loader.event import Limits
from loader.ndjson import Block, decode
from tests.conftest import Database
from tests.events import COPY, MEMBERSHIPS, MISCOUNTED, OUTCOMES, TODAY, check_against_fold, fold, make, ndjson, values

TOGGLES = "select event_id::text, outcome from segment_toggles order by seq"

# Few keys and few moments, so that events tie, repeat and come late; some of them long ago, in the oldest partition.
LIMITS = Limits(TODAY + timedelta(days=2), None)
MOMENTS = [0, 1, 2, 3, 4, -86_400 * 9_000, -86_400 * 9_000 + 1]


@st.composite
def streams(draw: st.DrawFn) -> list[list[Event]]:
    """Batches of events."""
    kinds = st.tuples(
        st.sampled_from("ab"),
        st.sampled_from(["s", "t"]),
        st.sampled_from(MOMENTS),
        st.sampled_from([None, "", "x", "y"]),
        st.booleans(),
    )
    drawn = draw(st.lists(st.lists(kinds, min_size=1, max_size=25), min_size=1, max_size=6))
    numbers = iter(range(10_000))
    return [
        [
            make(next(numbers), user, name, seconds=at, value=None if remove else value, remove=remove)
            for user, name, at, value, remove in batch
        ]
        for batch in drawn
    ]


def copy(connection: psycopg.Connection[tuple[object, ...]], events: Iterable[Event]) -> None:
    """Add the events by one COPY."""
    with connection.cursor() as cursor, cursor.copy(COPY) as rows:
        for event in events:
            rows.write_row(values(event))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True)
@given(batches=streams())
def test_random_streams_equal_the_fold(database: Database, batches: list[list[Event]]) -> None:
    events = [event for batch in batches for event in batch]
    memberships, outcomes = fold(events)
    with database.connect() as connection:
        connection.execute("select segment_reset()")
        for batch in batches:
            copy(connection, batch)
            connection.commit()
        assert connection.execute(MEMBERSHIPS).fetchall() == memberships
        assert connection.execute(OUTCOMES).fetchall() == outcomes
        assert connection.execute(TOGGLES).fetchall() == [row[:2] for row in outcomes if row[1] in ("left", "rejoined")]
        assert connection.execute(MISCOUNTED).fetchall() == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True)
@given(batches=streams(), again=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=30))
def test_duplicates_in_random_places_change_nothing(
    database: Database, batches: list[list[Event]], again: list[tuple[int, int]]
) -> None:
    """Written by the loader's own hand; each pair delivers an earlier event once more, at a later place."""
    deliveries = [(number, event) for number, batch in enumerate(batches) for event in batch]
    expected = fold([event for _, event in deliveries])
    for source, place in again:
        at = place % len(deliveries)
        deliveries.insert(at + 1, (deliveries[at][0], deliveries[source % (at + 1)][1]))
    copier, counts = Copier(), Counts()
    with database.connect(autocommit=True) as connection:
        connection.execute("select segment_reset()")
        for _, batch in groupby(deliveries, key=itemgetter(0)):
            rows, rejects = decode(Block(0, ndjson(event for _, event in batch).encode()), LIMITS)
            assert rejects == []
            with connection.transaction():
                counts = counts.plus(copier.write(connection, "test", rows, []))
        assert counts == Counts(len(deliveries) - len(again), len(again), 0)
        assert connection.execute(MEMBERSHIPS).fetchall() == expected[0]
        assert sorted(connection.execute(OUTCOMES)) == sorted(expected[1])  # the loader sorts a batch by user
        assert connection.execute(MISCOUNTED).fetchall() == []


def test_any_order_of_arrival_gives_the_same_state(database: Database) -> None:
    events = [
        make(1, seconds=1, value="one"),
        make(2, seconds=2, remove=True),
        make(3, seconds=3, value=""),
        make(4, seconds=4, remove=True),
    ]
    expected = [(False, events[0].occurred_at, events[3].occurred_at, "")]
    with database.connect() as connection:
        for order in permutations(events):
            for size in (1, 2, 4):
                for start in range(0, 4, size):
                    copy(connection, order[start : start + size])
                state = connection.execute("select member, first, last, value from segment_memberships").fetchall()
                assert state == expected, (order, size)
                connection.execute("select segment_reset()")


def test_statements_of_one_transaction_count_once_each(database: Database) -> None:
    with database.connect() as connection:
        copy(connection, [make(1), make(2, seconds=1, remove=True)])
        copy(connection, [make(3, seconds=2)])
    assert database.fetch("select events from segment_batches order by batch_id") == [(2,), (1,)]
    check_against_fold(database)


def test_a_copy_of_many_rows_is_one_batch(database: Database) -> None:
    with database.connect() as connection:
        copy(connection, (make(number, f"u{number % 700}", seconds=number) for number in range(5_000)))
    assert database.fetch("select events, last_seq - first_seq + 1 from segment_batches") == [(5_000, 5_000)]
    check_against_fold(database)


def test_a_batch_rolled_back_leaves_nothing(database: Database) -> None:
    with database.connect() as connection:
        copy(connection, [make(1)])
        with connection.transaction(force_rollback=True):
            copy(connection, [make(2, seconds=1, remove=True)])
        copy(connection, [make(3, seconds=2, remove=True)])
        connection.commit()
        copy(connection, [make(4, seconds=3)])
        connection.rollback()
    assert [row[:2] for row in database.fetch(OUTCOMES)] == [(make(1).event_id, "joined"), (make(3).event_id, "left")]
    check_against_fold(database)


def test_an_old_event_then_a_good_one_in_the_same_session(database: Database) -> None:
    old = make(1)._replace(occurred_at=datetime(2001, 9, 9, tzinfo=UTC))
    with database.connect() as connection:
        for event in (old, make(2, seconds=5, remove=True), make(3, "v")):
            copy(connection, [event])
            connection.commit()
    assert [row[1] for row in database.fetch(OUTCOMES)] == ["joined", "left", "joined"]
    check_against_fold(database)


def test_days_of_a_year_in_one_batch(database: Database) -> None:
    events = [make(number, seconds=-86_400 * number, remove=number % 3 == 0) for number in range(380)]
    days = [event.occurred_at.date() for event in events]
    with database.connect() as connection:
        connection.execute("select segment_ensure_partitions(%s, %s)", [min(days), max(days)])
        connection.commit()
        copy(connection, events)
        connection.commit()
        copy(connection, [make(1_000, seconds=1)])
    assert database.fetch("select count(*) from pg_inherits where inhparent = 'segment_events'::regclass") == [(382,)]
    check_against_fold(database)


def test_a_day_that_is_shorter_in_the_sessions_time_zone(database: Database) -> None:
    """On 29 March 2026 Berlin loses an hour; days are UTC days all the same."""
    events = [make(hour)._replace(occurred_at=datetime(2026, 3, 29, hour, 30, tzinfo=UTC)) for hour in (0, 12, 23)]
    database.fetch("select segment_ensure_partitions('2026-03-29', '2026-03-29')")
    with database.connect(options="-c timezone=Europe/Berlin") as connection:
        copy(connection, events)
    assert database.fetch("select events from segment_batches") == [(3,)]
    check_against_fold(database)


def test_a_server_that_counts_nothing(database: Database) -> None:
    """Without statistics the reducer looks through every day."""
    database.execute(f"alter database {database.name} set track_counts = off")
    with database.connect() as connection:
        copy(connection, [make(1, seconds=-86_400 * 9_000), make(2, seconds=1, remove=True)])
    assert [row[1] for row in database.fetch(OUTCOMES)] == ["joined", "left"]
    check_against_fold(database)


def test_no_partition_for_outcomes_says_what_to_do(database: Database) -> None:
    with database.connect(autocommit=True) as connection:
        today = datetime.now(UTC).date()
        for day in (today, today + timedelta(days=1)):
            connection.execute(f"drop table segment_outcomes_{day:%Y%m%d}")
        with pytest.raises(psycopg.Error) as refused:
            copy(connection, [make(1)])
        assert refused.value.sqlstate == "SG002"
        connection.execute("select segment_ensure_partitions(current_date, current_date)")
        copy(connection, [make(1)])
    check_against_fold(database)


def hammer(database: Database, batches: Sequence[Sequence[Event]], failures: list[Exception]) -> None:
    """Add the batches, trying again what deadlocks."""
    try:
        with database.connect(autocommit=True) as connection:
            for batch in batches:
                while True:
                    try:
                        copy(connection, batch)
                        break
                    except psycopg.errors.DeadlockDetected:
                        continue
    except Exception as error:
        failures.append(error)


@pytest.mark.parametrize("seed", [1, 2])
def test_loaders_that_share_keys_equal_the_fold_in_recorded_order(database: Database, seed: int) -> None:
    """Catches an `arrival` drawn before the keys are held: 15 users by 4 segments, four sessions, batches of 40."""
    chance = random.Random(seed)
    numbers = iter(range(100_000))
    work = [
        [
            [
                make(
                    next(numbers), f"u{chance.randrange(15)}", f"s{chance.randrange(4)}",
                    seconds=chance.randrange(20), remove=chance.random() < 0.4,
                )
                for _ in range(40)
            ]
            for _ in range(60)
        ]
        for _ in range(4)
    ]  # fmt: skip
    failures: list[Exception] = []
    threads = [threading.Thread(target=hammer, args=(database, batches, failures)) for batches in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert database.fetch("select count(*) from segment_events") == [(4 * 60 * 40,)]
    check_against_fold(database)
