"""Gunicorn's threaded worker, changed so that slow clients hold no thread.

The main thread reads heads and small bodies of all connections, without waiting for any of them. A request goes to a
thread when it is complete, or when the first part of a large body is there. Malformed requests and slow clients get
problem+json responses. /healthz, /readyz and /metrics have threads of their own.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog
from gunicorn import util
from gunicorn.http.body import ChunkedReader
from gunicorn.http.message import Request
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn, ThreadWorker

from api.http.connections.arriving import MIN_BYTES_PER_SECOND, Arrival
from api.http.connections.connection_limits import ConnectionCounts
from api.http.errors import BusyError
from api.http.malformed import SLOW_CLIENT, SlowClientError, refusal
from api.http.problems import PROBLEM_TYPE, RETRY_AFTER_SECONDS, STATUS_BY_CODE, problem_document
from api.http.request_ids import HEADER, sane_request_id
from api.http.security_headers import SECURITY_HEADERS
from api.http.waiting import UPLOADS
from serving.errors import ShelflineError

_ANSWER_SECONDS = 5.0  # time for the client to receive the response to a request that was not read completely
_NO_FILE_SECONDS = 0.1  # pause when no file descriptor is free, until other connections close
_MAX_UNREAD_BYTES = 16 << 20
_PIECE_BYTES = 1 << 17
_LOOK_SECONDS = 0.2  # how often deadlines are compared with the clock
_ACCEPTED_AT_ONCE = 64
_YOUNG_SECONDS = 1.0
_THREADS_OF_PATHS: Mapping[tuple[bytes, ...], int] = {(b"/healthz",): 1, (b"/readyz", b"/metrics"): 4}

_FULL = BusyError("The server has too many connections. Send the request again later.")

_log = structlog.get_logger(__name__)


class PatientUnreader(SocketUnreader):  # type: ignore[misc]  # gunicorn carries no types
    """Reads the rest of a request in a thread, with a time limit for the head, and one for the waiting in the body."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        super().__init__(sock)
        self._seconds = seconds
        self._deadline: float | None = None  # monotonic time by which the head must be read
        self._left: float | None = None  # seconds of waiting that are left for the body
        self._missing = 0  # bytes of the body
        self._when_whole: Callable[[], None] = _do_nothing

    def begin(self, data: bytes, missing: int, when_whole: Callable[[], None]) -> None:
        """Begin with a request of which `data` has come, and start the time limit of its head.

        `when_whole` is called when the `missing` bytes have come. The socket keeps the same timeout for the response.
        """
        self.sock.settimeout(self._seconds)
        self._deadline, self._left = time.monotonic() + self._seconds, None
        self._missing, self._when_whole = missing, when_whole
        self.unread(data)

    def head_is_read(self) -> None:
        """Start the time limit of the body: the same seconds; each 1000 bytes received give back one of them."""
        self._deadline, self._left = None, self._seconds

    def end(self) -> None:
        """Stop the time limits after the response; gunicorn drains what is left of the body."""
        self._deadline = self._left = None

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next bytes from the socket; raises SlowClientError, or NoMoreData if the client went away."""
        if self._deadline is None and self._left is None:
            return bytes(super().chunk(size_hint))
        began = time.monotonic()
        left = self._deadline - began if self._deadline is not None else self._left or 0.0
        self.sock.settimeout(max(left, 0.001))
        try:
            data = bytes(super().chunk(size_hint))
        except TimeoutError as error:
            raise SlowClientError from error
        finally:
            self.sock.settimeout(self._seconds)
        if self._left is not None:
            regained = len(data) / MIN_BYTES_PER_SECOND - (time.monotonic() - began)
            self._left = min(self._left + regained, self._seconds)
        if self._missing > 0:
            self._missing -= len(data)
            if self._missing <= 0:
                self._when_whole()
        return data


class OnceOnlyRequest(Request):  # type: ignore[misc]  # gunicorn carries no types
    """A request whose response announces `Connection: close` if the body was not read completely."""

    @property
    def body_is_left(self) -> bool:
        """True if part of the body is unread, so the connection must be closed (keep-alive would misparse it)."""
        reader = self.body.reader
        if isinstance(reader, ChunkedReader):
            return bool(self.body.failed or reader.parser)
        return bool(self.body.failed or reader.length)

    def should_close(self) -> bool:
        """Return whether the connection closes after the response."""
        return bool(super().should_close() or self.body_is_left)


@dataclass
class _Leaving:
    """When a connection is closed at the latest: at a monotonic time, or when so many bytes were discarded."""

    ends_at: float
    bytes_left: int = _MAX_UNREAD_BYTES


@dataclass(frozen=True)
class ConnectionSettings:
    """Settings of the worker: time for a slow client in seconds, and connections per address and per key (0: any)."""

    slow_client_seconds: float
    max_body_bytes: int
    per_address: int = 0
    per_key: int = 0


class Connection(TConn):  # type: ignore[misc]  # gunicorn carries no types
    """A connection, with the request that arrives on it."""

    def __init__(
        self,
        cfg: Any,  # noqa: ANN401  gunicorn's
        sock: socket.socket,
        client: Any,  # noqa: ANN401
        server: Any,  # noqa: ANN401
        settings: ConnectionSettings,
    ) -> None:
        super().__init__(cfg, sock, client, server)
        self._settings = settings
        self.arrival = self._new_arrival()
        self.is_watched = False  # the poller tells when more of the request comes
        self.is_uploading = False  # the thread that answers it still reads its body
        self.when_whole: Callable[[], None] = _do_nothing
        self.counted_address = ""
        self.counted_key = ""

    @property
    def address(self) -> str:
        """Return the client's IP address, '' for a Unix socket."""
        return str(self.client[0]) if isinstance(self.client, tuple) else ""

    def begin(self) -> bytes:
        """Begin to receive a request, without waiting; return its first bytes, as far as they came with the last."""
        self.sock.setblocking(False)
        self.arrival = self._new_arrival()
        return bytes(self.parser.unreader.take_buffered()) if self.parser else b""

    def init(self) -> None:
        """Prepare for the request that arrived."""
        super().init()
        if not isinstance(self.parser.unreader, PatientUnreader):
            self.parser.mesg_class = OnceOnlyRequest
            self.parser.unreader = PatientUnreader(self.sock, self._settings.slow_client_seconds)
        self.parser.unreader.begin(bytes(self.arrival.data), self.arrival.missing, self.when_whole)
        self.arrival.data.clear()

    def _new_arrival(self) -> Arrival:
        return Arrival(time.monotonic(), self._settings.slow_client_seconds, self._settings.max_body_bytes)

    def wait_for_data(self, timeout: float) -> bool:  # noqa: ARG002  gunicorn's signature
        """Return True: a thread gets only connections with data."""
        return True

    @property
    def has_unread_bytes(self) -> bool:
        """Return whether the client may still be sending, after a response that ends the connection."""
        request = self.parser.mesg if self.parser else None
        return request is None or bool(request.body_is_left)

    def close(self, graceful: bool = False) -> None:  # noqa: FBT001, FBT002  gunicorn's signature
        """Close at once; `graceful`: leave that to the worker, after the response.

        Gunicorn's own method would wait here for the client, in the thread that serves every connection.
        """
        if not graceful:
            util.close(self.sock)


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn carries no types
    """The base of the worker class that `worker_class` makes. Its main thread alone calls methods without a note."""

    settings: ConnectionSettings

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  gunicorn's signature
        super().__init__(*args, **kwargs)
        self._arriving: dict[Connection, None] = {}  # in the order in which they began
        self._leaving: dict[socket.socket, _Leaving] = {}  # they only receive their response
        self._counts = ConnectionCounts(self.settings.per_address, self.settings.per_key)
        self._uploads = 0
        self._waiting_uploads: deque[Connection] = deque()
        self._own_pools: dict[bytes, Executor] = {}
        self._looks_at = 0.0

    def init_process(self) -> None:
        """Create the threads of the paths that have their own, then run."""
        for paths, threads in _THREADS_OF_PATHS.items():
            self._own_pools |= dict.fromkeys(paths, ThreadPoolExecutor(threads))
        super().init_process()

    def accept(self, listener: socket.socket) -> None:
        """Accept new connections. If there are too many, the one that has been arriving for longest is closed."""
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, client = listener.accept()
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE}:
                    if not self._make_room():
                        _log.warning("connections wait", reason=error.strerror)
                        time.sleep(_NO_FILE_SECONDS)
                elif error.errno not in {errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK}:
                    raise
                return
            self.nr_conns += 1
            conn = Connection(self.cfg, sock, client, listener.getsockname(), self.settings)
            try:
                conn.counted_address = self._counts.enter_address(conn.address)
            except ShelflineError as error:
                self._refuse(conn, error)
                continue
            self.enqueue_req(conn)
            if self.nr_conns >= self.worker_connections and not self._make_room():
                return

    def enqueue_req(self, conn: Connection) -> None:
        """Receive the next request of a connection."""
        self._arriving[conn] = None
        first = conn.begin()
        try:
            if (first and self._has_arrived(conn, first)) or self._has_left(conn):
                return
        except ShelflineError as error:
            self._refuse(conn, error)
            return
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_arriving, conn))
        conn.is_watched = True

    def on_client_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """Receive the next request of a connection, unless it was closed meanwhile; see `_on_arriving`."""
        if conn in self.keepalived_conns:
            super().on_client_socket_readable(conn, client)

    def _on_arriving(self, conn: Connection, _sock: socket.socket) -> None:
        if not conn.is_watched:  # closed to make room, by an event that the poller told together with this one
            return
        try:
            self._has_left(conn)
        except ShelflineError as error:
            self._refuse(conn, error)

    def _has_left(self, conn: Connection) -> bool:
        """Receive what has come; return whether a thread has the request now, or the connection is closed.

        Raises ShelflineError if the request must be refused.
        """
        while True:
            try:
                piece = conn.sock.recv(_PIECE_BYTES)
            except BlockingIOError:
                return False
            except OSError:
                piece = b""
            if not piece:
                if conn.arrival.data:
                    self._hand_over(conn)  # gunicorn's parser finds out what is missing
                else:
                    self._end(conn)
                return True
            if self._has_arrived(conn, piece):
                return True

    def _has_arrived(self, conn: Connection, piece: bytes) -> bool:
        """Add what has come, and hand the request over if a thread can go on with it; return whether it could.

        Raises ShelflineError if the request must be refused.
        """
        arrival = conn.arrival
        had_head = arrival.has_head
        arrival.add(piece, time.monotonic())
        if arrival.has_head and not had_head:
            conn.counted_key = self._counts.enter_key(arrival.key)
            if arrival.wants_continue and not arrival.is_ready:
                with suppress(OSError):
                    conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if arrival.is_ready:
            self._hand_over(conn)
        return arrival.is_ready

    def _hand_over(self, conn: Connection) -> None:
        """Have a thread answer the request; one with a large body waits while too many threads read such bodies."""
        self._unwatch(conn)
        if conn.arrival.is_whole:
            self._submit(conn, self._own_pools.get(conn.arrival.path))
        else:
            self._waiting_uploads.append(conn)
            self._start_upload()

    def _start_upload(self) -> None:
        if self._waiting_uploads and self._uploads < UPLOADS:
            self._uploads += 1
            conn = self._waiting_uploads.popleft()
            conn.is_uploading = True
            conn.when_whole = partial(self.method_queue.defer, self._end_upload, conn)  # called in a pool thread
            self._submit(conn)

    def _end_upload(self, conn: Connection) -> None:
        if conn.is_uploading:
            conn.is_uploading = False
            self._uploads -= 1
            self._start_upload()

    def _submit(self, conn: Connection, own_pool: Executor | None = None) -> None:
        future = (own_pool or self.tpool).submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def finish_request(self, conn: Connection, fs: Any) -> None:  # noqa: ANN401  gunicorn has no types
        """Go on after a request was answered: with the next one of the connection, or without the connection."""
        self._end_upload(conn)
        conn.counted_key = self._counts.leave(conn.counted_key)
        before = self.nr_conns
        super().finish_request(conn, fs)
        if self.nr_conns < before:
            conn.counted_address = self._counts.leave(conn.counted_address)
            if conn.has_unread_bytes:
                self._let_leave(conn.sock)
            else:
                conn.close()

    def murder_keepalived(self, force: bool = False) -> None:  # noqa: FBT001, FBT002  gunicorn's signature
        """Close connections on which no further request has come in time."""
        now = time.monotonic()
        while self.keepalived_conns and (force or self.keepalived_conns[0].timeout <= now):
            self._end_keepalived()

    def _end_keepalived(self) -> None:
        conn = self.keepalived_conns.popleft()
        self.poller.unregister(conn.sock)
        self._end(conn)

    def murder_pending(self) -> None:
        """Refuse requests that have not arrived in time; called again and again, also while the worker stops."""
        now = time.monotonic()
        if now < self._looks_at:
            return
        self._looks_at = now + _LOOK_SECONDS
        for conn in [conn for conn in self._arriving if conn.arrival.deadline <= now or self._is_idle(conn, now)]:
            self._drop(conn, SLOW_CLIENT)
        for _ in range(_ACCEPTED_AT_ONCE):
            if self.nr_conns < self.worker_connections or not self._make_room():
                break
        for sock in [sock for sock, leaving in self._leaving.items() if leaving.ends_at <= now]:
            self._close_leaving(sock)

    def _is_idle(self, conn: Connection, now: float) -> bool:
        """Return whether a connection has sent nothing yet, and is not worth waiting for."""
        if conn.arrival.data:
            return False
        return not self.alive or conn.arrival.began_at + self.cfg.keepalive <= now

    def _make_room(self) -> bool:
        """Close the connection that has been without a whole request for longest; return whether there was one.

        One that has just begun is not closed: others can wait for it to be answered.
        """
        if self.keepalived_conns:
            self._end_keepalived()
            return True
        oldest = next(iter(self._arriving), None)
        if oldest is None or oldest.arrival.began_at + _YOUNG_SECONDS > time.monotonic():
            return False
        self._drop(oldest, _FULL)
        return True

    def _drop(self, conn: Connection, error: ShelflineError) -> None:
        """Refuse the request that is arriving; without one, close the connection."""
        if conn.arrival.data:
            self._refuse(conn, error)
        else:
            self._end(conn)

    def _refuse(self, conn: Connection, error: ShelflineError) -> None:
        """Answer a request that no thread has seen, and close the connection when the client had time to read."""
        self._unwatch(conn)
        request_id = sane_request_id("")
        _log.info("request refused", request_id=request_id, code=error.code, client=conn.address)
        is_head = conn.arrival.data.lstrip().startswith(b"HEAD ")
        with suppress(OSError):
            conn.sock.setblocking(False)
            conn.sock.send(_answer(error, request_id, with_body=not is_head))
        self._end(conn, close=False)
        self._let_leave(conn.sock)

    def _let_leave(self, sock: socket.socket) -> None:
        """Close a connection after the client had time to receive its response, and read what it still sends.

        If the connection were closed with bytes unread, the kernel would reset it and the response could be lost.
        """
        try:
            sock.setblocking(False)
            sock.shutdown(socket.SHUT_WR)
            if len(self._leaving) >= self.worker_connections // 4:
                raise BlockingIOError
            self.poller.register(sock, selectors.EVENT_READ, self._on_leaving)
        except (OSError, ValueError):  # ValueError: it was closed already
            util.close(sock)
        else:
            self._leaving[sock] = _Leaving(time.monotonic() + _ANSWER_SECONDS)

    def _on_leaving(self, sock: socket.socket) -> None:
        leaving = self._leaving[sock]
        try:
            received = len(sock.recv(_PIECE_BYTES))
        except BlockingIOError:
            return
        except OSError:
            received = 0
        leaving.bytes_left -= received
        if not received or leaving.bytes_left < 0:
            self._close_leaving(sock)

    def _close_leaving(self, sock: socket.socket) -> None:
        del self._leaving[sock]
        self.poller.unregister(sock)
        util.close(sock)

    def _unwatch(self, conn: Connection) -> None:
        self._arriving.pop(conn, None)
        if conn.is_watched:
            conn.is_watched = False
            self.poller.unregister(conn.sock)

    def _end(self, conn: Connection, *, close: bool = True) -> None:
        """Forget a connection that no thread has."""
        self._unwatch(conn)
        conn.counted_address = self._counts.leave(conn.counted_address)
        conn.counted_key = self._counts.leave(conn.counted_key)
        self.nr_conns -= 1
        if close:
            conn.close()

    def handle_request(self, req: Request, conn: Connection) -> bool:
        """Answer a request whose head has been read, in a pool thread."""
        unreader = conn.parser.unreader
        unreader.head_is_read()
        if conn.arrival.wants_continue:  # it was told to continue
            req._expected_100_continue = False  # noqa: SLF001  gunicorn has no other way
        try:
            return bool(super().handle_request(req, conn))
        except TimeoutError as error:
            _log.info("answer given up", reason="the client does not read it", path=req.path)
            raise StopIteration from error  # as gunicorn ends a connection
        finally:
            unreader.end()

    def handle_error(self, req: Request | None, client: socket.socket, addr: Any, exc: Exception) -> None:  # noqa: ANN401
        """Answer with a problem if a request could not be read or its response failed."""
        problem = refusal(exc)
        offered = dict(req.headers).get(HEADER.upper(), "") if req else ""
        request_id = sane_request_id(offered)
        if problem is None:
            problem = ShelflineError("The server failed to answer. Its log has the cause, under the request id.")
            _log.error("request failed", request_id=request_id, path=req.path if req else None, exc_info=exc)
        else:
            _log.info("request refused", request_id=request_id, code=problem.code, client=str((addr or ("",))[0]))
        try:
            client.settimeout(_ANSWER_SECONDS)
            client.sendall(_answer(problem, request_id, with_body=not req or req.method != "HEAD"))
        except OSError:
            _log.debug("no answer", request_id=request_id)


def _do_nothing() -> None:
    pass


def worker_class(settings: ConnectionSettings) -> type[Worker]:
    """Return a worker class with these settings; gunicorn creates its workers from a class, without arguments."""
    return type("ShelflineWorker", (Worker,), {"settings": settings})


def _answer(problem: ShelflineError, request_id: str, *, with_body: bool) -> bytes:
    status = HTTPStatus(STATUS_BY_CODE[problem.code])
    body = problem_document(problem.code, str(problem), status, request_id, retryable=problem.retryable).encode()
    headers = {
        "Content-Type": PROBLEM_TYPE,
        "Content-Length": str(len(body)),
        "Connection": "close",
        HEADER: request_id,
        **SECURITY_HEADERS,
    }
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode() + (body if with_body else b"")
