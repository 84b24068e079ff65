"""A slot that is lost: what it would have streamed comes from the tables, all of it, and nothing that was delivered."""

import random
import time
from pathlib import Path

import pytest

from demo.webhook import Receiver
from tests.conftest import Database
from tests.events import arrived
from tests.listening import Document, await_log, catch_up, expected, identity, listen, listening, stop
from tests.loading import ROLE, assert_one_sentence, execute, newest, wait_until
from tests.replicating import standby_of, take_over
from tests.toggling import Gate, await_received, by_key, commit, flips, lose, write

LOST = "select from pg_replication_slots where slot_name = %s and wal_status = 'lost'"
NOTED = "select count(*)::int from webhook_delivered"
EVER_NOTED = "select from pg_stat_user_tables where relname = 'webhook_delivered' and n_tup_ins > 0"


def give_up(database: Database) -> None:
    """Have the server give the slot up for the log that it keeps; the server is the test's own."""
    execute(database, "alter system set max_slot_wal_keep_size = '1MB'")
    execute(database, "select pg_reload_conf()")

    def given_up() -> object:
        execute(database, "select pg_switch_wal() from pg_logical_emit_message(false, 'x', repeat('x', 1000))")
        execute(database, "checkpoint")
        return database.fetch(LOST, database.name)

    wait_until(given_up)
    execute(database, "alter system reset max_slot_wal_keep_size")
    execute(database, "select pg_reload_conf()")


def test_a_slot_that_was_dropped(database: Database) -> None:
    commit(database, flips(40))
    with Receiver(keep=True) as receiver:
        catch_up(database, receiver, "--from", "start")
        lose(database)
        commit(database, flips(40, first=40))
        assert "there is no slot" in listen(database, "status").stdout
        with listening(database, receiver) as listener:
            assert database.name in await_log(listener, "the slot is lost; making another")
            assert "toggles=40" in await_log(listener, "delivered from the tables")
            commit(database, flips(40, first=80))
            await_received(receiver, 116)
            stop(listener)
    assert receiver.received() == expected(flips(120))


@newest
def test_nothing_was_delivered_yet(database: Database) -> None:
    with Receiver(keep=True) as receiver:
        catch_up(database, receiver)
        lose(database)
        commit(database, flips(40))
        catch_up(database, receiver)
        lose(database)
        catch_up(database, receiver)
    assert receiver.received() == expected(flips(40))


def test_a_slot_that_the_server_gave_up(own_database: Database) -> None:
    with Receiver(keep=True) as receiver:
        catch_up(own_database, receiver)
        commit(own_database, flips(40))
        give_up(own_database)
        catch_up(own_database, receiver)
    assert receiver.received() == expected(flips(40))


def test_given_up_while_it_is_streamed(own_database: Database) -> None:
    """The call in flight then is noted, so that not even its documents come again."""
    gate = Gate(after=1)
    with Receiver(keep=True, answer=gate) as receiver, listening(own_database, receiver) as listener:
        await_log(listener, "listening")
        commit(own_database, flips(44))
        await_received(receiver, 40)
        commit(own_database, flips(40, first=44))
        gate.await_call()
        commit(own_database, flips(40, first=84))
        give_up(own_database)
        gate.open()
        await_log(listener, "the slot is lost; making another")
        await_received(receiver, 120)
        commit(own_database, flips(40, first=124))
        await_received(receiver, 160)
        stop(listener)
    assert receiver.received() == expected(flips(164))


@newest
@pytest.mark.parametrize("batches", [[50_100], [20_000, 30_100]], ids=["one batch", "two"])
def test_within_a_huge_transaction(database: Database, batches: list[int]) -> None:
    gate = Gate(after=25)
    with Receiver(keep=True, answer=gate) as receiver:
        catch_up(database, receiver)
        commit(database, flips(batches[0]), *([flips(batches[1], first=batches[0])] if batches[1:] else []))
        with listening(database, receiver, "--max-documents", "1000"):
            gate.await_call()
        lose(database)
        gate.open()
        commit(database, flips(40, first=50_100))
        catch_up(database, receiver)
    received = receiver.received()
    wanted = expected(flips(50_140))
    assert received[:25_000] == wanted[:25_000]
    in_flight = len(received) - len(wanted)
    assert in_flight in (0, 1000), "the call in flight when the listener was killed may come again"
    assert received[25_000 + in_flight :] == wanted[25_000:]


@newest
def test_within_the_past(database: Database) -> None:
    """Lost again and again before the past is over."""
    for first in range(0, 400, 100):
        commit(database, flips(100, first=first))
    with Receiver(keep=True) as receiver:
        for turn in range(3):
            receiver.answer = gate = Gate(after=2)
            with listening(database, receiver, "--from", "start", "--max-documents", "70"):
                gate.await_call()
            gate.open()
            lose(database)
            commit(database, flips(20, first=400 + 20 * turn))
        catch_up(database, receiver)
    received = receiver.received()
    wanted = expected(arrived(database))
    assert {identity(document) for document in received} == {identity(document) for document in wanted}
    assert len(received) <= len(wanted) + 3 * 70, "more than the calls in flight came again"


@newest
@pytest.mark.parametrize("made", [True, False], ids=["slot made", "slot not made"])
def test_killed_while_it_makes_another(database: Database, made: bool) -> None:
    commit(database, flips(40))
    with Receiver(keep=True) as receiver:
        catch_up(database, receiver, "--from", "start")
        lose(database)
        commit(database, flips(40, first=40))
        with database.connect(ROLE) as connection:
            write(connection, flips(8, user="open", first=400))
            with listening(database, receiver):
                wait_until(lambda: database.fetch("select from webhook_cursors where past = 'wanted' and lsn is null"))
            connection.commit()
        wait_until(lambda: not database.fetch("select from pg_replication_slots where slot_name = %s", database.name))
        if made:
            execute(database, "select pg_create_logical_replication_slot(%s, 'pgoutput')", database.name)
        commit(database, flips(40, first=80))
        catch_up(database, receiver)
    assert by_key(receiver.received()) == by_key(expected(arrived(database)))


@newest
def test_the_server_ends_what_makes_another(database: Database) -> None:
    """The listener goes on."""
    making = "select pid from pg_stat_activity where datname = %s and query like 'CREATE_REPLICATION_SLOT%%'"
    with Receiver(keep=True) as receiver:
        catch_up(database, receiver)
        lose(database)
        commit(database, flips(40))
        with database.connect(ROLE) as connection:
            write(connection, flips(8, user="open", first=400))
            with listening(database, receiver) as listener:
                wait_until(lambda: database.fetch(making, database.name))
                ((pid,),) = database.fetch(making, database.name)
                execute(database, "select pg_terminate_backend(%s, 10000)", pid)
                connection.commit()
                await_log(listener, "the slot could not be made; trying again")
                await_received(receiver, 40)
                stop(listener)
    assert by_key(receiver.received()) == by_key(expected(arrived(database)))


@newest
def test_again_and_again_while_loaders_commit(database: Database) -> None:
    """Listener and slot die together at any moment: of what was delivered at most the last second's calls come again."""
    random_ = random.Random(16)
    first = 0
    ends = []
    with Receiver(keep=True) as receiver:
        catch_up(database, receiver)
        for _ in range(8):
            with listening(database, receiver, "--max-documents", str(random_.choice([7, 100, 5000]))):
                seen = receiver.counters.documents
                for _ in range(random_.randrange(1, 12)):
                    size = random_.randrange(1, 400)
                    commit(database, flips(size, first=first))
                    first += size
                wait_until(lambda: receiver.counters.documents > seen)  # noqa: B023
            ends.append(time.time())
            lose(database)
            commit(database, flips(50, first=first))
            first += 50
        catch_up(database, receiver)
    received, wanted = receiver.received(), expected(arrived(database))
    assert {identity(document) for document in received} == {identity(document) for document in wanted}
    came: dict[tuple[str, str, str], float] = {}
    for call in receiver.calls:
        for document in call.documents():
            before = came.setdefault(identity(document), call.received_at)
            last = any(end - 2 < before <= end for end in ends)
            assert last or before == call.received_at, "more than the last calls came again"
    once = list({identity(document): document for document in reversed(received)}.values())
    assert by_key(reversed(once)) == by_key(wanted)


@newest
def test_few_batches_are_noted_at_a_time(database: Database) -> None:
    with Receiver(keep=True) as receiver, listening(database, receiver) as listener:
        await_log(listener, "listening")
        for number in range(60):
            commit(database, flips(8, first=8 * number))
        await_received(receiver, 476)
        wait_until(lambda: database.fetch(EVER_NOTED))
        wait_until(lambda: database.fetch(NOTED) == [(0,)])
        stop(listener)


def test_a_slot_given_up_that_has_no_cursor(own_database: Database) -> None:
    """Nobody knows what was delivered."""
    execute(own_database, "select pg_create_logical_replication_slot(%s, 'pgoutput')", own_database.name)
    give_up(own_database)
    done = listen(own_database, "run", "--url", "http://127.0.0.1:9/", "--until-caught-up")
    assert_one_sentence(done, "nobody can say what was not", "listener drop", "--from start")


def test_idle_for_too_long(own_database: Database) -> None:
    """Since version 18 a server gives up slots that nobody reads."""
    with Receiver(keep=True) as receiver:
        catch_up(own_database, receiver)
        commit(own_database, flips(40))
        execute(own_database, "alter system set idle_replication_slot_timeout = '1s'")
        execute(own_database, "select pg_reload_conf()")

        def given_up() -> object:
            execute(own_database, "checkpoint")
            return own_database.fetch(LOST, own_database.name)

        wait_until(given_up)
        catch_up(own_database, receiver)
    assert receiver.received() == expected(flips(40))


def test_a_standby_takes_over_while_nobody_listens(own_database: Database, tmp_path: Path) -> None:
    with Receiver(keep=True) as receiver, standby_of(own_database.server, tmp_path / "standby") as standby:
        commit(own_database, flips(40))
        catch_up(own_database, receiver, "--from", "start")
        commit(own_database, flips(40, first=40))
        take_over(own_database, standby)
        database = Database(standby, own_database.name)
        commit(database, flips(40, first=80))
        catch_up(database, receiver)
        commit(database, flips(40, first=120))
        catch_up(database, receiver)
    assert receiver.received() == expected(flips(160))


def test_a_standby_takes_over_while_it_listens(own_database: Database, tmp_path: Path) -> None:
    """The same listener goes on, where libpq finds whichever server may be written to."""
    primary = own_database.server
    with standby_of(primary, tmp_path / "standby") as standby, Receiver(keep=True) as receiver:
        hosts = {"PGHOST": f"{primary.socket},{standby.socket}", "PGTARGETSESSIONATTRS": "read-write"}
        with listening(own_database, receiver, **hosts) as listener:
            await_log(listener, "listening")
            commit(own_database, flips(44))
            await_received(receiver, 40)
            wait_until(lambda: own_database.fetch("select from webhook_cursors where delivered = 40"))
            take_over(own_database, standby)
            database = Database(standby, own_database.name)
            commit(database, flips(40, first=44))
            await_log(listener, "delivered from the tables")
            commit(database, flips(40, first=84))
            await_received(receiver, 120)
            stop(listener)
    assert receiver.received() == expected(flips(124))


def is_new(found: Document) -> bool:
    """Whether it is a toggle of the server that took over."""
    return str(found["user"]).startswith("new")


def test_a_standby_that_lacks_the_latest_takes_over(own_database: Database, tmp_path: Path) -> None:
    """Ids that the old server gave are given again: what was delivered then says nothing of what is new now."""
    primary, gate = own_database.server, Gate(after=1)
    with standby_of(primary, tmp_path / "standby") as standby, Receiver(keep=True, answer=gate) as receiver:
        hosts = {"PGHOST": f"{primary.socket},{standby.socket}", "PGTARGETSESSIONATTRS": "read-write"}
        catch_up(own_database, receiver)
        ((base,),) = own_database.fetch("select base::text from webhook_cursors")
        (written,) = own_database.fetch("select pg_current_wal_insert_lsn()::text")[0]
        wait_until(lambda: Database(standby, own_database.name).fetch("select where pg_last_wal_replay_lsn() >= %s", written))
        standby.stop()
        with listening(own_database, receiver, **hosts) as listener:
            await_log(listener, "listening")
            for number in range(30):
                commit(own_database, flips(2, first=1000 + 2 * number, user=f"gone{number}-"))
            commit(own_database, flips(44, user="old"))
            await_received(receiver, 40)
            wait_until(lambda: own_database.fetch("select from webhook_cursors where base::text <> %s", str(base)))
            commit(own_database, flips(40, first=44, user="old"))
            gate.await_call()
            primary.stop("immediate")
            standby.start()
            database = Database(standby, own_database.name)
            execute(database, "select pg_promote()")
            commit(database, flips(40, first=200, user="new"))
            gate.open()
            wait_until(lambda: any(map(is_new, receiver.received())))
            await_log(listener, "delivered from the tables")
            commit(database, flips(40, first=240, user="new"))
            wait_until(lambda: len([found for found in receiver.received() if is_new(found)]) >= 76)
            stop(listener)
    assert [found for found in receiver.received() if is_new(found)] == expected(flips(80, first=200, user="new"))
