"""TLS as tests need it: authorities, certificates good and bad, and a door to a server that opens by TCP, with TLS or without.

A server of the tests listens on a socket only, and not each is built with TLS; a door stands before it as a pooler would.
"""

import select
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from demo.postgres import PORT, Server
from tests.proxy import end

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
TLS_REQUEST = struct.pack(">II", 8, 80_877_103)
GSS_REQUEST = struct.pack(">II", 8, 80_877_104)


def openssl(*arguments: str | Path) -> None:
    """Run it, with success."""
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Authority:
    """Signs certificates; `certificate` is its own. Everything is in its folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._key = folder / "authority.pem"
        self.certificate = folder / "authority.crt"
        openssl("req", "-x509", *KEY, "-subj", "/CN=tests", "-days", "2", "-keyout", self._key, "-out", self.certificate)

    def sign(self, name: str, days: int = 2) -> Path:
        """A key for DNS:… or IP:…, with its certificate beside it as .crt, valid for so many days; a negative number: expired."""
        key = self._folder / f"{name.replace(':', '-')}{days}.pem"
        request = key.with_suffix(".csr")
        openssl("req", "-new", *KEY, "-subj", "/CN=other", "-addext", f"subjectAltName={name}", "-keyout", key, "-out", request)
        signed = ("-CA", self.certificate, "-CAkey", self._key, "-days", str(days), "-copy_extensions", "copy")
        openssl("x509", "-req", "-in", request, *signed, "-out", key.with_suffix(".crt"))
        return key


@contextmanager
def door(server: Server, certificate: Path | None = None) -> Iterator[dict[str, str]]:
    """A door on 127.0.0.1, with TLS if there is a certificate; PG* to go through it."""
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.with_suffix(".crt"), certificate)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = threading.Thread(target=accept, args=(listening, server, context))
        accepting.start()
        try:
            yield {"PGHOST": "127.0.0.1", "PGPORT": str(listening.getsockname()[1])}
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()


def accept(listening: socket.socket, server: Server, context: ssl.SSLContext | None) -> None:
    """Let in who comes, until nobody may come any more."""
    with suppress(OSError):
        while True:
            client, _ = listening.accept()
            threading.Thread(target=let_in, args=(client, server, context), daemon=True).start()


def let_in(client: socket.socket, server: Server, context: ssl.SSLContext | None) -> None:
    """Agree on how to speak, then hand on to the server and back what is said."""
    with client, socket.socket(socket.AF_UNIX) as behind, suppress(OSError):
        behind.connect(str(server.socket / f".s.PGSQL.{PORT}"))
        try:
            while (first := client.recv(1 << 16)) in (TLS_REQUEST, GSS_REQUEST):
                secures = context is not None and first == TLS_REQUEST
                client.sendall(b"S" if secures else b"N")
                if context and secures:
                    client = context.wrap_socket(client, server_side=True)
            behind.sendall(first)
            relay(client, behind)
        finally:
            end(client, behind)
            client.close()


def relay(client: socket.socket, server: socket.socket) -> None:
    """Both ways in one thread, as TLS wants it, until either side is done."""
    while True:
        decrypted = isinstance(client, ssl.SSLSocket) and client.pending()
        for one in [client] if decrypted else select.select([client, server], [], [])[0]:
            if not (data := one.recv(1 << 16)):
                return
            (server if one is client else client).sendall(data)
