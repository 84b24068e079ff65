"""Keeps other sites away from the page: what stands in front of everything that it serves. Pure ASGI, no framework.

Any page that the user's browser shows can send requests to loopback. So a request must name this host, which a rebound name does
not, and its origin must be this page: always where it opens a WebSocket, and wherever it has one. The answers let nobody frame
the page, and let it load from nowhere else.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SAME_SITE: Final = (b"", b"none", b"same-origin")
POLICY: Final = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data:; font-src 'self' data:; frame-ancestors 'none'; form-action 'none'; base-uri 'self'"
)
HEADERS: Final = [
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
REFUSAL: Final = b"This page answers its own browser window alone: open it by the address that the demo has printed.\n"


class Guard:
    """An app that passes on to `app` what comes from the page on this port of loopback, and refuses the rest with 403."""

    def __init__(self, app: App, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one WebSocket."""
        if scope["type"] == "lifespan" or self._own(scope):
            await self._app(scope, receive, with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": REFUSAL})

    def _own(self, scope: Scope) -> bool:
        """Whether it comes from the page itself, or from somebody who opens it or is no browser."""
        host, origin, site = (values(scope, name) for name in (b"host", b"origin", b"sec-fetch-site"))
        if len(host) != 1 or host[0] not in self._hosts:
            return False
        if origin or scope["type"] == "websocket":
            return origin == [b"http://" + host[0]]
        return scope["method"] in ("GET", "HEAD") or all(value in SAME_SITE for value in site)


def values(scope: Scope, name: bytes) -> list[bytes]:
    """Every value of a header."""
    return [value.lower() for found, value in scope["headers"] if found.lower() == name]


def with_headers(send: Send) -> Send:
    """Send answers with the headers that every one of them has."""

    async def sending(message: Scope) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *HEADERS]
        await send(message)

    return sending
