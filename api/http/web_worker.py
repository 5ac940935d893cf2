"""Gunicorn's threaded worker, with answers of the project's own and no patience for clients that only hold threads."""

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

FIRST_BYTE_SECONDS = 0.1  # then a silent connection waits without a thread
LEAST_BYTES_A_SECOND = 1000
_ANSWER_SECONDS = 2.0  # to take the answer to a request that was not read whole
_PAUSE_SECONDS = 0.5  # after which nothing more comes
_NO_FILE_SECONDS = 0.1  # until others are closed
_MOST_LEFT_BYTES = 16 << 20

_log = structlog.get_logger(__name__)


class PatientUnreader(SocketUnreader):  # type: ignore[misc]  # gunicorn carries no types
    """Reads a request with two clocks: one for the whole head, one for the time spent waiting for the body."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        super().__init__(sock)
        self._seconds = seconds
        self._ends: float | None = None  # of the head
        self._left: float | None = None  # for the body

    def begin(self) -> None:
        """A request begins: its head must be here in time. The socket gets its patience for the answer too."""
        self.sock.settimeout(self._seconds)
        self._ends, self._left = time.monotonic() + self._seconds, None

    def head_is_read(self) -> None:
        """The body begins: it may pause for as long, plus a second for each thousand bytes."""
        self._ends, self._left = None, self._seconds

    def end(self) -> None:
        """The request is answered; what is left of it is gunicorn's to drain."""
        self._ends = self._left = None

    def chunk(self, size_hint: int | None = None) -> bytes:
        """What comes next from the socket; raises SlowClientError, and NoMoreData where the client went away."""
        if self._ends is None and self._left is None:
            return bytes(super().chunk(size_hint))
        began = time.monotonic()
        left = self._ends - began if self._ends is not None else min(self._left or 0.0, self._seconds)
        self.sock.settimeout(max(left, 0.001))
        try:
            data = bytes(super().chunk(size_hint))
        except TimeoutError as error:
            raise SlowClientError from error
        finally:
            self.sock.settimeout(self._seconds)
        if self._left is not None:
            self._left += len(data) / LEAST_BYTES_A_SECOND - (time.monotonic() - began)
        return data


class OnceOnlyRequest(Request):  # type: ignore[misc]  # likewise
    """A request whose answer says that the connection ends, where it must because the body was not read."""

    @property
    def body_is_left(self) -> bool:
        """Whether the next request on the connection could not be found behind this one's body."""
        reader = self.body.reader
        if isinstance(reader, ChunkedReader):
            return bool(self.body.failed or reader.parser)
        return bool(self.body.failed or reader.length)

    def should_close(self) -> bool:
        """Whether the connection ends with the answer."""
        return bool(super().should_close() or self.body_is_left)


class Connection(TConn):  # type: ignore[misc]  # likewise
    """A connection that holds a thread only while something comes, and the main thread never."""

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any, seconds: float) -> None:  # noqa: ANN401
        super().__init__(cfg, sock, client, server)
        self._seconds = seconds

    def init(self) -> None:
        """Get ready for a request."""
        super().init()
        if not isinstance(self.parser.unreader, PatientUnreader):
            self.parser.mesg_class = OnceOnlyRequest
            self.parser.unreader = PatientUnreader(self.sock, self._seconds)
        self.parser.unreader.begin()

    def wait_for_data(self, timeout: float) -> bool:
        """Whether the first byte of a new connection came."""
        return bool(super().wait_for_data(min(timeout, FIRST_BYTE_SECONDS)))

    def linger(self) -> None:
        """Close, after the client had time to take its answer: with bytes unread, the kernel would cut it off."""
        request = self.parser.mesg if self.parser else None
        if request is None or request.body_is_left:
            _read_on(self.sock)
        util.close(self.sock)

    def close(self, graceful: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  gunicorn's signature
        """Close at once. Gunicorn would linger here, where every other connection waits for it."""
        util.close(self.sock)


class Worker(ThreadWorker):  # type: ignore[misc]  # likewise
    """The base of the worker class; `worker_class` makes it."""

    slow_client_seconds: float

    def accept(self, listener: socket.socket) -> None:
        """Take a new connection."""
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
        """Answer what comes on a connection, in a thread; whether it is to be kept."""
        kept: object = super().handle(conn)
        if kept is False:
            conn.linger()
        return kept

    def handle_request(self, req: Request, conn: Connection) -> bool:
        """Answer a request whose head was read."""
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
        """Answer a request that could not be read, or whose answer failed, with a problem."""
        said = refusal(exc)
        offered = dict(req.headers).get(HEADER.upper(), "") if req else ""
        request_id = sane_request_id(offered)
        if said is None:
            said = ShelflineError("The server failed to answer; its log has the request id and the cause.")
            _log.error("request failed", request_id=request_id, path=req.path if req else None, exc_info=exc)
        else:
            _log.info("request refused", request_id=request_id, code=said.code, client=str((addr or ("",))[0]))
        try:
            client.settimeout(_ANSWER_SECONDS)
            client.sendall(_answer(said, request_id, with_body=not req or req.method != "HEAD"))
        except OSError:
            _log.debug("no answer", request_id=request_id)


def _read_on(sock: socket.socket) -> None:
    """Take what a client still sends while it does not know of its answer, within bounds."""
    ends, left = time.monotonic() + _ANSWER_SECONDS, _MOST_LEFT_BYTES
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(_PAUSE_SECONDS)
        while left > 0 and time.monotonic() < ends and (data := sock.recv(65536)):
            left -= len(data)


def worker_class(slow_client_seconds: float) -> type[Worker]:
    """The worker class for gunicorn, which makes its workers itself."""
    return type("ShelflineWorker", (Worker,), {"slow_client_seconds": slow_client_seconds})


def _answer(said: ShelflineError, request_id: str, *, with_body: bool) -> bytes:
    status = HTTPStatus(STATUS_BY_CODE[said.code])
    body = problem_document(said.code, str(said), status, request_id, retryable=said.retryable).encode()
    headers = {
        "Content-Type": PROBLEM_TYPE,
        "Content-Length": str(len(body)),
        "Connection": "close",
        HEADER: request_id,
        **SECURITY_HEADERS,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode() + (body if with_body else b"")
