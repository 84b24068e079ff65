"""What stands between a program and its server, to lose what they say to each other."""

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from demo.postgres import Server


class Proxy:
    """Stands between the loader and the server, and cuts the connection at every third COMMIT.

    In turn: when the server has committed, and the loader does not hear of it; and before the server hears of it.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        self.cuts = 0
        self._server = str(server.socket / ".s.PGSQL.5432")
        self._commits = count(1)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / ".s.PGSQL.5432"))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(self._server)
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            while data := client.recv(65_536):
                if data.endswith(b"COMMIT\0") and next(self._commits) % 3 == 0:
                    self._cut(client, server, data, deliver=self.cuts % 2 == 0)
                    break
                server.sendall(data)
            end(client, server)
            back.join()

    def _cut(self, client: socket.socket, server: socket.socket, data: bytes, *, deliver: bool) -> None:
        self.cuts += 1
        end(client)
        if deliver:
            server.sendall(data + b"X\0\0\0\4")
            server.settimeout(30)
            while server.recv(65_536):
                pass  # until the server has committed and said good-bye


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Hand on what comes, to the end."""
    with suppress(OSError):
        while data := source.recv(65_536):
            with suppress(OSError):
                sink.sendall(data)


def end(*sockets: socket.socket) -> None:
    """Shut connections down in both directions, which wakes whoever waits for them."""
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


class Relay(Proxy):
    """Stands between a program and the server, and cuts every connection when it is told to."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._open: list[socket.socket] = []
        super().__init__(server, folder)

    def cut(self) -> None:
        """Cut what is connected; new connections are made as before."""
        while self._open:
            end(self._open.pop())

    def _relay(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(self._server)
            self._open += [client, server]
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            pump(client, server)
            end(client, server)
            back.join()


@contextmanager
def relaying(server: Server) -> Iterator[tuple[Relay, str]]:
    """A relay before the server, and its PGHOST; the folder's path is short, as a socket's must be."""
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        relay = Relay(server, Path(folder))
        yield relay, folder
        relay.close()


class Gathering(Proxy):
    """Stands between a program and the server, and hands on in one piece what the server sends of a stream that fails.

    As a server does that is faster than the program: it has failed before the program reads that the stream was begun.
    """

    def _relay(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(self._server)
            back = threading.Thread(target=self._gather, args=(server, client), daemon=True)
            back.start()
            pump(client, server)
            end(client, server)
            back.join()

    def _gather(self, server: socket.socket, client: socket.socket) -> None:
        held = b""
        with suppress(OSError):
            while data := server.recv(65_536):
                held += data
                if COPY_BOTH not in held or held.endswith(READY_FOR_QUERY):
                    client.sendall(held)
                    held = b""


COPY_BOTH, READY_FOR_QUERY = b"W\0\0\0\7\0\0\0", b"Z\0\0\0\5I"


@contextmanager
def gathering(server: Server) -> Iterator[str]:
    """The PGHOST of one that gathers."""
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        proxy = Gathering(server, Path(folder))
        yield folder
        proxy.close()
