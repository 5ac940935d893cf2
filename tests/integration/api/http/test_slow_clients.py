"""Slow clients hold no thread, and few of them are enough for nobody. The API runs in gunicorn, with much patience."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from api.http.connections.arriving import SMALL_BODY_BYTES
from api.http.waiting import THREADS, UPLOADS
from tests.support.polling import wait_until
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.web_server import web_server

Server = tuple[str, int]

PER_ADDRESS, PER_KEY, IN_ALL = 560, 3, 600
HEAD = b"GET /healthz HTTP/1.1\r\nHost: "
POST = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
SMALL = POST + b"Content-Length: 1000\r\n\r\n{"
LARGE = POST + b"Content-Length: 1000000\r\n\r\n" + b" " * SMALL_BODY_BYTES
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture(scope="module")
def server(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The API, which waits for its clients for longer than any test."""
    redis_server.empty()
    blobs: Path = tmp_path_factory.mktemp("slow") / "blobs"
    limits = {"": IN_ALL, "_PER_ADDRESS": PER_ADDRESS, "_PER_KEY": PER_KEY}
    env = {f"SHELFLINE_MAX_CONNECTIONS{name}": str(limit) for name, limit in limits.items()}
    with web_server(redis_server.url, blobs, SHELFLINE_SLOW_CLIENT_SECONDS="600", **env) as address:
        yield address


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """Connections that stay open until the end of a test."""
    with ExitStack() as connections:
        yield connections


def _open(server: Server, held: ExitStack, starts: Iterable[bytes], source: str = "127.0.0.1") -> list[socket.socket]:
    opened = []
    for start in starts:
        connection = held.enter_context(socket.create_connection(server, 60, source_address=(source, 0)))
        connection.sendall(start)
        opened.append(connection)
    return opened


def _status(server: Server, path: str) -> int:
    return httpx.get(f"http://{server[0]}:{server[1]}{path}", timeout=60).status_code


def _answer(connection: socket.socket) -> tuple[int, str]:
    """The status and the code of a problem that ends its connection."""
    received = b""
    while data := connection.recv(65536):
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), str(json.loads(body).get("code", ""))


def test_slow_heads_and_bodies_hold_no_thread(server: Server, held: ExitStack) -> None:
    """There are more of them than threads, and requests are answered, each by a route of its own threads or not."""
    _open(server, held, [HEAD, SMALL] * (THREADS // 2 + 8))
    for path in ("/healthz", "/readyz", "/v1/jobs"):
        assert _status(server, path) in {200, 503}


def test_large_bodies_that_stall_leave_threads_to_others(server: Server, held: ExitStack) -> None:
    """As many threads as there are for uploads wait for the rest; another upload goes on when one of them ends."""
    stalled = _open(server, held, [LARGE] * UPLOADS)
    (late,) = _open(server, held, [LARGE])
    assert _status(server, "/v1/jobs") == 200
    late.sendall(b" " * (1_000_000 - SMALL_BODY_BYTES))
    late.shutdown(socket.SHUT_WR)
    stalled[0].close()
    assert _answer(late) == (400, "invalid_request")


def test_a_client_that_waits_to_be_told_to_continue(server: Server, held: ExitStack) -> None:
    """It is told once, and its body is read without a thread too."""
    head = SMALL[:-1].replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
    waiting = _open(server, held, [head] * (THREADS + 1))
    for connection in waiting:
        assert connection.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE
    waiting[-1].sendall(b" " * 1000)
    assert _answer(waiting[-1]) == (400, "invalid_request")


def test_requests_in_one_piece_are_answered_in_turn(server: Server, held: ExitStack) -> None:
    """What came behind a request is not lost, small body or not."""
    first = SMALL[:-1].replace(b"1000", b"4") + b"null"
    last = b"GET /v1/jobs/a HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    (connection,) = _open(server, held, [first + first + last])
    received = b""
    while data := connection.recv(65536):
        received += data
    assert [int(part[1:4]) for part in received.split(b"HTTP/1.1")[1:]] == [400, 400, 404]


def test_a_key_has_few_connections(server: Server, held: ExitStack) -> None:
    """One more is a 429; other keys, and this key once one has ended, are served."""
    slow = SMALL.replace(b"Host", b"Authorization: Bearer sl_a\r\nHost")
    opened = _open(server, held, [slow] * PER_KEY)
    (refused,) = _open(server, held, [slow])
    assert _answer(refused) == (429, "too_many_connections")
    (other,) = _open(server, held, [slow.replace(b"sl_a", b"sl_b") + b" " * 999])
    assert other.recv(12) == b"HTTP/1.1 400"
    opened[0].close()

    def is_served() -> bool:
        (connection,) = _open(server, held, [slow + b" " * 999])
        return connection.recv(12) == b"HTTP/1.1 400"

    wait_until(is_served)


def test_an_address_has_few_connections(server: Server, held: ExitStack) -> None:
    """One more is a 429, before it has sent anything; other addresses are served."""
    _open(server, held, [b""] * PER_ADDRESS, "127.0.0.3")
    (refused,) = _open(server, held, [b""], "127.0.0.3")
    assert _answer(refused) == (429, "too_many_connections")
    assert _status(server, "/v1/jobs") == 200


def test_the_slowest_makes_room(server: Server, held: ExitStack) -> None:
    """If there are as many connections as there may be, the one that has been arriving for longest is refused."""
    (first,) = _open(server, held, [HEAD])
    _open(server, held, [HEAD] * (IN_ALL // 2), "127.0.0.3")
    _open(server, held, [HEAD] * (IN_ALL // 2), "127.0.0.4")
    assert _answer(first) == (503, "busy")
    assert _status(server, "/v1/jobs") == 200
