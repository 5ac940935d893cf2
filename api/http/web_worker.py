"""Gunicorn's threaded worker, changed in two ways.

Malformed requests get problem+json responses, and slow clients are cut off, so that they cannot occupy threads.
"""

from __future__ import annotations

import errno
import socket
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import structlog
from gunicorn import util
from gunicorn.http.body import ChunkedReader
from gunicorn.http.message import Request
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn, ThreadWorker

from api.http.malformed import SlowClientError, refusal
from api.http.problems import PROBLEM_TYPE, STATUS_BY_CODE, problem_document
from api.http.request_ids import HEADER, sane_request_id
from api.http.security_headers import SECURITY_HEADERS
from serving.errors import ShelflineError

FIRST_BYTE_SECONDS = 0.1  # after this a silent connection waits without a thread
MIN_BYTES_PER_SECOND = 1000
_ANSWER_SECONDS = 2.0  # time for the client to receive the response to a request that was not read completely
_PAUSE_SECONDS = 0.5  # after such a pause, the client is taken to have finished sending
_NO_FILE_SECONDS = 0.1  # pause when no file descriptor is free, until other connections close
_MAX_UNREAD_BYTES = 16 << 20

_log = structlog.get_logger(__name__)


class PatientUnreader(SocketUnreader):  # type: ignore[misc]  # gunicorn carries no types
    """Reads a request with two time limits: one for the whole head, one for the time spent waiting for the body."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        super().__init__(sock)
        self._seconds = seconds
        self._deadline: float | None = None  # monotonic time by which the head must be read
        self._left: float | None = None  # seconds of waiting that are left for the body

    def begin(self) -> None:
        """Start the time limit of the head of a new request; the socket keeps the same timeout for the response."""
        self.sock.settimeout(self._seconds)
        self._deadline, self._left = time.monotonic() + self._seconds, None

    def head_is_read(self) -> None:
        """Start the time limit of the body: the same seconds, plus one second per 1000 bytes received."""
        self._deadline, self._left = None, self._seconds

    def end(self) -> None:
        """Stop the time limits after the response; gunicorn drains what is left of the body."""
        self._deadline = self._left = None

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next bytes from the socket; raises SlowClientError, or NoMoreData if the client went away."""
        if self._deadline is None and self._left is None:
            return bytes(super().chunk(size_hint))
        began = time.monotonic()
        left = self._deadline - began if self._deadline is not None else min(self._left or 0.0, self._seconds)
        self.sock.settimeout(max(left, 0.001))
        try:
            data = bytes(super().chunk(size_hint))
        except TimeoutError as error:
            raise SlowClientError from error
        finally:
            self.sock.settimeout(self._seconds)
        if self._left is not None:
            self._left += len(data) / MIN_BYTES_PER_SECOND - (time.monotonic() - began)
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


class Connection(TConn):  # type: ignore[misc]  # gunicorn carries no types
    """A connection that occupies a thread only while data arrives, and never blocks the main thread."""

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any, seconds: float) -> None:  # noqa: ANN401
        super().__init__(cfg, sock, client, server)
        self._seconds = seconds

    def init(self) -> None:
        """Prepare for the next request."""
        super().init()
        if not isinstance(self.parser.unreader, PatientUnreader):
            self.parser.mesg_class = OnceOnlyRequest
            self.parser.unreader = PatientUnreader(self.sock, self._seconds)
        self.parser.unreader.begin()

    def wait_for_data(self, timeout: float) -> bool:
        """Wait for the first byte of a new connection, at most `FIRST_BYTE_SECONDS`; return whether it came."""
        return bool(super().wait_for_data(min(timeout, FIRST_BYTE_SECONDS)))

    def linger(self) -> None:
        """Close the connection after the client had time to receive its response.

        If the connection were closed with bytes unread, the kernel would reset it and the response could be lost.
        """
        request = self.parser.mesg if self.parser else None
        if request is None or request.body_is_left:
            _read_on(self.sock)
        util.close(self.sock)

    def close(self, graceful: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  gunicorn's signature
        """Close at once. Gunicorn's own method would linger here, in the thread that serves every connection."""
        util.close(self.sock)


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn carries no types
    """The base of the worker class that `worker_class` makes."""

    slow_client_seconds: float

    def accept(self, listener: socket.socket) -> None:
        """Accept a new connection."""
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                _log.warning("connections wait", reason=error.strerror)
                time.sleep(_NO_FILE_SECONDS)
            elif error.errno not in {errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK}:
                raise
            return
        self.nr_conns += 1
        self.enqueue_req(Connection(self.cfg, sock, client, listener.getsockname(), self.slow_client_seconds))

    def handle(self, conn: Connection) -> object:
        """Answer the next request of a connection, in a pool thread.

        Returns False if the connection is closed, True if it is kept alive; also gunicorn's marker for a connection
        that has sent nothing yet.
        """
        state: object = super().handle(conn)
        if state is False:
            conn.linger()
        return state

    def handle_request(self, req: Request, conn: Connection) -> bool:
        """Answer a request whose head has been read."""
        unreader = conn.parser.unreader
        unreader.head_is_read()
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


def _read_on(sock: socket.socket) -> None:
    """Read and discard what a client still sends before it sees the response, within limits of time and size."""
    ends, left = time.monotonic() + _ANSWER_SECONDS, _MAX_UNREAD_BYTES
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(_PAUSE_SECONDS)
        while left > 0 and time.monotonic() < ends and (data := sock.recv(65536)):
            left -= len(data)


def worker_class(slow_client_seconds: float) -> type[Worker]:
    """Return a worker class with this time limit; gunicorn creates its workers from a class, without arguments."""
    return type("ShelflineWorker", (Worker,), {"slow_client_seconds": slow_client_seconds})


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
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode() + (body if with_body else b"")
