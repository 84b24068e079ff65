"""The demo's figures and its standing proof, read from a real server while several writers commit in any order."""

import random
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from demo.calls import Counters
from demo.figures import Connection, Figures, Reading
from demo.fold import Event, Fold
from demo.proof import BATCHES_AT_ONCE, Standing, Toggles, sample
from demo.record import Arrival, Toggle
from tests.conftest import Database
from tests.loading import ROLE, newest, wait_until
from tests.loading import sample as some_events
from tests.toggling import commit, flips, write

READER = "segment_reader"


def toggle(event: Event) -> Toggle:
    return Toggle(event.event_id, event.user_id, event.occurred_at, event.vendor, event.segment_name, event.remove)


def arrivals(events: Iterable[Event]) -> list[Arrival]:
    """Their toggles, received just now."""
    return [Arrival(toggle(event), now()) for event in events]


def now() -> float:
    return datetime.now(UTC).timestamp()


def toggles_of(events: list[Event]) -> list[Event]:
    """The toggles among events, by the independent fold."""
    fold = Fold()
    return [event for event in events if fold.add(event).outcome in ("left", "rejoined")]


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_receipt_and_reading_comes_to_the_same(own_database: Database, seed: int) -> None:
    """Each toggle is received before or after its row is read, some again, and some that were never recorded."""
    chance = random.Random(seed)
    print("seed", seed)
    events = flips(chance.randrange(20, 400), users=chance.choice([1, 3, 20]))
    expected = toggles_of(events)
    strange = [Toggle(f"{number:032}", "nobody", datetime.now(UTC), 1, "s", True) for number in range(chance.randrange(4))]
    again = chance.sample(expected, min(len(expected), chance.randrange(5)))
    found = Toggles()
    received = arrivals(expected)
    with own_database.connect(READER, autocommit=True) as connection:
        while events or received:
            if events and chance.random() < 0.5:
                size = chance.randrange(1, 60)
                commit(own_database, events[:size])
                del events[:size]
            if received and chance.random() < 0.5:
                size = chance.randrange(1, 60)
                committed = set(read_toggles(own_database))
                while received[:1] and size and received[0].toggle in committed:  # nothing is received before it is committed
                    found.receive([received.pop(0)])
                    size -= 1
            if chance.random() < 0.5:
                found.read(connection)
        found.receive(arrivals(again))
        found.receive(Arrival(one, now()) for one in strange)
        settle(found, connection, Standing(matched=len(expected), again=len(again), unexpected=len(strange)))
    assert len(found.latencies()) == len(expected)
    assert found.latencies() == []


def read_toggles(database: Database) -> list[Toggle]:
    rows = database.fetch("select event_id::text, user_id, occurred_at, vendor, segment_name, remove from segment_toggles")
    return [Toggle(*row) for row in rows]  # type: ignore[arg-type]


def test_a_toggle_that_never_comes_is_missing(own_database: Database) -> None:
    commit(own_database, flips(40))
    *expected, lost = toggles_of(flips(40))
    found = Toggles()
    with own_database.connect(READER, autocommit=True) as connection:
        found.receive(arrivals(expected))
        settle(found, connection, Standing(matched=len(expected)))
        assert found.standing(found.read_count) == Standing(matched=len(expected), overdue=1)
        assert found.standing(found.read_count - 2) == Standing(matched=len(expected))  # nobody has said that it was delivered
        found.receive(arrivals([lost]))
    assert found.standing(found.read_count) == Standing(matched=len(expected) + 1)


def all_received(database: Database, count: int) -> tuple[list[Event], Toggles]:
    """So many events are committed, and all their toggles received; none is read yet."""
    commit(database, flips(count))
    expected = toggles_of(flips(count))
    found = Toggles()
    found.receive(arrivals(expected))
    return expected, found


def test_a_false_toggle_is_no_repeat(own_database: Database) -> None:
    """It has the identity of one, and says something else."""
    expected, found = all_received(own_database, 8)
    with own_database.connect(READER, autocommit=True) as connection:
        found.receive([Arrival(toggle(expected[0])._replace(segment="lie"), now())])
        found.receive([Arrival(toggle(expected[0])._replace(remove=not expected[0].remove), now())])
        settle(found, connection, Standing(matched=len(expected), unexpected=2))


def test_a_toggle_that_is_deleted_has_gone(own_database: Database) -> None:
    expected, found = all_received(own_database, 8)
    with own_database.connect(READER, autocommit=True) as connection:
        settle(found, connection, Standing(matched=len(expected)))
        own_database.execute(
            "alter table segment_outcomes disable trigger all; "
            "delete from segment_outcomes where seq = (select max(seq) from segment_toggles)"
        )
        settle(found, connection, Standing(matched=len(expected), gone=1))


def test_what_is_committed_late_is_neither_missed_nor_unexpected(own_database: Database) -> None:
    """A transaction that began first and ends last holds back what is read, so nothing can be said of what it may bring."""
    first, second = flips(40, user="a"), flips(40, first=100, user="b")
    found, figures = Toggles(), Figures()
    with own_database.connect(READER, autocommit=True) as connection, own_database.connect(ROLE) as slow:
        write(slow, first)
        commit(own_database, second)
        found.receive(arrivals(toggles_of(second)))
        for _ in range(3):
            found.read(connection)
            assert figures.read(connection, 0, Counters()).events == 0
        assert found.standing(0) == Standing()
        slow.commit()
        found.receive(arrivals(toggles_of(first)))
        settle(found, connection, Standing(len(toggles_of(first)) + len(toggles_of(second))))
        read_until(figures, connection, 80)


def test_more_batches_than_are_read_at_once(own_database: Database) -> None:
    events = flips(BATCHES_AT_ONCE * 3 + 7)
    commit(own_database, *([event] for event in events))
    found = Toggles()
    found.receive(arrivals(toggles_of(events)))
    with own_database.connect(READER, autocommit=True) as connection:
        settle(found, connection, Standing(len(toggles_of(events))))


def test_the_figures_are_those_of_the_tables(own_database: Database) -> None:
    """Read between batches of several writers, with events that are late and duplicate, and after a reset."""
    chance = random.Random(7)
    events = some_events(3000, users=30)
    late = [event._replace(event_id=f"{number:032}") for number, event in enumerate(chance.choices(events, k=200))]
    figures = Figures()
    with own_database.connect(READER, autocommit=True) as connection:
        for start in range(0, 3200, 400):
            commit(own_database, (events + late)[start : start + 400])
            assert_true(own_database, read_until(figures, connection, start + 400))
        own_database.loader("stream", "--source", "demo", input=b'{"event": "no"}\n')
        reading = figures.read(connection, 5, Counters(calls=2, accepted=1, documents=3))
        assert (reading.outcomes["rejected"], reading.taken, reading.on_their_way) == (1, 1, 4)
        assert (reading.delivered, reading.documents_per_call) == (3, 3.0)
        epoch = figures.epoch
        own_database.execute("select segment_reset()")
        commit(own_database, events[:10])
        assert_true(own_database, read_until(figures, connection, 10))
        assert figures.epoch != epoch
        epoch = figures.epoch
        own_database.execute("vacuum full")
        assert_true(own_database, read_until(figures, connection, 10))
    assert figures.epoch == epoch


def read_until(figures: Figures, connection: Connection, events: int) -> Reading:
    """Read until there are so many events: a transaction anywhere on the server holds back what is counted."""
    readings: list[Reading] = []

    def read() -> bool:
        readings.append(figures.read(connection, 0, Counters()))
        return readings[-1].events == events

    wait_until(read)
    return readings[-1]


def settle(found: Toggles, connection: Connection, standing: Standing) -> None:
    """Read until it stands so, and once more."""

    def read() -> bool:
        found.read(connection)
        return found.standing(0) == standing

    wait_until(read)
    assert read()


def assert_true(database: Database, reading: Reading) -> None:
    """The outcomes, those that there are, and the events are the tables'."""
    rows = database.fetch("select outcome, count(*) from segment_event_outcomes group by outcome")
    expected = {str(outcome): int(str(count)) for outcome, count in rows}
    assert {
        name: count for name, count in reading.outcomes.items() if count and name not in ("duplicate", "rejected")
    } == expected
    assert reading.events == sum(expected.values())


@newest
def test_a_sample_of_keys_is_compared_with_their_fold(built: Database) -> None:
    with built.connect(READER, autocommit=True) as connection:
        assert sample(connection)[0] == sample(connection)[1] == 20
        built.execute("update segment_memberships set member = not member")
        assert sample(connection) == (20, 0)
    built.execute("select segment_reset()")
    with built.connect(READER, autocommit=True) as connection:
        assert sample(connection) == (0, 0)
        assert Figures().read(connection, 0, Counters()).sizes == (0, 0, ())
