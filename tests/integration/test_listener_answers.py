"""What the listener makes of answers: again, less at a time, set aside, wait for somebody; and nothing is lost by any of it."""

import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from email.utils import formatdate
from itertools import chain, pairwise, repeat
from pathlib import Path
from time import time

import pytest

from demo.calls import Answer, Call
from demo.webhook import Receiver
from tests.conftest import Database
from tests.events import arrived
from tests.listening import Document, await_log, expected, listen, listening, stop
from tests.loading import assert_one_sentence, newest, wait_until
from tests.posting import (
    NOW,
    Gate,
    check_delivered,
    check_duplicates,
    firsts,
    letters,
    make_slot,
    record,
    refusing,
    run_to_end,
    toggling,
    walsender,
)
from tests.proxy import Proxy

REFUSES_ALL = "the receiver refuses every document"
AGAIN = "not delivered, to be tried again"


def scripted(answers: list[Answer]) -> Callable[[Call], Answer]:
    """These answers, then success."""
    coming = chain(answers, repeat(Answer()))
    return lambda _: next(coming)


def waits(log: list[Document], level: str, message: str) -> list[Document]:
    """The lines of calls that are to be made again."""
    return [line for line in log if line["level"] == level and message in line["message"]]


def check_retried(calls: list[Call]) -> None:
    """Assert that all are attempts at one call: the same id and bytes, the moment and so the signature anew."""
    assert len({call.id for call in calls}) == 1
    assert len({call.body for call in calls}) == 1
    moments = [int(call.headers["webhook-timestamp"]) for call in calls]
    assert all(before < after for before, after in pairwise(moments))
    assert len({call.headers["webhook-signature"] for call in calls}) == len(calls)


SECRET = ("--secret", "whsec_" + "QUJD" * 10)


@newest
@pytest.mark.parametrize("statuses", [(408, 425), (429, 500, 502), (503, 504, 599)], ids=str)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "past"])
def test_passing_failures_are_tried_again(database: Database, statuses: tuple[int, ...], stream: bool) -> None:
    if stream:
        make_slot(database)
    record(database, toggling(50, 5), 10)
    with Receiver(answer=scripted([Answer(status, NOW) for status in statuses]), keep=True) as receiver:
        log = run_to_end(database, receiver, "--from", "start", *SECRET)
        check_retried(receiver.calls[: len(statuses) + 1])
        check_delivered(database, receiver.received())
    assert [line["answer"].split()[0] for line in waits(log, "warning", AGAIN)] == [str(status) for status in statuses]
    assert [line["wait"] for line in waits(log, "warning", AGAIN)] == [1.0] * len(statuses)
    assert letters(database) == []


@newest
def test_waits_are_those_asked_for_or_of_the_listeners_own(database: Database) -> None:
    record(database, toggling(50, 5), 50)
    soon = formatdate(time() + 2, usegmt=True)
    answers = [
        Answer(503, {"retry-after": "2"}),
        Answer(429, {"retry-after": soon}),
        Answer(401, {"retry-after": "1"}),
        Answer(503, {"retry-after": "nonsense"}),
    ]
    with Receiver(answer=scripted(answers), keep=True) as receiver:
        log = run_to_end(database, receiver, "--from", "start", *SECRET)
        check_retried(receiver.calls)
        check_delivered(database, receiver.received())
    asked, date, endpoint, own = [line["wait"] for line in log if "wait" in line]
    assert (asked, date, endpoint) == (2.0, 1.0, 1.0)
    assert 1 <= own <= 3


@newest
def test_no_answer_and_half_an_answer_are_none(database: Database) -> None:
    record(database, toggling(50, 5), 50)
    with Receiver(answer=scripted([Answer(hang=True), Answer(body=b"x" * 1000, reset=True)]), keep=True) as receiver:
        log = run_to_end(database, receiver, "--from", "start", "--timeout", "0.5", *SECRET)
        check_retried(receiver.calls)
        broken = receiver.calls[1]
        check_delivered(database, receiver.received(), [broken])
    late, cut = [line["answer"] for line in waits(log, "warning", AGAIN)]
    assert late == "no answer within 0.5 s"
    assert "reset" in cut


@newest
def test_a_receiver_that_is_not_there(database: Database) -> None:
    record(database, toggling(50, 5), 50)
    gate = Gate()
    receiver = Receiver(answer=gate, keep=True)
    with receiver, listening(database, receiver, "--from", "start", *SECRET) as listener:
        gate.wait()
        receiver.stop()
        await_log(listener, "connection refused")
        gate.open()
        receiver.start()
        await_log(listener, "delivered documents=")
        stop(listener)
        check_retried(receiver.calls)
        check_delivered(database, receiver.received(), receiver.calls[:1])


def at_most(size: int) -> Callable[[Call], Answer]:
    """Takes no body above this size."""
    return lambda call: Answer(413, body=f"{size} bytes at most".encode()) if call.size > size else Answer()


@newest
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "past"])
def test_bodies_shrink_until_they_are_taken(database: Database, stream: bool) -> None:
    if stream:
        make_slot(database)
    large = toggling(3, first=10_000, value="v" * 3_000)
    record(database, [*toggling(250, 50), *large, *toggling(250, 50, first=20_000)], 200)
    wanted = expected(arrived(database))
    with Receiver(answer=at_most(2_500), keep=True) as receiver:
        run_to_end(database, receiver, "--from", "start")
        too_large = {document["event"] for document in wanted if document["user"] == "user-10000-0"}
        assert len(too_large) == 2
        assert receiver.received() == [document for document in wanted if document["event"] not in too_large]
        refused = [call for call in receiver.calls if not call.accepted]
        single = [call for call in refused if call.count == 1]
        assert len(refused) < len(receiver.calls) / 2 + 10
        assert letters(database) == [
            (call.lines()[0].decode(), 413, "413 Request Entity Too Large 2500 bytes at most", call.id) for call in single
        ]
        assert {call.documents()[0]["event"] for call in single} == too_large


def poison(wanted: list[Document], seed: int) -> list[str]:
    """Some of the documents' events, in runs shorter than what makes the receiver the culprit."""
    chance = random.Random(seed)
    bad = []
    at = chance.randrange(20)
    while at < len(wanted):
        run = chance.choice([1, 1, 1, 2, 9])
        bad += [document["event"] for document in wanted[at : at + run]]
        at += run + chance.randint(1, 60)
    return bad


def check_set_aside(database: Database, receiver: Receiver, bad: list[str], status: int) -> None:
    """Assert that these events' documents are dead letters, in order, each by a call of its own and in its very text."""
    calls = {call.id: call for call in receiver.calls}
    found = letters(database)
    events = [calls[call].documents()[0]["event"] for *_, call in found]
    assert events == bad
    for (text, *answered, call), event in zip(found, events, strict=True):
        assert calls[call].lines() == [text.encode()]
        assert answered == [status, f"{Answer(status).status} {phrase(status)} not {event}"]


def phrase(status: int) -> str:
    return {400: "Bad Request", 422: "Unprocessable Entity"}[status]


@newest
@pytest.mark.parametrize("seed", range(4))
def test_only_the_poison_is_set_aside(database: Database, seed: int) -> None:
    stream, status = seed % 2 == 0, 400 if seed < 2 else 422
    if stream:
        make_slot(database)
    record(database, toggling(400, 30, value='"\\ \u20ac'), 400 if seed else 7)
    wanted = expected(arrived(database))
    bad = poison(wanted, seed)
    print("seed", seed)
    options = ("--gzip", "--max-documents", "150") if seed == 3 else ()
    with Receiver(answer=refusing(bad, status), keep=True) as receiver:
        run_to_end(database, receiver, "--from", "start", *options)
        assert receiver.received() == [document for document in wanted if document["event"] not in bad]
        check_set_aside(database, receiver, bad, status)


@newest
@pytest.mark.parametrize("statuses", [(401, 403, 404, 405), (410, 301, 307, 418)], ids=str)
def test_a_wrong_endpoint_is_waited_for(database: Database, statuses: tuple[int, ...]) -> None:
    record(database, toggling(50, 5), 10)
    with Receiver() as elsewhere:
        answers = [Answer(status, NOW | {"location": elsewhere.url}) for status in statuses]
        with Receiver(answer=scripted(answers), keep=True) as receiver:
            log = run_to_end(database, receiver, "--from", "start", *SECRET)
            check_retried(receiver.calls)
            check_delivered(database, receiver.received())
        assert elsewhere.counters.calls == 0
    said = waits(log, "error", "the receiver refuses every call: mend it, or the URL")
    assert [line["answer"].split()[0] for line in said] == [str(status) for status in statuses]
    assert letters(database) == []


class Breakable:
    """Refuses every document until it is mended."""

    broken = True

    def __call__(self, _call: Call) -> Answer:
        return Answer(400, NOW) if self.broken else Answer()


@newest
@pytest.mark.parametrize(("options", "aside"), [((), 0), (("--max-documents", "1"), 9)], ids=["one-batch", "singles"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "past"])
def test_a_receiver_that_refuses_every_document(database: Database, options: tuple[str, ...], aside: int, stream: bool) -> None:
    if stream:
        make_slot(database)
    record(database, toggling(60, 5), 60)
    wanted = expected(arrived(database))
    answer = Breakable()
    with Receiver(answer=answer, keep=True) as receiver:
        with listening(database, receiver, "--from", "start", *options) as listener:
            assert " ERROR " in await_log(listener, REFUSES_ALL)
            await_log(listener, REFUSES_ALL)
            assert len(letters(database)) == aside
            answer.broken = False
            wait_until(lambda: len(receiver.received()) == len(wanted) - aside)
            stop(listener)
        assert receiver.received() == wanted[aside:]
        assert len(letters(database)) == aside


@newest
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "past"])
def test_stopping_at_poison(database: Database, stream: bool) -> None:
    if stream:
        make_slot(database)
    record(database, toggling(300, 5), 100)
    wanted = expected(arrived(database))
    bad = wanted[150]["event"]
    with Receiver(answer=refusing([bad]), keep=True) as receiver:
        for _ in range(2):
            command = ("run", "--url", receiver.url, "--until-caught-up", "--on-poison", "stop", "--from", "start")
            done = listen(database, *command)
            assert done.returncode == 1
            assert_one_sentence(done, "--on-poison stop was given", f"400 Bad Request. not {bad}")
            assert receiver.received() == wanted[:150]
        assert letters(database) == []
        receiver.answer = Gate(1_000_000)
        run_to_end(database, receiver, "--on-poison", "stop")
        assert receiver.received() == wanted


@newest
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "past"])
def test_killed_while_it_looks_for_the_poison(database: Database, stream: bool) -> None:
    if stream:
        make_slot(database)
    record(database, toggling(400, 30), 100)
    wanted = expected(arrived(database))
    bad = poison(wanted, 5)
    options = ("--from", "start", "--max-documents", "64")
    in_flight: list[Call] = []
    with Receiver(keep=True) as receiver:
        for nth in (9, 17, 14, 25):
            receiver.answer = gate = Gate(nth, refusing(bad))
            with listening(database, receiver, *options) as listener:
                gate.wait()
                listener.send_signal(signal.SIGKILL)
                listener.wait()
            gate.open()
            in_flight += gate.held
        wait_until(lambda: all(call.status for call in receiver.calls))
        run_to_end(database, receiver, *options)
        received = receiver.received()
        assert firsts(received) == [document for document in wanted if document["event"] not in bad]
        check_duplicates(received, in_flight)
        check_set_aside(database, receiver, bad, 400)


@pytest.fixture
def proxy(database: Database) -> Iterator[tuple[Proxy, str]]:
    """A proxy before the server and its PGHOST."""
    with tempfile.TemporaryDirectory(prefix="proxy-") as folder:
        found = Proxy(database.server, Path(folder))
        yield found, folder
        found.close()


@newest
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "past"])
def test_a_dead_letter_whose_commit_is_not_heard_of(database: Database, proxy: tuple[Proxy, str], stream: bool) -> None:
    if stream:
        make_slot(database)
    record(database, toggling(400, 30), 400)
    wanted = expected(arrived(database))
    bad = [document["event"] for document in wanted[7::20]]
    with Receiver(answer=refusing(bad), keep=True) as receiver:
        run_to_end(database, receiver, "--from", "start", "--max-documents", "50", PGHOST=proxy[1])
        assert proxy[0].cuts > 2
        assert receiver.received() == [document for document in wanted if document["event"] not in bad]
        check_set_aside(database, receiver, bad, 400)


def refusals(database: Database) -> int:
    """How often the server let no one stream."""
    return (database.server.folder / "server.log").read_text().count("permission denied to start WAL sender")


@pytest.fixture
def role(database: Database) -> Iterator[str]:
    """A role of the test's own that may listen."""
    database.execute(f"create role {database.name} login replication in role segment_listener")
    yield database.name
    database.execute(f"drop role {database.name}")


@newest
def test_a_dead_letter_while_the_stream_is_lost(database: Database, role: str) -> None:
    """Whatever of the cursor is written meanwhile must not pass a document by that is not set aside yet."""
    make_slot(database)
    record(database, toggling(3), 3)
    first, second = (document["event"] for document in expected(arrived(database)))
    gate = Gate(3, refusing([first]))
    with Receiver(answer=gate, keep=True) as receiver:
        with listening(database, receiver, PGUSER=role) as listener:
            gate.wait()
            database.execute(f"alter role {role} noreplication")
            database.fetch("select pg_terminate_backend(%s)", walsender(database))
            await_log(listener, "the stream is lost")
            gate.open()
            wait_until(lambda: receiver.calls[-1].accepted)
            refused = refusals(database)
            wait_until(lambda: refusals(database) > refused + 9)  # so often it tried to connect
            listener.send_signal(signal.SIGKILL)
            listener.wait()
        run_to_end(database, receiver)
        assert {document["event"] for document in receiver.received()} == {second}
        check_set_aside(database, receiver, [first], 400)
