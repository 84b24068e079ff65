"""A real HTTP/1.1 receiver, the stand-in for somebody's webhook: on loopback, with keep-alive, a thread for each connection.

It takes whatever is posted and answers as its `settings` say, or as `answer` says for each call. It counts what it was sent and
what it accepted, and keeps the heads of the latest calls, or with `keep` every call whole. GET /settings shows the settings and
the counters, PUT /settings changes settings. A stopped receiver refuses connections until it is started again, on the same port,
which nobody else can have until the receiver is closed.
"""

import contextlib
import json
import random
import socket
import struct
import sys
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Final

from demo.calls import Answer, Call, Counters, Settings
from demo.errors import PortError

HOST: Final = "127.0.0.1"
KEPT_HEADS: Final = 1000
LARGEST_BODY: Final = 64 * 1024 * 1024
POLL_SECONDS: Final = 0.05
"""How long stop() may have to wait for the thread that accepts connections."""

CLOSING_SECONDS: Final = 10.0
RESET: Final = struct.pack("ii", 1, 0)
"""For SO_LINGER: close with a reset."""


class Receiver:
    """A receiver on a port of its own, or on `port`; use it in a `with`, or start and close it.

    `answer` is called with each call, and `on_answer` with each that is about to be answered, whole; both outside of any lock, by
    several threads when there are several connections.
    """

    def __init__(
        self,
        port: int = 0,
        answer: Callable[[Call], Answer] | None = None,
        *,
        keep: bool = False,
        on_answer: Callable[[Call], None] | None = None,
    ) -> None:
        self.port = port
        self.answer = answer or self.answer_by_settings
        self.on_answer = on_answer
        self.settings = Settings()
        self.keep = keep
        self._lock = threading.Lock()
        self._counters = Counters()
        self._calls: deque[Call] = deque(maxlen=None if keep else KEPT_HEADS)
        self._random = random.Random()  # noqa: S311 - which calls fail is no secret
        self._server: _Server | None = None
        self._held: socket.socket | None = None  # while it is stopped

    def __enter__(self) -> "Receiver":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where to post to."""
        return f"http://{HOST}:{self.port}/"

    @property
    def listening(self) -> bool:
        """Whether the port is open."""
        return self._server is not None

    @property
    def counters(self) -> Counters:
        """What was counted so far, since the receiver was made."""
        with self._lock:
            return self._counters.copy()

    @property
    def calls(self) -> list[Call]:
        """The latest calls, without their bodies; with `keep` all of them and whole. A call is here before it is answered."""
        with self._lock:
            return list(self._calls)

    def received(self) -> list[Any]:
        """Every document of the calls that were accepted, in the order in which the calls came; only with `keep`."""
        return [document for call in self.calls if call.accepted for document in call.documents()]

    def start(self) -> None:
        """Listen, the second time on the same port; raises PortError when it cannot, as when somebody else has the port."""
        try:
            self._server = server = _Server(self.port, self, held=self._held is not None)
        except OSError as error:
            raise PortError(port=self.port, why=(error.strerror or str(error)).lower()) from error
        self.port = server.server_port
        self._let_go()
        threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), name="receiver", daemon=True).start()

    def stop(self) -> None:
        """Refuse connections and end those that there are, but keep the port; calls that wait for their answer get none."""
        if server := self._server:
            self._server, self._held = None, hold(server.socket)
            server.end()

    def close(self) -> None:
        """Stop, and let others have the port."""
        self.stop()
        self._let_go()

    def disconnect(self) -> None:
        """Close every open connection without a word, as receivers do with idle ones; the port stays open."""
        if self._server:
            self._server.disconnect()

    def _let_go(self) -> None:
        """Give up what keeps the port of a stopped receiver."""
        if held := self._held:
            self._held = None
            held.close()

    def answer_by_settings(self, _call: Call) -> Answer:
        """The answer where no other was chosen."""
        now = self.settings
        fails = self._random.random() < now.fail_rate
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE if fails else now.status, delay=now.delay / 1000, hang=now.hang)

    def take(self, call: Call) -> tuple[Call, Answer]:
        """Count a call and decide; return the call as it is kept, too."""
        kept = call if self.keep else call.head()
        with self._lock:
            self._calls.append(kept)
            self._counters.calls += 1
            self._counters.largest = max(self._counters.largest, call.size)
        return kept, self.answer(call)

    def answering(self, call: Call, kept: Call, answer: Answer) -> None:
        """Take note of the answer, which is about to be sent."""
        with self._lock:
            call.status = kept.status = answer.status
            if kept.accepted:
                self._counters.accepted += 1
                self._counters.documents += kept.count
        if self.on_answer:
            self.on_answer(call)

    def clear(self) -> None:
        """Forget the calls and the counts of before."""
        with self._lock:
            self._counters = Counters()
            self._calls.clear()

    def describe(self) -> dict[str, Any]:
        """Settings and counters, as GET /settings shows them."""
        return {"settings": vars(self.settings), "counters": vars(self.counters)}


def hold(listening: socket.socket) -> socket.socket:
    """Bind beside a socket that listens, without listening: once that is closed, nobody is reached there and nobody can bind.

    SO_REUSEPORT lets a socket in where both sides set it, as nobody does but who has the port already. SO_REUSEADDR is there
    while it binds, for connections that are not quite over; kept, it would let in whoever sets it, too.
    """
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(listening.getsockname())
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return held


class _Server(ThreadingHTTPServer):
    """Knows its connections, to close them when it ends; `held` says that it binds beside what keeps the port."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, receiver: Receiver, *, held: bool) -> None:
        self.receiver = receiver
        self.allow_reuse_port = held
        self.stopping = threading.Event()
        self._connections: set[Any] = set()
        self._changed = threading.Condition()
        self._own = threading.local()
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        """Bind without looking up the host's name, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_port = self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Note the connection before its thread starts."""
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Note which connection is this thread's own."""
        self._own.connection = request
        super().process_request_thread(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection when it is closed."""
        super().shutdown_request(request)
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def disconnect(self) -> None:
        """End every connection; their threads notice."""
        with self._changed:
            for connection in self._connections:
                with contextlib.suppress(OSError):  # it has just ended by itself
                    connection.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Stop listening and wait until every connection is closed, but for that of a call whose answer ends the receiver."""
        own = {getattr(self._own, "connection", None)}
        self.stopping.set()
        self.shutdown()
        self.server_close()
        self.disconnect()
        with self._changed:
            self._changed.wait_for(lambda: self._connections <= own, CLOSING_SECONDS)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no error here."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection's calls, one after the other."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Take a call."""
        if self._foreign() or (body := self._body()) is None:
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            call = Call.of(time.time(), self.path, headers, body)
        except (OSError, EOFError, zlib.error):  # gzip.BadGzipFile is an OSError
            self._refuse(HTTPStatus.BAD_REQUEST, "The body is no gzip, though content-encoding says so.")
            return
        kept, answer = self.server.receiver.take(call)
        if self.server.stopping.wait(None if answer.hang else answer.delay):
            raise ConnectionAbortedError
        self.server.receiver.answering(call, kept, answer)
        self._send(answer)

    def do_GET(self) -> None:
        """Show the settings."""
        if self.path == "/settings":
            self._send_json(self.server.receiver.describe())
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "Only /settings is here to get; calls are posted.")

    def do_PUT(self) -> None:
        """Change settings."""
        if self._foreign():
            return
        if self.path != "/settings":
            self._refuse(HTTPStatus.NOT_FOUND, "Only /settings is here to put; calls are posted.")
            return
        if (body := self._body()) is None:
            return
        try:
            self.server.receiver.settings.change(body)
        except ValueError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        else:
            self._send_json(self.server.receiver.describe())

    def _foreign(self) -> bool:
        """Refuse what a web site has sent, under whatever name it has found this host: its browser tells the site's origin."""
        if "origin" not in self.headers:
            return False
        self._refuse(HTTPStatus.FORBIDDEN, "This receiver takes nothing from web sites.")
        return True

    def _body(self) -> bytes | None:
        """The body as it came off the wire; None after a refusal."""
        length = self.headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "The length of the body must be given as content-length.")
            return None
        if len(length) > len(str(LARGEST_BODY)) or int(length) > LARGEST_BODY:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A body may have {LARGEST_BODY:,} bytes.")
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionAbortedError
        return body

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        """Answer something that is no call, and close the connection, as its body may not have been read."""
        self._send(Answer(status, {"content-type": "text/plain", "connection": "close"}, f"{sentence}\n".encode()))

    def _send_json(self, found: object) -> None:
        self._send(Answer(HTTPStatus.OK, {"content-type": "application/json"}, json.dumps(found).encode() + b"\n"))

    def _send(self, answer: Answer) -> None:
        """Send an answer with one write; a reset breaks off half-way through it."""
        self.close_connection |= answer.closes
        data = bytes(answer)
        if not answer.reset:
            self.connection.sendall(data)
            return
        self.connection.sendall(data[: len(data) // 2])
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Log nothing: who wants to see the calls asks the receiver."""
