"""The listener when anything dies: every toggle comes, in order, and only what a call in flight held may come again."""

import signal
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from demo.calls import Answer, Call
from demo.webhook import Receiver
from tests.conftest import Database
from tests.events import arrived
from tests.listening import expected
from tests.loading import mostly_newest, newest, wait_until
from tests.posting import (
    MANY,
    SESSIONS,
    Gate,
    Posting,
    check_delivered,
    firsts,
    make_slot,
    record,
    run_to_end,
    toggling,
    walsender,
)
from tests.proxy import relaying

PAUSED = "select wait_event = 'WalSenderWriteData' from pg_stat_activity where pid = %s"
"""Whether the server waits for the listener to read."""

TOO_MANY = 4_000
"""Events of which more is sent than sockets and libpq hold for a listener that has stopped reading."""

CURSOR = "select delivered, documents from webhook_cursors where slot = %s"


def paused(database: Database) -> bool:
    """Whether the listener has stopped reading, and the server noticed."""
    return (True,) in database.fetch(PAUSED, walsender(database))


SITUATIONS = {
    "small-past": (7, False),
    "large-past": (5_000, False),
    "small-stream": (7, True),
    "large-stream": (5_000, True),
}
"""How many events a transaction has, and whether they are streamed or from before the slot."""


@mostly_newest("size, stream", SITUATIONS)
def test_killed_again_and_again(database: Database, stream: bool, size: int) -> None:
    if stream:
        make_slot(database)
    record(database, toggling(2_000, 40), size)
    in_flight: list[Call] = []
    with Receiver(keep=True) as receiver:
        for nth in (1, 2, 5, 3):
            receiver.answer = gate = Gate(nth)
            with Posting(database, receiver, "--from", "start", "--max-documents", "100") as listener:
                gate.wait()
                listener.kill()
            gate.open()
            in_flight += gate.held
        wait_until(lambda: all(call.status for call in receiver.calls))
        run_to_end(database, receiver, "--from", "start")
        check_delivered(database, receiver.received(), in_flight)


@newest
def test_killed_inside_a_huge_transaction(database: Database) -> None:
    make_slot(database)
    record(database, toggling(50_100, 100), 50_100)
    in_flight: list[Call] = []
    done = 0
    with Receiver(keep=True) as receiver:
        for nth in (4, 9, 1, 6):
            receiver.answer = gate = Gate(nth)
            options = ("--max-documents", "1000", "--max-buffer", "3000")
            with Posting(database, receiver, *options) as listener:
                gate.wait()
                listener.kill()
            done += 1_000 * (nth - 1)
            assert database.fetch(CURSOR, database.name) == [(done, done)]
            gate.open()
            in_flight += gate.held
        wait_until(lambda: all(call.status for call in receiver.calls))
        run_to_end(database, receiver)
        check_delivered(database, receiver.received(), in_flight)


def stop_server(database: Database, how: str) -> None:
    """By SIGKILL, or by the shutdown of that name."""
    if how == "kill":
        database.server.kill()
    else:
        database.server.stop(how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("how", "situation"),
    [
        ("kill", "large-past"),
        ("kill", "small-stream"),
        ("immediate", "small-past"),
        ("immediate", "large-stream"),
        ("fast", "large-past"),
        ("fast", "small-stream"),
    ],
)
def test_the_server_stops_and_starts(own_database: Database, how: str, situation: str) -> None:
    """The listener lives, so it knows what was accepted, and nothing comes twice."""
    database = own_database
    size, stream = SITUATIONS[situation]
    if stream:
        make_slot(database)
    record(database, toggling(2_000, 40), size)
    with Receiver(keep=True) as receiver:
        receiver.answer = gate = Gate(3)
        options = ("--from", "start", "--max-documents", "100", "--max-buffer", "300")
        with Posting(database, receiver, *options) as listener:
            for nth in (4, 2, 1_000):
                gate.wait()
                stop_server(database, how)
                database.server.start()
                last, receiver.answer = gate, Gate(nth)
                gate = receiver.answer
                last.open()
                if nth == 1_000:
                    gate.open()
            wanted = expected(arrived(database))
            wait_until(lambda: len(receiver.received()) >= len(wanted))
            listener.stop()
        assert receiver.received() == wanted


@pytest.mark.parametrize("size", [7, 5_000], ids=["small", "large"])
def test_server_and_listener_die_together(own_database: Database, size: int) -> None:
    """What the cursor knew does not come again; it is written once a second, and with every call inside a transaction."""
    database = own_database
    make_slot(database)
    record(database, toggling(1_000, 40), size)
    with Receiver(keep=True) as receiver:
        with Posting(database, receiver, "--max-documents", "100") as listener:
            wait_until(lambda: database.fetch(CURSOR, database.name)[0][0] == 960)
            receiver.answer = gate = Gate(4)
            record(database, toggling(1_000, 40, first=5_000), size)
            gate.wait()
            listener.process.kill()
            database.server.kill()
        gate.open()
        database.server.start()
        run_to_end(database, receiver)
        received = receiver.received()
        assert firsts(received) == expected(arrived(database))
        assert not {document["event"] for document in received[:960]} & {document["event"] for document in received[960:]}


@newest
def test_the_receiver_stops_and_starts(database: Database) -> None:
    make_slot(database)
    record(database, toggling(2_000, 40), 7)
    with Receiver(keep=True) as receiver, Posting(database, receiver, "--max-documents", "100") as listener:
        for turn in (1, 2):
            hanging = Hanging(turn + 2)
            receiver.answer = hanging
            wait_until(lambda: hanging.left == 0)  # noqa: B023
            receiver.stop()
            listener.says("connection refused", turn)
            receiver.answer = hanging
            receiver.start()
        wait_until(lambda: len(receiver.received()) >= 1_960)
        listener.stop()
        assert receiver.received() == expected(arrived(database))


class Hanging:
    """Answers none but the first so many calls and those after that one which it never answered."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def __call__(self, _call: Call) -> Answer:
        self.left -= 1
        return Answer(hang=self.left == 0)


END_STREAM = "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = %s"
END_NAMED = "select pg_terminate_backend(pid) from pg_stat_replication where application_name = %s"
END_SESSION = f"select pg_terminate_backend(pid) {SESSIONS} and %s <> ''"


ENDED = {
    "small-past-session": (*SITUATIONS["small-past"], (END_SESSION,)),
    "large-past-both": (*SITUATIONS["large-past"], (END_SESSION, END_STREAM)),
    "small-stream-stream": (*SITUATIONS["small-stream"], (END_STREAM,)),
    "large-stream-session": (*SITUATIONS["large-stream"], (END_SESSION,)),
    "small-stream-both": (*SITUATIONS["small-stream"], (END_SESSION, END_STREAM)),
}


@mostly_newest("size, stream, ended", ENDED)
def test_sessions_terminated(database: Database, size: int, stream: bool, ended: tuple[str, ...]) -> None:
    if stream:
        make_slot(database)
    record(database, toggling(2_000, 40), size)
    with Receiver(keep=True) as receiver:
        receiver.answer = gate = Gate(2)
        options = ("--from", "start", "--max-documents", "100", "--max-buffer", "300")
        with Posting(database, receiver, *options) as listener:
            for nth in (3, 2, 1_000):
                gate.wait()
                for query in ended:
                    database.fetch(query, database.name)
                last, receiver.answer = gate, Gate(nth)
                gate = receiver.answer
                last.open()
            wait_until(lambda: len(receiver.received()) >= 1_960)
            listener.stop()
        assert receiver.received() == expected(arrived(database))


@newest
@pytest.mark.parametrize("size", [7, 5_000], ids=["small", "large"])
def test_connections_cut(database: Database, size: int) -> None:
    """Without a word, and what was on its way is lost."""
    make_slot(database)
    record(database, toggling(2_000, 40), size)
    with Receiver(keep=True) as receiver, relaying(database.server) as (relay, host):
        receiver.answer = gate = Gate(2)
        options = ("--max-documents", "100", "--max-buffer", "300")
        with Posting(database, receiver, *options, PGHOST=host) as listener:
            for nth in (3, 2, 4, 1_000):
                gate.wait()
                relay.cut()
                last, receiver.answer = gate, Gate(nth)
                gate = receiver.answer
                last.open()
            wait_until(lambda: len(receiver.received()) >= 1_960)
            listener.stop()
        assert receiver.received() == expected(arrived(database))


@pytest.mark.parametrize("buffer", ["10", "50000"], ids=["paused", "reading"])
def test_the_server_can_shut_down(own_database: Database, buffer: str) -> None:
    database = own_database
    make_slot(database)
    record(database, toggling(TOO_MANY, 40), 500)
    with Receiver(keep=True) as receiver, Posting(database, receiver, "--max-buffer", buffer) as listener:
        receiver.answer = gate = Gate(1)
        for _ in range(2):
            gate.wait()
            wait_until(lambda: paused(database) == (buffer == "10"))
            replace(database.server, timeout=25).stop("fast")
            database.server.start()
            wait_until(lambda: walsender(database))
        gate.open()
        wait_until(lambda: len(receiver.received()) >= TOO_MANY - 40)
        listener.stop()
        assert receiver.received() == expected(arrived(database))


REPLY = "select pid, extract(epoch from reply_time)::float from pg_stat_replication where pid = %s"


def test_a_paused_listener_is_not_dropped(own_database: Database) -> None:
    database = own_database
    make_slot(database)
    database.execute("alter role segment_listener set wal_sender_timeout = '2s'")
    record(database, toggling(TOO_MANY, 40), 500)
    with Receiver(keep=True) as receiver, Posting(database, receiver, "--max-buffer", "10") as listener:
        receiver.answer = gate = Gate(1)
        gate.wait()
        wait_until(lambda: paused(database))
        ((pid, began),) = database.fetch(REPLY, walsender(database))
        wait_until(lambda: database.fetch(REPLY, walsender(database))[0][1] > began + 7)  # type: ignore[operator]
        assert walsender(database) == pid
        gate.open()
        wait_until(lambda: len(receiver.received()) >= TOO_MANY - 40)
        assert walsender(database) == pid
        listener.stop()
        assert receiver.received() == expected(arrived(database))
    database.execute("alter role segment_listener reset wal_sender_timeout")


def most_memory(listener: Posting) -> int:
    """The most that was ever resident, in MB."""
    status = Path(f"/proc/{listener.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


@newest
def test_memory_is_bounded(database: Database) -> None:
    make_slot(database)
    with Receiver() as receiver, Posting(database, receiver) as listener:
        receiver.answer = gate = Gate(1)
        with database.connect(autocommit=True) as connection:
            for first in range(1, 300_000, 100_000):
                connection.execute(MANY.encode(), [first, first + 99_999])
        gate.wait()
        wait_until(lambda: paused(database))
        assert most_memory(listener) < 200
        gate.open()
        wait_until(lambda: receiver.counters.documents == 300_000)
        assert most_memory(listener) < 200
        listener.stop()


@newest
@pytest.mark.parametrize("situation", ["small-stream", "large-past"])
def test_a_second_listener_takes_over_from_a_killed_one(database: Database, situation: str) -> None:
    size, stream = SITUATIONS[situation]
    if stream:
        make_slot(database)
    record(database, toggling(2_000, 40), size)
    options = ("--from", "start", "--max-documents", "100", "--wait")
    with Receiver(answer=(gate := Gate(3)), keep=True) as receiver, Posting(database, receiver, *options) as first:
        gate.wait()
        with Posting(database, receiver, *options) as second:
            second.says("standing by")
            assert len(receiver.calls) == 3
            first.kill()
            gate.open()
            wait_until(lambda: len(firsts(receiver.received())) >= 1_960)
            second.stop()
        check_delivered(database, receiver.received(), gate.held)


@newest
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "past"])
def test_a_second_listener_takes_over_from_a_living_one(database: Database, stream: bool) -> None:
    """Who lost the slot notices, and delivers no more than the call that it was making."""
    if stream:
        make_slot(database)
    record(database, toggling(2_000, 40), 5_000)
    options = ("--from", "start", "--max-documents", "100")
    mine, other = Gate(3), Gate(6)
    with Receiver(answer=mine, keep=True) as receiver, Receiver(answer=other, keep=True) as elsewhere, ExitStack() as stack:
        with Posting(database, receiver, *options, PGAPPNAME=database.name) as first:
            mine.wait()
            second = stack.enter_context(Posting(database, elsewhere, *options, "--wait"))
            second.says("standing by")
            wait_until(lambda: "listening" in second.log or database.fetch(END_NAMED, database.name) is None)
            other.wait()
            mine.open()
            first.says("Another listener holds the slot")
            assert first.process.wait(60) == 1
            assert len(receiver.calls) == 3
            other.open()
            wait_until(lambda: len(elsewhere.received()) >= 1_760)
            second.stop()
        check_delivered(database, receiver.received()[:200] + elsewhere.received())
        assert len(receiver.received()) == 300


@newest
def test_a_listener_that_slept_through_a_takeover_posts_no_more(database: Database) -> None:
    """Waiting to repeat a call it is stopped, loses the slot to a standby, and goes on: the repetition is not made."""
    make_slot(database)
    record(database, toggling(60, 3), 20)
    due: list[float] = []

    def answer(_call: Call) -> Answer:
        if due:
            return Answer()
        due.append(time.monotonic() + 2)
        return Answer(503, {"retry-after": "1"})

    with Receiver(answer=answer, keep=True) as receiver, Posting(database, receiver, "--wait") as first:
        first.says("to be tried again")
        with Posting(database, receiver, "--wait") as second:
            first.process.send_signal(signal.SIGSTOP)
            database.fetch(
                "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = %s", database.name
            )
            wait_until(lambda: len(receiver.received()) >= len(expected(arrived(database))))
            wait_until(lambda: time.monotonic() > due[0])
            calls = len(receiver.calls)
            first.process.send_signal(signal.SIGCONT)
            first.says("standing by")
            assert len(receiver.calls) == calls
            second.stop()
            first.stop()
        check_delivered(database, receiver.received())


def test_a_listener_stands_by_while_the_server_restarts(own_database: Database) -> None:
    database = own_database
    make_slot(database)
    record(database, toggling(2_000, 40), 7)
    options = ("--max-documents", "100", "--wait")
    with Receiver(answer=(gate := Gate(3)), keep=True) as receiver, Posting(database, receiver, *options) as first:
        gate.wait()
        with Posting(database, receiver, *options) as second:
            second.says("standing by")
            for _ in range(4):
                database.server.stop("fast")
                database.server.start()
                wait_until(lambda: walsender(database))
            first.kill()
            gate.open()
            wait_until(lambda: len(firsts(receiver.received())) >= 1_960)
            second.stop()
        check_delivered(database, receiver.received(), gate.held)
