"""Sockets for guarded requests: they connect only to checked addresses, and every wait ends at one deadline."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpcore

from workers.errors import OutboundFailedError

_CONNECT_PART = 0.5  # share of the time left that each address but the last may take


class Clock:
    """The time left until a deadline."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left. Raises httpcore.ReadTimeout if none are."""
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the deadline has passed")
        return left


Resolver = Callable[[str, int, Clock], list[str]]


def system_resolver(host: str, port: int, clock: Clock) -> list[str]:
    """Return every IPv4 and IPv6 address of a host, as the system finds them. Raises OutboundFailedError.

    The look-up runs in a thread of its own, since it cannot be given a deadline; an answer that comes too late is
    ignored.
    """
    answers: queue.SimpleQueue[list[str] | OSError | UnicodeError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            results = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
            answers.put(list(dict.fromkeys(str(result[4][0]) for result in results)))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    try:
        answer = answers.get(timeout=clock.left())
    except queue.Empty as error:
        raise OutboundFailedError(f"The host {host} was not found in time.") from error
    if isinstance(answer, Exception):
        raise OutboundFailedError(f"The host {host} was not found.") from answer
    return answer


class Connector(httpcore.NetworkBackend):
    """Connects to the first of the given addresses that answers, whatever the host's name is."""

    def __init__(self, addresses: Sequence[str], clock: Clock) -> None:
        self._addresses = addresses
        self._clock = clock

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002  httpcore's signature
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002  httpcore's signature
    ) -> httpcore.NetworkStream:
        """Return a connection. Raises httpcore.ConnectError, httpcore.ConnectTimeout."""
        last: OSError | None = None
        for number, address in enumerate(self._addresses, 1):
            left = self._clock.left()
            try:
                timeout = left if number == len(self._addresses) else left * _CONNECT_PART
                connected = socket.create_connection((address, port), timeout)
            except OSError as error:
                last = error
                continue
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return _Stream(connected, self._clock)
        if isinstance(last, TimeoutError):
            raise httpcore.ConnectTimeout(f"no connection to {host}") from last
        raise httpcore.ConnectError("the connection was refused") from last


class _Stream(httpcore.NetworkStream):
    """A socket whose every wait ends at the deadline."""

    def __init__(self, connected: socket.socket, clock: Clock) -> None:
        self._socket = connected
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002  the deadline is the clock's
        with self._waiting(httpcore.ReadTimeout, httpcore.ReadError):
            return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002  the deadline is the clock's
        unsent = memoryview(buffer)
        while unsent:
            with self._waiting(httpcore.WriteTimeout, httpcore.WriteError):
                unsent = unsent[self._socket.send(unsent) :]

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002  the deadline is the clock's
    ) -> httpcore.NetworkStream:
        with self._waiting(httpcore.ConnectTimeout, httpcore.ConnectError):
            try:
                secured = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
            except (OSError, ValueError):
                self._socket.close()
                raise
        return _Stream(secured, self._clock)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401  httpcore's signature
        return self._socket if info == "socket" else None

    @contextmanager
    def _waiting(self, late: type[Exception], broken: type[Exception]) -> Iterator[None]:
        self._socket.settimeout(self._clock.left())
        try:
            yield
        except TimeoutError as error:
            raise late("too late") from error
        except (OSError, ValueError) as error:  # ValueError: a name that TLS cannot ask for
            raise broken(str(error)) from error
