"""A web server on the loopback interface that misbehaves as it is told."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Handler = Callable[[socket.socket], None]


def answer(body: bytes = b"", *, status: int = 200, **headers: str) -> Handler:
    """A whole, honest answer."""
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def raw(content: bytes) -> Handler:
    """Bytes as they are."""
    return lambda connection: connection.sendall(content)


def gated(gate: threading.Event, then: Handler) -> Handler:
    """A server that answers once the gate is open."""

    def wait(connection: socket.socket) -> None:
        gate.wait(180)
        then(connection)

    return wait


class Origin(socketserver.ThreadingTCPServer):
    """Answers each path as its handler does; `requests` holds those that came, heads and bodies."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.handlers: dict[str, Handler] = {}
        self.requests: list[bytes] = []
        self.stopped = threading.Event()
        self._tls = tls
        super().__init__(("127.0.0.1", 0), _Connection)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}"

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is what many tests are about."""


class _Connection(socketserver.BaseRequestHandler):
    server: Origin

    def handle(self) -> None:
        self.request.settimeout(20)
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.request.recv(65536)
            if not piece:
                return
            head += piece
        self.server.requests.append(head)
        path = head.split(b" ", 2)[1].decode()
        with contextlib.suppress(OSError):
            self.server.handlers.get(path, answer(b"none", status=404))(self.request)


@contextmanager
def origin(tls: ssl.SSLContext | None = None) -> Iterator[Origin]:
    """A server that runs meanwhile."""
    with Origin(tls) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.stopped.set()
            server.shutdown()
            thread.join()
