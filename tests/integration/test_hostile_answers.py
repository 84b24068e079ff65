"""Receivers that mean harm: what they say counts as a failed call, nothing is lost by it, and memory stays bounded."""

import asyncio
import gzip
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterable
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

import pytest

from demo.webhook import Receiver
from listener.webhook import Answer, Call, Webhook
from tests.conftest import Database
from tests.events import arrived
from tests.listening import Document, expected
from tests.loading import newest, wait_until
from tests.posting import Posting, entries, letters, record, run_to_end, toggling
from tests.servers import drain, over_tls, read_head, saying, serve
from tests.tls import Authority

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
NO = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nretry-after: 0\r\n\r\n"
LARGE = b"y" * 65_536
BOMB = gzip.compress(bytes(50 << 20))


class Step(NamedTuple):
    """What a receiver says to a call, piece by piece until the other side hangs up, and whether it has accepted it."""

    said: Iterable[bytes]
    accepts: bool = False
    keeps: bool = False
    """Whether the connection may be kept."""


ACCEPT = Step([OK], accepts=True, keeps=True)
REFUSE = Step([NO], keeps=True)


class Villain:
    """A receiver that plays a step at each call and then accepts; `documents` are those it has accepted, in their order."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.documents: list[Document] = []
        self.calls = 0
        self._steps = chain(steps, repeat(ACCEPT))

    def script(self, connection: socket.socket, _over: threading.Event) -> None:
        """One connection."""
        while body := read_body(connection):
            self.calls += 1
            step = next(self._steps)
            if step.accepts:
                self.documents += json.loads(body)
            for piece in step.said:
                connection.sendall(piece)
            if not step.keeps:
                connection.shutdown(socket.SHUT_WR)
                drain(connection)


def read_body(connection: socket.socket) -> bytes:
    """The whole of a call's body; nothing at the end of the connection."""
    head, _, body = read_head(connection).partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    while length and len(body) < int(length[1]):
        body += connection.recv(1 << 16)
    return body


HEAD = b"HTTP/1.1 200 OK\r\n"
FAILURES = {
    "no HTTP": [b"\x16\x03\x01\x02\x00SSH-2.0-OpenSSH\r\n" * 10],
    "an endless header": chain([HEAD + b"x: "], repeat(LARGE, 4000)),
    "1xx for ever": repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 10_000),
    "less than it says": [HEAD + b"content-length: 100\r\n\r\nhalf"],
    "an endless bomb": chain([NO.replace(b"content-length: 0", b"content-encoding: gzip")], repeat(BOMB, 4000)),
    "no gzip": [NO.replace(b"content-length: 0", b"content-encoding: gzip\r\ncontent-length: 4") + b"\x1f\x8bno"],
}


@newest
def test_failures_lose_nothing_and_take_no_memory(database: Database) -> None:
    """Each is followed by success, so that waits stay short; 100 MB is what the listener may take."""
    record(database, toggling(120, 5), 120)
    steps = [step for said in FAILURES.values() for step in (Step(said), ACCEPT)]
    villain = Villain(steps)
    wanted = expected(arrived(database))
    options = ("--from", "start", "--max-documents", "10", "--timeout", "1", "--log-json")
    with serve(villain.script) as url, Posting(database, at(url), *options) as posting:
        wait_until(lambda: len(villain.documents) >= len(wanted) or posting.process.poll() is not None)
        peak = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{posting.process.pid}/status").read_text())
        posting.stop()
        log = entries(posting.log)
    assert villain.documents == wanted
    assert villain.calls == len(FAILURES) + -(-len(wanted) // 10)
    retried = [entry["answer"] for entry in log if entry["message"] == "not delivered, to be tried again"]
    assert len(retried) == len(FAILURES)
    assert retried[2] == "no answer within 1 s"
    assert int(peak[0]) < 100_000
    assert letters(database) == []


def at(url: str) -> Receiver:
    """The address of one that is not the demo's."""
    return Receiver(port=int(re.findall(r":(\d+)/", url)[0]))


@newest
def test_a_second_answer_is_not_taken_for_that_to_the_next_call(database: Database) -> None:
    """Which the receiver refuses here: what was posted by that would be lost."""
    record(database, toggling(60, 5), 60)
    villain = Villain([Step([OK + OK], accepts=True, keeps=True), REFUSE, ACCEPT] * 2)
    with serve(villain.script) as url:
        run_to_end(database, at(url), "--from", "start", "--max-documents", "10")
    assert villain.documents == expected(arrived(database))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom those trust that are to."""
    return Authority(tmp_path_factory.mktemp("tls") / "trusted")


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Whom this process trusts, and nobody else."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    return authority


def post(url: str, calls: int = 1) -> list[Answer]:
    """Post as often."""

    async def work() -> list[Answer]:
        async with Webhook(url, [], compress=False, timeout=30) as webhook:
            return [await webhook.post(Call.of(b"[]")) for _ in range(calls)]

    return asyncio.run(work())


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_a_second_answer_that_came_with_the_first(trusted: Authority, secure: bool) -> None:
    """In TLS as a record of its own, which the first answer's reader has in hand and does not read."""

    def script(connection: socket.socket, _over: threading.Event) -> None:
        if read_body(connection):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            connection.sendall(OK)
            connection.sendall(OK.replace(b"200", b"202"))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
            drain(connection)

    with serve(over_tls(trusted.sign("IP:127.0.0.1"), script) if secure else script) as url:
        answers = post(url.replace("http:", "https:") if secure else url, calls=5)
    assert [answer.status for answer in answers] == [200] * 5


@pytest.mark.parametrize(
    ("name", "days", "said"),
    [
        ("DNS:other.test", 2, "IP address mismatch, certificate is not valid for '127.0.0.1'."),
        ("IP:127.0.0.1", -1, "certificate has expired"),
    ],
)
def test_an_impostor_gets_nothing(trusted: Authority, name: str, days: int, said: str) -> None:
    refused = threading.Event()

    def watched(connection: socket.socket, over: threading.Event) -> None:
        try:
            over_tls(trusted.sign(name, days), saying(OK))(connection, over)
        except ssl.SSLError:
            refused.set()

    with serve(watched) as url:
        (answer,) = post(url.replace("http:", "https:"))
        assert str(answer) == f"certificate not trusted: {said}"
        assert refused.wait(30), "it was spoken to"


def test_a_redirect_out_of_tls_is_not_followed(trusted: Authority) -> None:
    with Receiver() as elsewhere:
        moved = f"HTTP/1.1 307 Moved\r\nlocation: {elsewhere.url}\r\ncontent-length: 0\r\n\r\n".encode()
        with serve(over_tls(trusted.sign("IP:127.0.0.1"), saying(moved))) as url:
            (answer,) = post(url.replace("http:", "https:"))
        assert answer.status == 307
        assert elsewhere.counters.calls == 0
