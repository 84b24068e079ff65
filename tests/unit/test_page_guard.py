"""Who may ask the page: its own window, and nobody that another site has sent."""

import asyncio
from typing import Any

import pytest

from demo.page.guard import Guard, Receive, Scope, Send

OWN = {"host": "127.0.0.1:8642"}
ORIGIN = {"origin": "http://127.0.0.1:8642"}


async def app(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers everything that reaches it."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
        await send({"type": "http.response.body", "body": b"passed"})
    elif scope["type"] == "websocket":
        await send({"type": "websocket.accept"})


def ask(kind: str, method: str = "GET", *more: tuple[bytes, bytes], **headers: str) -> list[Any]:
    """What the guard sends for a request."""
    sent: list[Any] = []

    async def send(message: Scope) -> None:
        sent.append(message)

    async def receive() -> Scope:
        return {}

    found = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(Guard(app, 8642)({"type": kind, "method": method, "headers": [*found, *more]}, receive, send))
    return sent


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", OWN),
        ("GET", {"host": "localhost:8642"}),
        ("GET", {"host": "LOCALHOST:8642"}),
        ("GET", OWN | {"sec_fetch_site": "cross-site"}),  # a link to the page
        ("POST", OWN),  # curl
        ("POST", OWN | ORIGIN),
        ("POST", OWN | {"sec_fetch_site": "same-origin"}),
        ("GET", OWN | ORIGIN),
    ],
)
def test_its_own_requests_pass(method: str, headers: dict[str, str]) -> None:
    start, body = ask("http", method, **headers)
    assert (start["status"], body["body"]) == (200, b"passed")
    names = dict(start["headers"])
    assert names[b"x"] == b"y"
    assert b"frame-ancestors 'none'" in names[b"content-security-policy"]


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {}),
        ("GET", {"host": "evil.example:8642"}),
        ("GET", {"host": "127.0.0.1"}),
        ("GET", {"host": "127.0.0.1:8643"}),
        ("GET", {"host": "127.0.0.1:8642.evil.example"}),
        ("GET", OWN | {"origin": "http://evil.example"}),
        ("GET", OWN | {"origin": "null"}),
        ("GET", OWN | {"origin": "http://localhost:8642"}),  # it is the page under its other name
        ("GET", OWN | {"origin": "https://127.0.0.1:8642"}),
        ("GET", OWN | {"origin": "http://127.0.0.1:9000"}),
        ("POST", OWN | {"origin": "http://evil.example"}),
        ("POST", OWN | {"sec_fetch_site": "cross-site"}),
        ("POST", OWN | {"sec_fetch_site": "same-site"}),
        ("DELETE", OWN | {"sec_fetch_site": "cross-site"}),
    ],
)
def test_other_requests_are_refused(method: str, headers: dict[str, str]) -> None:
    start, body = ask("http", method, **headers)
    assert start["status"] == 403
    assert b"passed" not in body["body"]


def test_two_hosts_are_none() -> None:
    assert ask("http", "GET", (b"host", b"127.0.0.1:8642"), **OWN)[0]["status"] == 403


def test_a_websocket_must_come_from_the_page() -> None:
    assert ask("websocket", **OWN, **ORIGIN) == [{"type": "websocket.accept"}]
    for headers in (
        OWN,
        OWN | {"origin": "http://evil.example"},
        ORIGIN,
        {"host": "evil.example", "origin": "http://evil.example"},
    ):
        assert ask("websocket", **headers) == [{"type": "websocket.close", "code": 1008}]


def test_the_start_and_end_of_the_server_pass() -> None:
    assert ask("lifespan") == []
