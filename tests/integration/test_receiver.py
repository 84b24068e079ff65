"""The demo's receiver, over real HTTP: it counts, answers as it is set or told, can be cut off; and its command line."""

import gzip
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse, RemoteDisconnected
from subprocess import PIPE

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.calls import Answer, Call, Settings, count
from demo.delivery import open_receiver
from demo.errors import PortError
from demo.webhook import KEPT_HEADS, LARGEST_BODY, Receiver
from tests.conftest import ROOT
from tests.loading import assert_one_sentence, wait_until

DEMO = (sys.executable, "-m", "demo", "webhook")
TWO = b'[\n{"n": 1},\n{"n": 2}\n]'


def connect(receiver: Receiver) -> HTTPConnection:
    """A connection to the receiver, made now."""
    connection = HTTPConnection("127.0.0.1", receiver.port, timeout=30)
    connection.connect()
    return connection


def send(connection: HTTPConnection, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    """Status and body of the answer."""
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer: HTTPResponse = connection.getresponse()
    return answer.status, answer.read()


def post(receiver: Receiver, body: bytes = TWO, **headers: str) -> int:
    """Post on a connection of its own; return the status."""
    connection = connect(receiver)
    try:
        return send(connection, "POST", "/", body, **headers)[0]
    finally:
        connection.close()


def settings(receiver: Receiver, method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
    """Ask for the settings, or change them."""
    connection = connect(receiver)
    try:
        return send(connection, method, "/settings", body)
    finally:
        connection.close()


def bindable(reuse: bool) -> socket.socket:
    """A socket as servers have it, or a bare one."""
    other = socket.socket()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
    return other


def test_it_keeps_and_counts_what_it_accepts() -> None:
    replies = iter([Answer(200), Answer(503), Answer(202), Answer(400)])
    with Receiver(answer=lambda _: next(replies), keep=True) as receiver:
        bodies = [TWO, b'[{"n": 3}]', b'[{"n": 4},\n{"n": 5},\n{"n": 6}]', b"rubbish" * 100]
        assert [post(receiver, body, webhook_id=f"msg_{len(body)}") for body in bodies] == [200, 503, 202, 400]
        assert vars(receiver.counters) == {"calls": 4, "accepted": 2, "documents": 5, "largest": 700}
        assert [document["n"] for document in receiver.received()] == [1, 2, 4, 5, 6]
        assert [call.body for call in receiver.calls] == bodies
        assert [call.status for call in receiver.calls] == [200, 503, 202, 400]
        assert receiver.calls[0].id == f"msg_{len(TWO)}"


def test_without_keep_it_has_only_heads_and_not_all() -> None:
    with Receiver() as receiver:
        connection = connect(receiver)
        for _ in range(KEPT_HEADS + 5):
            assert send(connection, "POST", "/", TWO)[0] == 200
        connection.close()
        assert receiver.counters.calls == KEPT_HEADS + 5
        assert len(receiver.calls) == KEPT_HEADS
        assert {(call.body, call.size, call.count) for call in receiver.calls} == {(b"", len(TWO), 2)}


@given(st.integers(0, 9), st.sampled_from(["[\n{}\n]", "[{}]", "[\n{}\n]\n", " [ {} ] "]), st.sampled_from([",\n", ",\r\n"]))
def test_documents_are_counted_by_lines(many: int, around: str, between: str) -> None:
    documents = [json.dumps({"n": n, "tags": [[]]}) for n in range(many)]
    body = around.replace("{}", between.join(documents)).encode()
    assert count(body) == many
    call = Call.of(0, "/", {}, body)
    assert call.documents() == [json.loads(document) for document in documents]
    assert call.lines() == [document.encode() for document in documents]


def test_compressed_bodies_are_counted_and_parsed() -> None:
    with Receiver(keep=True) as receiver:
        body = gzip.compress(TWO)
        assert post(receiver, body, content_encoding="gzip") == 200
        assert receiver.received() == [{"n": 1}, {"n": 2}]
        assert receiver.calls[0].body == body
        assert receiver.counters.documents == 2


@pytest.mark.parametrize(
    "body",
    [TWO, gzip.compress(TWO)[:-9], gzip.compress(TWO)[:12] + b"\xff" * 20, b"\x1f\x8b"],
    ids=["plain", "cut", "spoilt", "a head"],
)
def test_what_is_no_gzip_is_refused(body: bytes) -> None:
    with Receiver() as receiver:
        assert post(receiver, body, content_encoding="gzip") == 400
        assert receiver.calls == []


@pytest.mark.parametrize(
    ("length", "status"), [(None, 411), ("x", 411), ("-1", 411), (str(LARGEST_BODY + 1), 413), ("9" * 999, 413)]
)
def test_a_body_without_an_end_is_refused(length: str | None, status: int) -> None:
    with Receiver() as receiver:
        connection = connect(receiver)
        connection.putrequest("POST", "/")
        if length:
            connection.putheader("content-length", length)
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()


def test_a_call_that_breaks_off_is_none() -> None:
    with Receiver() as receiver:
        with socket.create_connection(("127.0.0.1", receiver.port), 30) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n[")
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
        assert receiver.calls == []


def test_the_settings_decide_unless_a_test_does() -> None:
    receiver = Receiver()
    call = Call.of(0, "/", {}, b"[]")
    assert receiver.answer(call) == Answer()
    receiver.settings = Settings(delay=500, status=410)
    assert receiver.answer(call) == Answer(410, delay=0.5)
    receiver.settings = Settings(fail_rate=1, status=410)
    assert receiver.answer(call) == Answer(503)
    receiver.settings.fail_rate = 0.5
    assert {receiver.answer(call).status for _ in range(1000)} == {410, 503}
    receiver.settings.hang = True
    assert receiver.answer(call).hang


def test_settings_are_shown_and_changed_at_once() -> None:
    with Receiver() as receiver:
        status, shown = settings(receiver, "PUT", b'{"status": 410, "fail_rate": 0}')
        assert (status, post(receiver)) == (200, 410)
        assert json.loads(shown) == {
            "settings": {"delay": 0, "fail_rate": 0, "status": 410, "hang": False},
            "counters": {"calls": 0, "accepted": 0, "documents": 0, "largest": 0},
        }
        assert json.loads(settings(receiver)[1])["counters"] == {"calls": 1, "accepted": 0, "documents": 0, "largest": len(TWO)}


@pytest.mark.parametrize(
    ("wanted", "word"),
    [
        (b'{"delay": -1}', b"delay"),
        (b'{"delay": true}', b"delay"),
        (b'{"delay": NaN}', b"delay"),
        (b'{"delay": "5"}', b"delay"),
        (b'{"delay": 1e300}', b"delay"),
        (b'{"fail_rate": 1.1}', b"fail_rate"),
        (b'{"fail_rate": null}', b"fail_rate"),
        (b'{"status": 99}', b"status"),
        (b'{"status": 200.5}', b"status"),
        (b'{"status": true}', b"status"),
        (b'{"hang": 1}', b"hang"),
        (b'{"hank": true}', b"hank"),
        (b'{"delay": 7, "hank": true}', b"hank"),
        (b"[]", b"object"),
        (b"delay=500", b"JSON"),
        (b"\xff", b"JSON"),
        (b"", b"JSON"),
    ],
)
def test_settings_that_are_wrong_are_refused_in_a_sentence(wanted: bytes, word: bytes) -> None:
    with Receiver() as receiver:
        status, said = settings(receiver, "PUT", wanted)
        assert status == 400
        assert word in said
        assert said.endswith(b".\n")
        assert receiver.settings == Settings()


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_other_addresses_are_not_there(method: str) -> None:
    with Receiver() as receiver:
        connection = connect(receiver)
        assert send(connection, method, "/")[0] == 404
        connection.close()


def test_a_test_may_ask_the_receiver_while_it_decides() -> None:
    def answer(call: Call) -> Answer:
        return Answer(200 if receiver.counters.calls == 1 and receiver.calls[0].id == call.id else 500)

    with Receiver(answer=answer) as receiver:
        assert post(receiver) == 200


@pytest.mark.parametrize("reply", [Answer(hang=True), Answer(delay=3600)])
def test_stopping_ends_calls_that_wait(reply: Answer) -> None:
    arrived = threading.Event()

    def answer(_call: Call) -> Answer:
        arrived.set()
        return reply

    with Receiver(answer=answer) as receiver:
        connection = connect(receiver)
        connection.request("POST", "/", TWO)
        assert arrived.wait(30)
        receiver.stop()
        with pytest.raises((RemoteDisconnected, ConnectionResetError)):
            connection.getresponse()
        connection.close()
        assert [call.status for call in receiver.calls] == [None]
        assert receiver.counters.accepted == 0


def test_a_call_may_stop_the_receiver() -> None:
    def answer(_call: Call) -> Answer:
        receiver.stop()
        return Answer()

    with Receiver(answer=answer) as receiver:
        with pytest.raises((RemoteDisconnected, ConnectionResetError)):
            post(receiver)
        assert receiver.counters.accepted == 0
        receiver.answer = receiver.answer_by_settings
        receiver.start()
        assert post(receiver) == 200


def test_stopped_it_refuses_connections_until_it_starts_on_the_same_port() -> None:
    with Receiver() as receiver:
        url, idle = receiver.url, connect(receiver)
        assert send(idle, "POST", "/", TWO)[0] == 200
        receiver.stop()
        assert idle.sock.recv(1) == b""
        idle.close()
        with pytest.raises(ConnectionRefusedError):
            connect(receiver)
        receiver.stop()
        receiver.start()
        assert post(receiver) == 200
        assert (receiver.url, receiver.counters.calls) == (url, 2)


@pytest.mark.parametrize("reuse", [False, True])
def test_stopped_it_keeps_its_port_until_it_is_closed(reuse: bool) -> None:
    receiver = Receiver()
    receiver.start()
    assert post(receiver) == 200
    receiver.stop()
    with bindable(reuse) as other:
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", receiver.port))
        receiver.close()
        if reuse:  # without, what is left of connections would be in the way
            other.bind(("127.0.0.1", receiver.port))


def test_nobody_takes_the_port_while_it_is_stopped_and_started() -> None:
    taken, done = [], threading.Event()

    def take(port: int) -> None:
        while not done.is_set():
            with suppress(PortError), Receiver(port) as other:
                taken.append(other)

    with Receiver() as receiver:
        taking = threading.Thread(target=take, args=(receiver.port,))
        taking.start()
        try:
            for _ in range(10):
                assert post(receiver) == 200
                receiver.stop()
                receiver.start()
        finally:
            done.set()
            taking.join()
    assert not taken


def test_a_demo_passes_over_the_port_of_a_receiver_that_is_cut() -> None:
    with closing(open_receiver()) as cut:
        cut.stop()
        with closing(open_receiver()) as other:
            assert other.port != cut.port
            cut.start()
            assert [post(cut), cut.counters.calls, other.counters.calls] == [200, 1, 0]


def test_two_receivers_cannot_have_one_port() -> None:
    with Receiver() as receiver:
        with pytest.raises(PortError, match=f"{receiver.port}.*in use.*--port"):
            Receiver(receiver.port).start()
        receiver.stop()
        with pytest.raises(PortError, match=f"{receiver.port}.*in use.*--port"):
            Receiver(receiver.port).start()


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], Receiver]]:
    """The command line on a free port, and a receiver that is not started but knows its address."""
    command = [*DEMO, "--port", "0", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=PIPE, stderr=PIPE, text=True) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().split()[0]
            assert process.stdout.readline() == f"""  curl -X PUT -d '{{"delay": 500}}' {url}settings\n"""
            yield process, Receiver(int(url.rstrip("/").rpartition(":")[2]))
        finally:
            process.kill()


def read(process: subprocess.Popen[str], lines: int) -> list[str]:
    """The next lines that it prints."""
    assert process.stdout
    return [process.stdout.readline().rstrip("\n") for _ in range(lines)]


def test_the_command_prints_calls_and_documents_as_they_came() -> None:
    with running("--delay", "0") as (process, receiver):
        assert post(receiver, b'[\n{"n":1},\n{"n":"\xc3\xa9"}\n]', webhook_id="msg_1") == 200
        head, *documents = read(process, 3)
        assert head.split("  ")[1:] == ["200", "2 documents", "23 bytes", "msg_1"]
        assert documents == ['{"n":1}', '{"n":"é"}']
        assert json.loads(settings(receiver, "PUT", b'{"status": 422}')[1])["settings"]["status"] == 422
        assert post(receiver, gzip.compress(TWO), content_encoding="gzip") == 422
        assert read(process, 3)[0].split("  ")[1:3] == ["422", "2 documents"]


def test_the_command_prints_as_many_documents_as_asked() -> None:
    with running("--show", "1", "--status", "503", "--delay", "0") as (process, receiver):
        assert post(receiver, b"[" + b",\n".join([b"{}"] * 1236) + b"]") == 503
        assert read(process, 3)[1:] == ["{}", "… 1,235 more"]
    with running("--show", "0", "--fail-rate", "1", "--delay", "0") as (process, receiver):
        assert post(receiver) == 503
        assert read(process, 2)[1] == "… 2 more"


def test_a_call_that_hangs_is_printed() -> None:
    with running("--hang") as (process, receiver):
        connection = connect(receiver)
        connection.request("POST", "/", TWO)
        assert read(process, 1)[0].split("  ")[1] == "hangs"
        connection.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_command(number: signal.Signals) -> None:
    with running() as (process, _):
        process.send_signal(number)
        assert process.wait(30) == 0
        assert process.stderr
        assert process.stderr.read() == ""


def test_the_command_ends_when_nobody_reads() -> None:
    with running("--delay", "0") as (process, receiver):
        assert process.stdout
        process.stdout.close()
        post(receiver)
        wait_until(lambda: process.poll() is not None)
        assert process.returncode == 0


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with Receiver() as receiver:
        port = str(receiver.port)
        done = subprocess.run([*DEMO, "--port", port], cwd=ROOT, capture_output=True, text=True, check=False)
    assert_one_sentence(done, port, "in use", "--port")


def test_a_web_site_is_refused() -> None:
    """Also under a name that it has made this host's: then the origin is that name."""
    with Receiver() as receiver:
        for origin in ("http://evil.example", "null", receiver.url.rstrip("/")):
            assert post(receiver, origin=origin) == 403
            assert send(connect(receiver), "PUT", "/settings", b'{"hang": true}', origin=origin)[0] == 403
        assert (receiver.counters.calls, receiver.settings.hang) == (0, False)
        assert post(receiver) == 200
