"""A TCP proxy that does harm: each connection as it is told, the others pass."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

# refuse: closed at once. drop: the request goes through, its answer does not. cut: so does the first part of the
# answer. later: 503 and Retry-After, nothing goes through.
Harm = Literal["refuse", "drop", "cut", "later", "pass"]
CUT_BYTES = 100_000
_LATER = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class FlakyProxy:
    """Listens on a port of its own; `harms` are used up, a connection each."""

    def __init__(self, target: tuple[str, int], *harms: Harm) -> None:
        self.harms = deque(harms)
        self.connections = 0
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []

    def run(self) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            harm = self.harms.popleft() if self.harms else "pass"
            thread = threading.Thread(target=self._serve, args=(client, harm))
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Accept no more, and wait for the connections to end: their clients have gone."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(30)

    def _serve(self, client: socket.socket, harm: Harm) -> None:
        with client:
            if harm == "refuse":
                return
            if harm == "later":
                client.recv(65536)
                client.sendall(_LATER)
                return
            with socket.create_connection(self._target) as server:
                upward = threading.Thread(target=_pump, args=(client, server))
                upward.start()
                if harm == "drop":
                    server.recv(1)  # it has answered, so it has accepted
                else:
                    _pump(server, client, CUT_BYTES if harm == "cut" else None)
                for connection in (client, server):
                    _shut(connection)
                upward.join()


def _pump(source: socket.socket, sink: socket.socket, most: int | None = None) -> None:
    passed = 0
    try:
        while (most is None or passed < most) and (data := source.recv(65536 if most is None else most - passed)):
            sink.sendall(data)
            passed += len(data)
    except OSError:
        return
    if most is None:
        _shut(sink, socket.SHUT_WR)


def _shut(connection: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    try:
        connection.shutdown(how)
    except OSError:
        return


@contextmanager
def flaky(target: tuple[str, int], *harms: Harm) -> Iterator[FlakyProxy]:
    """A proxy in front of a server, for a while."""
    proxy = FlakyProxy(target, *harms)
    accepting = threading.Thread(target=proxy.run)
    accepting.start()
    try:
        yield proxy
    finally:
        proxy.close()
        accepting.join()
