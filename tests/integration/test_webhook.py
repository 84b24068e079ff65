"""Posting over real HTTP: to the demo's receiver, and to servers that answer in ways no library would."""

import asyncio
import base64
import gzip
import logging
import socket
import subprocess
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
import standardwebhooks
from hypothesis import example, given, settings
from hypothesis import strategies as st

from demo.calls import Answer as Reply
from demo.webhook import Receiver
from listener.errors import BadEnvironment
from listener.webhook import Answer, Call, Verdict, Webhook
from tests.servers import drain, dripping, endless, over_tls, read_head, saying, serve

KEY = bytes(range(32))
BODY = b'[\n{"value": "x"},\n{"value": "y"}\n]'
LARGE = b"[" + b" " * (4 << 20) + b"]"
LONG = 60.0
"""A timeout that no test waits for."""

SHORT = 0.2
"""A timeout that a test waits for."""

T = TypeVar("T")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that want a proxy or authorities say so."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to its end."""
    return asyncio.run(work, debug=True)


def post(
    url: str, *bodies: bytes, timeout: float = LONG, secrets: tuple[bytes, ...] = (), compress: bool = False
) -> list[Answer]:
    """Post bodies one after the other with one webhook."""

    async def work() -> list[Answer]:
        async with Webhook(url, secrets, compress, timeout) as hook:
            return [await hook.post(Call.of(body)) for body in bodies]

    return run(work())


def post_one(url: str, body: bytes = BODY, **options: Any) -> Answer:
    """Post one body."""
    (answer,) = post(url, body, **options)
    return answer


@pytest.mark.parametrize(
    ("verdict", "statuses"),
    [
        (Verdict.DELIVERED, [200, 201, 202, 204, 206, 299]),
        (Verdict.RETRY, [408, 425, 429, 500, 502, 503, 504, 599]),
        (Verdict.TOO_LARGE, [413]),
        (Verdict.DOCUMENT, [400, 422]),
        (Verdict.ENDPOINT, [300, 301, 302, 303, 304, 307, 308, 401, 403, 404, 405, 410, 418, 431]),
    ],
)
def test_each_status_is_judged(verdict: Verdict, statuses: list[int]) -> None:
    left = iter(statuses)
    with Receiver(answer=lambda _: Reply(next(left))) as receiver:
        answers = post(receiver.url, *[BODY] * len(statuses))
    assert [answer.status for answer in answers] == statuses
    assert {answer.verdict for answer in answers} == {verdict}


def test_what_arrives() -> None:
    with Receiver(keep=True) as receiver:
        assert post_one(receiver.url, secrets=(KEY,)).verdict is Verdict.DELIVERED
    (call,) = receiver.calls
    assert call.body == BODY
    assert call.headers["content-type"] == "application/json"
    assert call.headers["user-agent"].startswith("pgsegments/")
    assert "content-encoding" not in call.headers
    assert "authorization" not in call.headers
    assert standardwebhooks.Webhook(KEY).verify(call.body, dict(call.headers)) == receiver.received()


def test_without_a_secret_nothing_is_signed() -> None:
    with Receiver(keep=True) as receiver:
        post_one(receiver.url)
    (call,) = receiver.calls
    assert "webhook-signature" not in call.headers
    assert call.id.startswith("msg_")


def test_compressed_what_is_signed_is_the_json() -> None:
    with Receiver(keep=True) as receiver:
        post_one(receiver.url, secrets=(KEY,), compress=True)
    (call,) = receiver.calls
    assert call.headers["content-encoding"] == "gzip"
    assert gzip.decompress(call.body) == BODY
    assert receiver.received() == [{"value": "x"}, {"value": "y"}]
    assert standardwebhooks.Webhook(KEY).verify(BODY, dict(call.headers)) == receiver.received()


def test_the_same_call_again_is_signed_anew() -> None:
    times = iter([1000.9, 1000.9, 1400.1, 1400.1])

    async def work() -> None:
        async with Webhook(receiver.url, [KEY], True, LONG, lambda: next(times)) as hook:
            call = Call.of(BODY)
            await hook.post(call)
            await hook.post(call)

    with Receiver(keep=True) as receiver:
        run(work())
    first, second = receiver.calls
    assert (first.id, first.body) == (second.id, second.body)
    assert [call.headers["webhook-timestamp"] for call in (first, second)] == ["1000", "1400"]
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


def test_credentials_of_the_url_become_basic_auth() -> None:
    with Receiver(keep=True) as receiver:
        post_one(receiver.url.replace("//", "//us%20er:p%40ss@") + "hook?key=1")
    (call,) = receiver.calls
    assert call.headers["authorization"] == "Basic " + base64.b64encode(b"us er:p@ss").decode()
    assert call.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert call.path == "/hook?key=1"


def test_netrc_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with Receiver() as receiver:
        post_one(receiver.url)
    assert "authorization" not in receiver.calls[0].headers


@pytest.mark.parametrize("location", ["{target}", "http://[", "ftp://h/", "//", "\x80"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int, location: str) -> None:
    with Receiver() as target:
        reply = Reply(status, {"location": location.format(target=target.url)})
        with Receiver(answer=lambda _: reply) as receiver:
            assert post_one(receiver.url).verdict is Verdict.ENDPOINT
        assert target.calls == []


def test_cookies_are_not_kept() -> None:
    with Receiver(answer=lambda _: Reply(headers={"set-cookie": "a=b"})) as receiver:
        post(receiver.url, BODY, BODY)
    assert ["cookie" in call.headers for call in receiver.calls] == [False, False]


@pytest.mark.parametrize(("asked", "seconds"), [("7", 7.0), ("Thu, 01 Jan 1970 00:17:00 GMT", 20.0), ("soon", None)])
def test_retry_after_is_read(asked: str, seconds: float | None) -> None:
    async def work() -> Answer:
        async with Webhook(receiver.url, [], False, LONG, lambda: 1000.0) as hook:
            return await hook.post(Call.of(BODY))

    with Receiver(answer=lambda _: Reply(503, {"retry-after": asked}, b"later\n\x1b[31m")) as receiver:
        assert run(work()) == Answer(503, "later [31m", seconds)


def test_a_receiver_that_hangs() -> None:
    with Receiver() as receiver:
        receiver.settings.hang = True
        answer = post_one(receiver.url, timeout=SHORT)
    assert answer == Answer(None, "no answer within 0.2 s", None)
    assert answer.verdict is Verdict.RETRY


def test_after_a_hang_the_next_call_is_answered() -> None:
    replies = iter([Reply(hang=True), Reply(), Reply(delay=LONG), Reply()])
    with Receiver(answer=lambda _: next(replies)) as receiver:
        answers = post(receiver.url, *[BODY] * 4, timeout=SHORT)
    assert [answer.status for answer in answers] == [None, 200, None, 200]


@pytest.mark.parametrize("body", [b"", b"x" * 5000], ids=["head", "body"])
def test_an_acceptance_that_breaks_off_is_none(body: bytes) -> None:
    with Receiver(answer=lambda _: Reply(200, {}, body, reset=True)) as receiver:
        answers = post(receiver.url, BODY, BODY)
    assert [(answer.status, answer.verdict) for answer in answers] == [(None, Verdict.RETRY)] * 2


def test_a_refusal_that_breaks_off_counts() -> None:
    with serve(saying(b"HTTP/1.1 413 Too Large\r\ncontent-length: 100\r\n\r\nto")) as url:
        assert post_one(url) == Answer(413, "to", None)


def test_a_refusal_before_the_body_was_read_counts() -> None:
    with serve(saying(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\n\r\ntoo large")) as url:
        assert post_one(url, LARGE) == Answer(413, "too large", None)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["status", "header", "body"])
def test_slow_drips_end_with_the_deadline(head: bytes) -> None:
    with serve(dripping(head)) as url:
        assert str(post_one(url, timeout=SHORT)) == "no answer within 0.2 s"


BOMB = gzip.compress(bytes(100 << 20))


@pytest.mark.parametrize(
    ("head", "piece", "text"),
    [
        (b"", b"y" * 65536, "y" * 1000),
        (b"Transfer-Encoding: chunked\r\n", b"1\r\nz\r\n" * 10_000, "z" * 1000),
        (b"Content-Encoding: gzip\r\n", BOMB, ""),
    ],
    ids=["plain", "chunked", "bomb"],
)
def test_an_endless_answer_is_cut(head: bytes, piece: bytes, text: str) -> None:
    broke = threading.Event()
    with serve(endless(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n", piece, broke)) as url:
        assert post_one(url) == Answer(200, text, None)
        assert broke.wait(30), "the connection is still open"


def test_an_endless_head_is_no_answer() -> None:
    broke = threading.Event()
    with serve(endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 1000, broke)) as url:
        assert post_one(url).status is None
        assert broke.wait(30), "the connection is still open"


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 503 No\r\n\r\n"]), st.binary(max_size=300))
@example(b"HTTP/1.1 ", b"101 Switching Protocols\r\nupgrade: x\r\n\r\n")
@example(b"HTTP/1.1 ", b"999999 No\r\n\r\n")
@example(b"HTTP/1.1 ", b"000 No\r\n\r\n")
@example(b"HTTP/1.1 200 OK\r\n", b"content-length: 1\r\ncontent-length: 2\r\n\r\n")
@example(b"HTTP/1.1 200 OK\r\n", b"transfer-encoding: chunked\r\n\r\nffffffffffffffffffffffff\r\n")
def test_rubbish_is_an_answer(start: bytes, rest: bytes) -> None:
    with serve(saying(start + rest)) as url:
        answer = post_one(url)
    assert str(answer).isprintable()
    assert answer.verdict is not Verdict.DELIVERED or start.startswith(b"HTTP/1.1 ")


def test_a_receiver_that_is_stopped_and_started() -> None:
    async def work() -> list[str]:
        async with Webhook(receiver.url, [], False, LONG) as hook:
            said = [str(await hook.post(Call.of(BODY)))]
            receiver.stop()
            said.append(str(await hook.post(Call.of(BODY))))
            receiver.start()
            return [*said, str(await hook.post(Call.of(BODY)))]

    with Receiver() as receiver:
        assert run(work()) == ["200 OK", "connection refused", "200 OK"]


def test_one_connection_is_kept() -> None:
    connections = []

    def script(connection: socket.socket, _over: threading.Event) -> None:
        connections.append(connection)
        while read_head(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    with serve(script) as url:
        assert {answer.status for answer in post(url, *[b"[]"] * 5)} == {200}
    assert len(connections) == 1


def test_a_connection_that_the_receiver_closed_meanwhile_is_no_failure() -> None:
    async def work() -> list[int | None]:
        found = []
        async with Webhook(receiver.url, [], False, LONG) as hook:
            for _ in range(5):
                found.append((await hook.post(Call.of(BODY))).status)
                receiver.disconnect()
        return found

    with Receiver() as receiver:
        assert run(work()) == [200] * 5
        assert receiver.counters.calls == 5


def test_a_cancelled_post_is_cancelled() -> None:
    arrived = threading.Event()

    def answer(_call: Any) -> Reply:
        arrived.set()
        return Reply(hang=True)

    async def work() -> None:
        async with Webhook(receiver.url, [], False, LONG) as hook:
            posting = asyncio.create_task(hook.post(Call.of(BODY)))
            await asyncio.to_thread(arrived.wait, 30)
            posting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await posting

    with Receiver(answer=answer) as receiver:
        run(work())


def test_nothing_secret_is_logged_or_shown(caplog: pytest.LogCaptureFixture) -> None:
    """In the URL: user, password, path and query; and the key."""
    caplog.set_level(logging.DEBUG)
    replies = [Reply(), Reply(302, {"location": "/"}), Reply(401), Reply(503), Reply(reset=True), Reply(hang=True)]
    left = iter(replies)
    key = b"hunter2-" * 4
    with Receiver(answer=lambda _: next(left)) as receiver:
        url = receiver.url.replace("//", "//hunter2:hunter2@") + "hunter2?hunter2"
        answers = post(url, *[BODY] * len(replies), timeout=SHORT, secrets=(key,))
        hook = Webhook(url, [key], False, LONG)
    shown = f"{answers!r} {hook!r} {hook} {caplog.text}"
    assert len(receiver.calls) == len(replies)
    for secret in ("hunter2", key.hex(), base64.b64encode(key).decode(), base64.b64encode(b"hunter2:hunter2").decode()):
        assert secret not in shown


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 that it signed itself."""
    found = tmp_path_factory.mktemp("tls") / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(found), "-out", str(found.with_suffix(".crt"))]
    subprocess.run(command, check=True, capture_output=True)
    return found


OK = saying(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")


def test_a_certificate_that_nobody_vouches_for(certificate: Path) -> None:
    with serve(over_tls(certificate, OK)) as url:
        answer = post_one(url.replace("http:", "https:"))
    assert answer.verdict is Verdict.RETRY
    assert str(answer).startswith("certificate not trusted: ")


def test_authorities_of_the_environment_are_trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    with serve(over_tls(certificate, OK)) as url:
        assert post_one(url.replace("http:", "https:")) == Answer(200, "ok", None)


def test_tls_that_becomes_rubbish(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(connection: socket.socket, _over: threading.Event) -> None:
        read_head(connection)
        with socket.socket(fileno=connection.detach()) as bare:
            bare.sendall(b"\x17\x03\x03\x00\x10" + b"rubbish " * 2)
            drain(bare)

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    with serve(over_tls(certificate, script)) as url:
        assert str(post_one(url.replace("http:", "https:"))).startswith("TLS failed: ")


def test_a_receiver_without_tls() -> None:
    with Receiver() as receiver:
        assert str(post_one(receiver.url.replace("http:", "https:"))).startswith("TLS failed: ")


def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removeprefix("http://"))
        assert post_one("http://receiver.invalid/hook").status == 200
        assert proxy.calls[0].path == "http://receiver.invalid/hook"
        monkeypatch.setenv("NO_PROXY", "receiver.invalid")
        assert str(post_one("http://receiver.invalid/hook")) == "host not found"


@pytest.mark.parametrize(
    ("name", "value"),
    [("HTTP_PROXY", "ftp://h"), ("ALL_PROXY", "socks5://h"), ("HTTP_PROXY", "http://h:x"), ("SSL_CERT_FILE", "/nonexistent")],
)
def test_an_environment_that_cannot_be_used(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadEnvironment):
        post_one("http://127.0.0.1:9/")
