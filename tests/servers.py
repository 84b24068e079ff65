"""Servers that answer calls in ways no library would, each by a script that talks to one connection."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

Script = Callable[[socket.socket, threading.Event], None]
"""What to do with a connection; the event is set when the test is over."""


@contextlib.contextmanager
def serve(script: Script) -> Iterator[str]:
    """A server that does with each connection what the script does; the event is set when the test is over."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.ExitStack() as threads:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    thread = threading.Thread(target=handle, args=(connection,))
                    thread.start()
                    threads.callback(thread.join, 30)

        def handle(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                script(connection, over)

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()


def read_head(connection: socket.socket) -> bytes:
    """Read until the head is there, and whatever of the body came with it."""
    read = b""
    while b"\r\n\r\n" not in read and (chunk := connection.recv(1 << 16)):
        read += chunk
    return read


def drain(connection: socket.socket) -> None:
    """Read until the other side closes."""
    while connection.recv(1 << 16):
        pass


def saying(answer: bytes) -> Script:
    """Read a call's head, say this, and say no more; then what comes is read to its end, as careful servers do."""

    def script(connection: socket.socket, _over: threading.Event) -> None:
        read_head(connection)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        drain(connection)

    return script


def dripping(answer: bytes) -> Script:
    """Say this and then one byte after the other without end."""

    def script(connection: socket.socket, over: threading.Event) -> None:
        read_head(connection)
        connection.sendall(answer)
        while not over.wait(0.005):
            connection.sendall(b"x")

    return script


def endless(head: bytes, piece: bytes, broke: threading.Event) -> Script:
    """Say this and then that again and again, until the other side hangs up: a thousand times if it does not."""

    def script(connection: socket.socket, _over: threading.Event) -> None:
        read_head(connection)
        connection.sendall(head)
        try:
            for _ in range(1000):
                connection.sendall(piece)
        except OSError:
            broke.set()

    return script


def over_tls(certificate: Path, script: Script) -> Script:
    """Do what the script does, in TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.with_suffix(".crt"), certificate)

    def wrapped(connection: socket.socket, over: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            script(secured, over)

    return wrapped
