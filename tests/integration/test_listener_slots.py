"""Slots that are busy, gone or somebody else's, and what `listener status` and `listener drop` say and do."""

import json
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

from demo.calls import Answer, Call
from demo.webhook import Receiver
from tests.conftest import Database
from tests.listening import LISTENER, await_log, catch_up, expected, listen, listening, stop
from tests.loading import assert_one_sentence, execute, newest, wait_until
from tests.toggling import Gate, await_confirmed, await_received, await_sent, commit, flips

URL = ("run", "--url", "http://127.0.0.1:9/", "--until-caught-up")
HOLDER = "select active_pid from pg_replication_slots where slot_name = %s and active"
OPENING = """
select from pg_stat_activity where datname = current_database() and backend_type = 'walsender' and wait_event = 'relation'
"""
"""A listener's session that is to stream, and waits for a table."""


def holder(database: Database) -> object:
    """The server process that streams the slot."""
    wait_until(lambda: database.fetch(HOLDER, database.name))
    return database.fetch(HOLDER, database.name)[0][0]


def status(database: Database) -> dict[str, object]:
    """What `listener status --json` says of the database's only slot."""
    done = listen(database, "status", "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found: dict[str, object] = json.loads(line)
    return found


@newest
def test_a_busy_slot(database: Database) -> None:
    with Receiver() as receiver, listening(database, receiver) as listener:
        await_log(listener, "listening")
        pid = str(holder(database))
        with ThreadPoolExecutor() as threads:  # both are patient for a while
            run, drop = threads.map(lambda arguments: listen(database, *arguments), (URL, ("drop",)))
        assert_one_sentence(run, "Another listener holds the slot", pid, "--wait")
        assert_one_sentence(drop, "Another listener holds the slot", pid)
        stop(listener)


@newest
def test_standing_by(database: Database) -> None:
    """It says so, takes over from a listener that is killed, and loses nothing."""
    with Receiver(keep=True) as receiver, listening(database, receiver) as first:
        await_log(first, "listening")
        with listening(database, receiver, "--wait") as second, listening(database, receiver, "--wait") as third:
            assert str(holder(database)) in await_log(second, "standing by")
            await_log(third, "standing by")
            third.terminate()
            assert third.wait(30) == 0
            commit(database, flips(40))
            await_received(receiver, 36)
            await_confirmed(database)
            first.kill()
            commit(database, flips(40, first=40))
            await_log(second, "listening")
            await_received(receiver, 76)
            stop(second)
    assert receiver.received() == expected(flips(80))


@newest
def test_a_killed_listeners_slot_is_waited_for(database: Database) -> None:
    """Its server process still sends what nobody reads."""
    commit(database, flips(40))
    gate = Gate(after=0)
    with Receiver(keep=True, answer=gate) as receiver:
        catch_up(database, receiver)
        commit(database, flips(40_000, first=40))
        with listening(database, receiver, "--max-buffer", "10"):
            gate.await_call()
        gate.open()
        catch_up(database, receiver)
        held, *calls = receiver.calls
    assert [document for call in calls for document in call.documents()] == expected(flips(40_040))[36:]
    assert held.documents() == calls[0].documents()[: held.count]


@newest
def test_another_had_the_slot_while_the_stream_was_opened_again(database: Database) -> None:
    """Between the look at who has it and the stream: what the other has delivered does not come again."""
    due: list[float] = []

    def answer(_call: Call) -> Answer:
        if due:
            return Answer()
        due.append(time.monotonic() + 2)
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, {"retry-after": "1"})

    with Receiver(keep=True) as elsewhere, Receiver(answer=answer, keep=True) as receiver:
        catch_up(database, elsewhere)
        with listening(database, receiver) as first:
            await_log(first, "listening")
            commit(database, flips(40))
            await_log(first, "to be tried again")
            with database.connect() as connection:
                connection.execute(
                    "lock table segment_settings in access exclusive mode"
                )  # which is asked before the stream begins
                database.fetch("select pg_terminate_backend(%s, 10000)", holder(database))
                wait_until(lambda: database.fetch(OPENING))
                first.send_signal(signal.SIGSTOP)
            catch_up(database, elsewhere)
            wait_until(lambda: time.monotonic() > due[0])  # to make its call again is the first thing that it does
            first.send_signal(signal.SIGCONT)
            commit(database, flips(40, first=40))
            await_received(receiver, 40)
            stop(first)
    assert elsewhere.received() + receiver.received() == expected(flips(80))


@newest
def test_somebody_elses_slot(database: Database) -> None:
    execute(database, "select pg_create_physical_replication_slot(%s)", database.name)
    try:
        for command in (URL, ("drop",)):
            assert_one_sentence(listen(database, *command), "slot of this name for something else")
        assert listen(database, "status").stdout == ""
    finally:
        execute(database, "select pg_drop_replication_slot(%s)", database.name)
    assert database.fetch("select from webhook_cursors") == []


@newest
def test_another_databases_slot(database: Database) -> None:
    name = f"test_{uuid.uuid4().hex}"
    database.server.create_database(name)
    other = Database(database.server, name)
    try:
        execute(other, "select pg_create_logical_replication_slot(%s, 'pgoutput')", database.name)
        for command in (URL, ("drop",)):
            assert_one_sentence(listen(database, *command), "another database")
    finally:
        database.server.drop_database(name)


@newest
def test_a_cursor_for_another_publication(database: Database) -> None:
    with Receiver() as receiver:
        catch_up(database, receiver)
    done = listen(database, *URL, "--publication", "segment_changes")
    assert_one_sentence(done, "for another publication", "segment_toggles")


@newest
def test_drop(database: Database) -> None:
    assert_one_sentence(listen(database, "drop"), "neither a slot nor a cursor")
    with Receiver() as receiver:
        catch_up(database, receiver)
    done = listen(database, "drop")
    assert (done.returncode, done.stderr) == (0, "")
    assert database.fetch("select from pg_replication_slots where slot_name = %s", database.name) == []
    assert database.fetch("select from webhook_cursors") == []
    assert listen(database, "status", "--json").stdout == ""
    assert_one_sentence(listen(database, "drop"), "neither a slot nor a cursor")


@newest
def test_status_of_a_running_listener(database: Database) -> None:
    gate = Gate()
    with Receiver(answer=gate) as receiver, listening(database, receiver) as listener:
        await_log(listener, "listening")
        commit(database, flips(40))
        await_received(receiver, 36)
        found = status(database)
        assert found["slot"] == database.name
        assert found["publication"] == "segment_toggles"
        assert found["active_pid"] == holder(database)
        assert (found["exists"], found["caught_up"], found["lag_seconds"], found["dead_letters"]) == (True, True, 0, 0)
        assert found["wal_status"] == "reserved"
        gate.close()
        commit(database, flips(40, first=40))
        gate.await_call()
        await_sent(database)
        found = status(database)
        assert not found["caught_up"]
        assert isinstance(found["lag_bytes"], int)
        assert isinstance(found["lag_seconds"], float)
        assert found["lag_bytes"] > 0
        assert found["lag_seconds"] > 0
        wait_until(lambda: database.fetch("select from webhook_cursors where delivered = 36 and answer = '200 OK'"))
        text = listen(database, "status").stdout
        assert "behind" in text
        assert "200 OK" in text
        gate.open()
        await_received(receiver, 76)
        wait_until(lambda: database.fetch("select from webhook_cursors where delivered = 76"))
        text = listen(database, "status").stdout
        assert "caught up" in text
        assert "76 documents" in text
        stop(listener)
    assert "none runs" in listen(database, "status").stdout


@newest
def test_status_counts_dead_letters_and_sees_what_waits(database: Database) -> None:
    with Receiver(answer=lambda call: Answer(HTTPStatus.UNPROCESSABLE_ENTITY if b'"u1"' in call.body else 200)) as receiver:
        commit(database, flips(8))
        catch_up(database, receiver, "--from", "start")
        found = status(database)
        assert (found["dead_letters"], found["delivered"], found["active_pid"]) == (1, 3, None)
        commit(database, flips(8, first=8))
        found = status(database)
        assert not found["caught_up"]
        assert found["lag_bytes"]
    assert database.run(*LISTENER, "status", PGUSER="segment_listener").stdout.startswith(database.name)
