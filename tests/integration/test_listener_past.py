"""Toggles from before the slot: all of them, once, in the order in which they were recorded, whatever happens meanwhile."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from demo.webhook import Receiver
from listener.past import PAGE
from tests.conftest import Database
from tests.events import arrived
from tests.listening import await_log, catch_up, expected, listen, listening, stop
from tests.loading import ROLE, execute, newest, wait_until
from tests.toggling import Gate, await_received, by_key, commit, flips, write, xid

PAST = """
select o.event_id::text from segment_outcomes o join segment_batches b using (batch_id), webhook_cursors c
where o.outcome in ('left', 'rejoined') and pg_visible_in_snapshot(b.xact_id, c.past_snapshot)
order by b.arrival, o.seq
"""
WAITED_FOR = """
select from pg_locks join pg_stat_activity using (pid)
where locktype = 'transactionid' and not granted and transactionid = %s::text::xid and datname = current_database()
"""
"""By this database's own listener: a slot waits for every transaction of the server, those of other tests too."""

PROGRESS = "select past, exists (select from webhook_delivered) from webhook_cursors"


@contextmanager
def loaders(database: Database, count: int, first: int) -> Iterator[None]:
    """So many sessions that commit all the time, to keys that they share and to keys of their own; some transactions fail."""
    over = threading.Event()

    def run(number: int) -> None:
        start = first + number * 1_000_000
        with database.connect(ROLE) as connection:
            while not over.is_set():
                write(connection, flips(8, first=start))
                connection.commit()
                write(connection, flips(8, first=start + 8, user=f"own{number}-"))
                write(connection, flips(12, first=start + 16, user=f"own{number}-"))
                connection.rollback() if start % 3 == 0 else connection.commit()
                start += 28

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@newest
def test_while_loaders_commit_and_transactions_stay_open(database: Database) -> None:
    """Again and again: a new slot, two transactions that it must wait for one after the other, and loaders all the while."""
    commit(database, flips(400))
    for turn in range(1, 4):
        with (
            Receiver(keep=True) as receiver,
            loaders(database, 3, turn * 10_000_000),
            database.connect(ROLE) as first,
            database.connect(ROLE) as second,
        ):
            write(first, flips(8, user=f"first{turn}-", first=turn * 10_000_000 + 4_000_000))
            with listening(database, receiver, "--from", "start", "--max-documents", "300") as listener:
                wait_until(lambda: database.fetch(WAITED_FOR, xid(first)))
                write(second, flips(8, user=f"second{turn}-", first=turn * 10_000_000 + 5_000_000))
                first.commit()
                wait_until(lambda: database.fetch(WAITED_FOR, xid(second)))
                second.commit()
                await_log(listener, "delivering what was recorded")
                await_received(receiver, 300 * turn)
                stop(listener)
        with receiver:
            catch_up(database, receiver)
        received = receiver.received()
        past = database.fetch(PAST)
        assert len(past) > 300
        assert [(document["event"],) for document in received[: len(past)]] == past
        wanted = expected(arrived(database))
        assert len(received) == len(wanted) > len(past)
        assert by_key(received) == by_key(wanted)
        assert listen(database, "drop").returncode == 0


@newest
@pytest.mark.parametrize("sizes", [[45_000], [1, 45_000, 3_000], [7_000] * 7], ids=["one batch", "between others", "several"])
def test_more_than_a_page(database: Database, sizes: list[int]) -> None:
    assert sum(sizes) > 2 * PAGE
    first = 0
    for size in sizes:
        commit(database, flips(size, users=40, first=first))
        first += size
    with Receiver(keep=True) as receiver:
        catch_up(database, receiver, "--from", "start")
        commit(database, flips(40, users=40, first=first))
        catch_up(database, receiver)
    assert receiver.received() == expected(flips(first + 40, users=40))
    assert max(call.count for call in receiver.calls) == 10_000


@newest
def test_killed_within_the_past(database: Database) -> None:
    """In the middle of a batch larger than a page: only the call that was not answered comes again."""
    commit(database, flips(100))
    commit(database, flips(45_000, first=100))
    gate = Gate(after=5)
    with Receiver(keep=True, answer=gate) as receiver:
        with listening(database, receiver, "--from", "start", "--max-documents", "7000"):
            gate.await_call()
            commit(database, flips(100, first=45_100))
        assert database.fetch(PROGRESS) == [("begun", True)]
        gate.open()
        catch_up(database, receiver, "--max-documents", "7000", "--from", "now")
    wanted = expected(flips(45_200))
    calls = [call.documents() for call in receiver.calls]
    delivered = [document for call in calls[:5] for document in call]
    assert delivered == wanted[: len(delivered)]
    assert calls[5] == calls[6]
    assert delivered + [document for call in calls[6:] for document in call] == wanted
    assert database.fetch("select past, base is not null from webhook_cursors") == [("done", True)]


@newest
@pytest.mark.parametrize("made", [True, False], ids=["slot made", "slot not made"])
def test_killed_while_making_the_slot(database: Database, made: bool) -> None:
    """Between the slot and the cursor's position: what is between both beginnings is not lost."""
    commit(database, flips(40))
    execute(
        database, "insert into webhook_cursors (slot, publication, past) values (%s, 'segment_toggles', 'wanted')", database.name
    )
    if made:
        execute(database, "select pg_create_logical_replication_slot(%s, 'pgoutput')", database.name)
    commit(database, flips(40, first=40))
    with Receiver(keep=True) as receiver:
        catch_up(database, receiver, "--from", "start")
    assert receiver.received() == expected(flips(80))


def test_killed_while_the_slot_waits(database: Database) -> None:
    """The server makes the slot for nobody, or gives up; the next listener has all."""
    commit(database, flips(40))
    with Receiver(keep=True) as receiver, database.connect(ROLE) as connection:
        write(connection, flips(8, user="open", first=400))
        with listening(database, receiver, "--from", "start"):
            wait_until(lambda: database.fetch(WAITED_FOR, xid(connection)))
        connection.commit()
        catch_up(database, receiver, "--from", "start")
    assert receiver.received() == expected(arrived(database))


@newest
def test_a_new_slot_that_waits_says_for_whom(database: Database) -> None:
    with Receiver(keep=True) as receiver, database.connect(ROLE) as connection:
        write(connection, flips(8))
        with listening(database, receiver) as listener:
            line = await_log(listener, "the new slot waits for the transactions that were open")
            assert str(connection.info.backend_pid) in line
            connection.commit()
            await_log(listener, "listening")
            commit(database, flips(8, first=8))
            await_received(receiver, 8)
            stop(listener)
        assert receiver.received() == expected(flips(16))[-8:]


@newest
def test_told_to_stop_while_the_slot_waits(database: Database) -> None:
    with Receiver() as receiver, database.connect(ROLE) as connection:
        write(connection, flips(8))
        with listening(database, receiver) as listener:
            wait_until(lambda: database.fetch(WAITED_FOR, xid(connection)))
            stop(listener)
            assert database.fetch("select from pg_replication_slots where slot_name = %s", database.name) == []


@newest
def test_told_to_stop_within_the_past(database: Database) -> None:
    commit(database, flips(404))
    gate = Gate(after=1)
    with Receiver(keep=True, answer=gate) as receiver:
        with listening(database, receiver, "--from", "start", "--max-documents", "50") as listener:
            gate.await_call()
            listener.terminate()
            gate.open()
            listener.communicate(timeout=60)
            assert listener.returncode == 0
        assert database.fetch(PROGRESS) == [("begun", True)]
        assert all(call.accepted for call in receiver.calls)
        catch_up(database, receiver)
    assert receiver.received() == expected(flips(404))


@newest
def test_an_empty_past(database: Database) -> None:
    commit(database, flips(4))
    with Receiver(keep=True) as receiver:
        catch_up(database, receiver, "--from", "start")
        assert receiver.calls == []
        commit(database, flips(4, first=4))
        catch_up(database, receiver)
    assert receiver.received() == expected(flips(8))
