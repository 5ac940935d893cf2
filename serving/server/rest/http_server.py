"""The HTTP server of the REST API: waitress, in threads of this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

_CONNECTIONS: Final = 1000
_BACKLOG: Final = 1024
_POLL_SECONDS: Final = 0.02


class HttpServer:
    """An HTTP server on a bound socket. `app` is a WSGI application that several threads may call at a time."""

    def __init__(self, bound: socket.socket, app: Callable[..., Iterable[bytes]], threads: int) -> None:
        import waitress.server  # noqa: PLC0415 - only where there is a REST API

        self._server: Any = waitress.server.create_server(
            app,
            sockets=[bound],
            threads=threads,
            connection_limit=_CONNECTIONS,
            backlog=_BACKLOG,
            asyncore_use_poll=True,
            ident=None,
        )

    def start(self) -> None:
        """Start to answer requests, in new threads."""
        threading.Thread(target=self._server.run, name="rest", daemon=True).start()

    def drain(self, seconds: float) -> None:
        """Refuse new connections and wait at most `seconds` for running requests and unsent responses."""
        self._server.accepting = False
        deadline = time.monotonic() + seconds
        while self._is_busy() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def _is_busy(self) -> bool:
        channels = list(self._server.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)
