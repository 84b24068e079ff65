"""Posts a body to a webhook and judges the answer. The only module that knows httpx; it never decides about batches.

Whatever the network or the receiver does becomes an `Answer`; a post raises for nothing but its own cancellation. It takes at
most `timeout` seconds and 64 KiB of answer. Signatures are those of https://www.standardwebhooks.com, over the JSON before it is
compressed: receivers, and what stands before them, often undo that unasked. What is in a URL or a secret never goes into a log, a
message or a repr: `origin` is what logs may say of a URL.
"""

import asyncio
import base64
import binascii
import gzip
import hashlib
import hmac
import os
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from http import HTTPStatus
from importlib.metadata import version
from random import Random
from typing import Any, NamedTuple, cast
from urllib.request import getproxies, proxy_bypass

import httpx

from listener.errors import BadEnvironment, BadSecret, BadURL

USER_AGENT = f"pgsegments/{version('pgsegments')}"
SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with
SECRET_BYTES = range(24, 65)
GZIP_LEVEL = 1
"""The fastest: JSON of one kind shrinks nearly as much as at the highest, in a fraction of the time."""

PORTS = {None, *range(1, 1 << 16)}
ANSWER_BYTES = 64 * 1024
TEXT_CHARACTERS = 1000
KEEPALIVE_SECONDS = 4.0
"""Below the 5 seconds after which Node's servers close an idle connection, so as not to post into their closing."""

TURNS = 5
"""Of the event loop, in which what has arrived is read, through TLS too."""

SHORTEST_WAIT = 1.0
LONGEST_WAIT = 300.0
LONGEST_RETRY_AFTER = 3600.0


class Verdict(Enum):
    """What an answer means for what was posted."""

    DELIVERED = auto()
    """It was accepted."""
    RETRY = auto()
    """The same may be accepted later."""
    TOO_LARGE = auto()
    """Less at a time may be accepted."""
    DOCUMENT = auto()
    """A document in it will never be accepted."""
    ENDPOINT = auto()
    """Nothing will be accepted until somebody mends the receiver or the URL."""


VERDICTS = {
    408: Verdict.RETRY,
    425: Verdict.RETRY,
    429: Verdict.RETRY,
    413: Verdict.TOO_LARGE,
    400: Verdict.DOCUMENT,
    422: Verdict.DOCUMENT,
}


def judge(status: int) -> Verdict:
    """What a status means."""
    match status // 100:
        case 2:
            return Verdict.DELIVERED
        case 5:
            return Verdict.RETRY
    return VERDICTS.get(status, Verdict.ENDPOINT)


class Call(NamedTuple):
    """What is posted, as often as it takes: receivers know it by its id."""

    id: str
    body: bytes
    replay: bool = False
    """Whether it is made on somebody's wish, beside the stream: receivers see the header webhook-replay."""

    @classmethod
    def of(cls, body: bytes, replay: bool = False) -> "Call":
        """A call with an id of its own."""
        return cls(f"msg_{uuid.uuid4().hex}", body, replay)


class Answer(NamedTuple):
    """What came back: `text` is the beginning of the body, or where there is no status, why. `retry_after` is in seconds."""

    status: int | None
    text: str
    retry_after: float | None

    @property
    def verdict(self) -> Verdict:
        """What it means."""
        return Verdict.RETRY if self.status is None else judge(self.status)

    def __str__(self) -> str:
        if self.status is None:
            return self.text
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return str(self.status)


class Webhook:
    """A receiver's URL and how to post to it: `async with` it, then post one call after the other on one connection."""

    def __init__(
        self, url: str, secrets: Sequence[bytes], compress: bool, timeout: float, clock: Callable[[], float] = time.time
    ) -> None:
        found = parse_url(url)
        self._url = found.copy_with(username=None, password=None)
        self._authorization = basic_auth(found)
        self._hidden = hidden(found, *self._authorization.values())
        self._secrets = tuple(secrets)
        self._compress = compress
        self._timeout = timeout
        self._clock = clock

    async def __aenter__(self) -> "Webhook":
        self._transport = open_transport(self._url)
        self._stream: Any = None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.aclose()

    async def post(self, call: Call) -> Answer:
        """Post once, with a signature of this moment."""
        body = await asyncio.to_thread(compressed, call.body) if self._compress else call.body
        try:
            async with asyncio.timeout(self._timeout) as deadline:
                return await self._exchange(httpx.Request("POST", self._url, headers=self._headers(call), content=body))
        except (httpx.TransportError, OSError) as error:  # TimeoutError is an OSError
            late = deadline.expired()
            return Answer(None, f"no answer within {self._timeout:g} s" if late else phrase(error), None)

    def _headers(self, call: Call) -> dict[str, str]:
        timestamp = int(self._clock())
        headers = {"content-type": "application/json", "user-agent": USER_AGENT, "accept-encoding": "identity"}
        headers |= self._authorization | {"webhook-id": call.id, "webhook-timestamp": str(timestamp)}
        if call.replay:
            headers["webhook-replay"] = "true"
        if self._compress:
            headers["content-encoding"] = "gzip"
        if self._secrets:
            headers["webhook-signature"] = sign(self._secrets, call.id, timestamp, call.body)
        return headers

    async def _exchange(self, request: httpx.Request) -> Answer:
        if self._stream and (left_over(self._transport) or await unread(self._stream)):
            await self._transport.aclose()
        response = await self._transport.handle_async_request(request)
        try:
            text = await read_text(response, self._hidden)
        finally:
            await response.aclose()  # closes the connection if there is more to read
        self._stream = response.extensions["network_stream"]
        return Answer(response.status_code, text, retry_after(response.headers.get("retry-after"), self._clock()))


def open_transport(url: httpx.URL) -> httpx.AsyncHTTPTransport:
    """Connections to the URL's host, by the proxy in the environment if there is one.

    A transport without a client, which would log the URL, keep cookies, prepare to follow redirects and undo compressions.
    The environment is trusted for what only the place where this runs can know: proxies, and SSL_CERT_FILE for authorities of
    its own. Credentials are in the URL alone; no .netrc is read.
    """
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_SECONDS)
    try:
        return httpx.AsyncHTTPTransport(limits=limits, trust_env=True, proxy=proxy_for(url))
    except (httpx.InvalidURL, ValueError, ImportError, OSError):  # no proxy's URL, SOCKS, which needs a package, no such file
        raise BadEnvironment from None


def proxy_for(url: httpx.URL) -> str | None:
    """The proxy that the environment names for the URL, as httpx's clients and curl find it."""
    if proxy_bypass(url.host):
        return None
    proxies = getproxies()
    found = proxies.get(url.scheme) or proxies.get("all")
    return found if not found or "://" in found else f"http://{found}"


async def read_text(response: httpx.Response, hide: Sequence[bytes]) -> str:
    """The beginning of the answer's body for people to read, without what is to be hidden; nothing of one that is compressed.

    An acceptance that the receiver broke off is none: this raises. A refusal counts as soon as its status is there: who refuses
    a large body early often hangs up on it. What we cut off ourselves, for its size, is a whole answer.
    """
    read = bytearray()
    try:
        async for chunk in cast(httpx.AsyncByteStream, response.stream):
            read += chunk
            if len(read) >= ANSWER_BYTES:
                break
    except (httpx.TransportError, OSError):
        if response.is_success:
            raise
    for secret in hide:
        read = read.replace(secret, b"...")
    return "" if "content-encoding" in response.headers else clean(read)


def left_over(transport: httpx.AsyncHTTPTransport) -> bool:
    """Whether a receiver has said more than its answer, and it was read with that. Nothing public tells it.

    It would pass for the answer to the next call, and what the receiver refuses of that would be lost.
    """
    for connection in transport._pool.connections:
        while inner := getattr(connection, "_connection", None):
            connection = inner  # noqa: PLW2901 - through proxies to what speaks HTTP
        state = getattr(connection, "_h11_state", None)
        if state and state.trailing_data[0]:
            return True
    return False


async def unread(stream: Any) -> bool:
    """Whether a receiver has said more than its answer, or hung up, and nobody has read it yet; waits for nothing."""
    reading = asyncio.create_task(stream.read(1))
    try:
        for _ in range(TURNS):
            await asyncio.sleep(0)
    finally:
        reading.cancel()
    await asyncio.wait([reading])
    return not reading.cancelled()


def clean(text: bytes | bytearray) -> str:
    """Text without control characters, at most the first 1,000 characters."""
    decoded = text[: TEXT_CHARACTERS * 4].decode(errors="replace")[:TEXT_CHARACTERS]
    return " ".join("".join(character if character.isprintable() else " " for character in decoded).split())


def compressed(body: bytes) -> bytes:
    """The body as gzip; the same bytes for the same body."""
    return gzip.compress(body, GZIP_LEVEL, mtime=0)


def sign(secrets: Sequence[bytes], id: str, timestamp: int, body: bytes) -> str:  # noqa: A002 - the specification's word
    """A signature by each secret, for the header webhook-signature."""
    signed = b"%b.%d.%b" % (id.encode(), timestamp, body)
    macs = (hmac.digest(secret, signed, hashlib.sha256) for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)


def parse_secret(text: str) -> bytes:
    """The key in a secret such as whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, with the prefix or without."""
    encoded = text.strip().removeprefix(SECRET_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise BadSecret from None
    if len(key) not in SECRET_BYTES:
        raise BadSecret
    return key


def parse_url(text: str) -> httpx.URL:
    """An http or https URL with a host, and a port that there is."""
    try:
        url = httpx.URL(text)
        if not text.isprintable() or " " in text:
            raise BadURL
    except (httpx.InvalidURL, ValueError):
        raise BadURL from None
    if url.scheme not in {"http", "https"} or not url.host or url.port not in PORTS:
        raise BadURL
    return url


def origin(url: str) -> str:
    """Scheme, host and port: what logs may say of a URL, whose other parts may be secret."""
    found = parse_url(url)
    return f"{found.scheme}://{found.netloc.decode()}"


def basic_auth(url: httpx.URL) -> dict[str, str]:
    """The header that the URL's user and password make."""
    if not url.userinfo:
        return {}
    credentials = f"{url.username}:{url.password}".encode()
    return {"authorization": f"Basic {base64.b64encode(credentials).decode()}"}


def hidden(url: httpx.URL, *headers: str) -> list[bytes]:
    """What may be secret of what is sent, the longest first: some receivers repeat it in what they answer."""
    parts = {url.raw_path, url.path.encode(), url.query, url.userinfo, url.password.encode(), *map(str.encode, headers)}
    return sorted((part for part in parts if part not in {b"", b"/"}), key=len, reverse=True)


def retry_after(text: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for, from 0 to an hour; None where there is none or it is nonsense."""
    if text is None:
        return None
    try:
        seconds = float(text) if text.isascii() and text.isdigit() else date(text) - now
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER)


def date(text: str) -> float:
    """Unix time of an HTTP-date, which is in UTC though not every form of it says so."""
    found = parsedate_to_datetime(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def backoff(previous: float | None, random: Random) -> float:
    """Seconds to wait after a failed call, from 1 to 300, given the wait before: decorrelated jitter."""
    longest = 3 * max(SHORTEST_WAIT, previous or 0.0)
    return min(LONGEST_WAIT, random.uniform(SHORTEST_WAIT, longest))


def wait_for(answer: Answer, previous: float | None, random: Random) -> float:
    """Seconds to wait after an answer: what it asks for but at least one, otherwise backoff."""
    if answer.retry_after is None:
        return backoff(previous, random)
    return max(SHORTEST_WAIT, answer.retry_after)


def phrase(error: BaseException) -> str:
    """Why there is no answer, in a few words."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"certificate not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {(cause.reason or 'protocol error').replace('_', ' ').lower()}"
        if isinstance(cause, socket.gaierror):
            return "host not found"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()
    return clean(str(error).encode())[:200].rstrip(".").lower() or "connection lost"


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that led to it."""
    yield error
    for inner in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from causes(inner)
    if error.__cause__ or error.__context__:
        yield from causes(cast(BaseException, error.__cause__ or error.__context__))
