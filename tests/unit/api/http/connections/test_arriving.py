"""A request is ready for a thread when it is whole, or when a thread need not wait for it."""

from __future__ import annotations

import pytest

from api.http.connections.arriving import MAX_HEAD_BYTES, SMALL_BODY_BYTES, Arrival
from api.http.errors import HeadersTooLargeError

GET = b"GET /healthz?a=b HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: Chunked\r\n\r\n"


def _fed(data: bytes, size: int = 1) -> Arrival:
    arrival = Arrival(0.0, 20.0, 10**7)
    for at in range(0, len(data), size):
        arrival.add(data[at : at + size], 1.0)
    return arrival


@pytest.mark.parametrize(
    "request_",
    [
        GET + b"\r\n",
        b"\r\n" + GET + b"\r\n",
        GET.replace(b"1.1", b"1.0") + b"\r\n",
        POST + b"Content-Length: 0\r\n\r\n",
        POST + b"content-length:   5  \r\n\r\nabcde",
        CHUNKED + b"0\r\n\r\n",
        CHUNKED + b"3\r\nabc\r\na;x=y\r\n0123456789\r\n0\r\n\r\n",
        CHUNKED + b"3\r\nabc\r\n0\r\nTrailer: x\r\n\r\n",
    ],
)
def test_a_whole_request(request_: bytes) -> None:
    """It is ready with its last byte and not before, however it comes, and what follows it belongs to the next one."""
    for size in (1, 2, 7, len(request_)):
        assert not _fed(request_[:-1], size).is_ready
        for data in (request_, request_ + GET):
            arrival = _fed(request_, size)
            arrival.add(data[len(request_) :], 2.0)
            assert arrival.is_ready
            assert arrival.is_whole


@pytest.mark.parametrize(
    "start",
    [
        b"GET\r\n",
        b"\n",
        b"get / HTTP/1.1\r\n",
        b"GET / HTTP/2.0\r\n",
        b"GET / HTTP/1.1\n",
        b"GET /" + b"a" * 5000,
        GET + b"X: a\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        POST + b"Transfer-Encoding: gzip\r\n\r\n",
        POST + b"Content-Length: 10000001\r\n\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"3\r\nabcd\r\n",
    ],
)
def test_what_is_malformed_is_left_to_the_parser(start: bytes) -> None:
    """At once: its client waits for the answer, and sends nothing more. So is a body that is too long."""
    arrival = _fed(start)
    assert arrival.is_ready
    assert not arrival.is_whole


@pytest.mark.parametrize(("head", "size"), [(POST + b"Content-Length: 9999999\r\n\r\n", b""), (CHUNKED, b"ffffff\r\n")])
def test_a_large_body_needs_no_more_than_its_start(head: bytes, size: bytes) -> None:
    """The thread reads the rest."""
    arrival = _fed(head + size + b"x" * (SMALL_BODY_BYTES - len(size) - 1), 1000)
    assert not arrival.is_ready
    arrival.add(b"x", 1.0)
    assert arrival.is_ready
    assert not arrival.is_whole
    assert arrival.missing == (9999999 - SMALL_BODY_BYTES if not size else 0)


def test_what_a_head_tells() -> None:
    """Where it goes, with which key, and whether the client waits before it sends the body."""
    head = b"Authorization: Bearer sl_x\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n"
    arrival = _fed(POST + head)
    assert (arrival.path, arrival.key, arrival.wants_continue) == (b"/v1/jobs", b"Bearer sl_x", True)
    assert not _fed(POST.replace(b"1.1", b"1.0") + head).wants_continue
    assert not _fed(POST + head.replace(b": 5", b": 0")).wants_continue
    assert _fed(GET + b"\r\n").path == b"/healthz"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 1_000_000 + b"\r\n",
        GET + b"Authorization:" + b" " * 1_000_000 + b"\rx\r\n\r\n",
        GET + b"Authorization: a" + b" " * 1_000_000 + b"a\r\n\r\n",
    ],
)
def test_a_hostile_head_keeps_no_other_connection_waiting(head: bytes) -> None:
    """The thread that reads all heads looks at each byte once. With patterns that try again it took minutes or days."""
    assert _fed(head, len(head)).is_ready


def test_spaces_around_a_value() -> None:
    """They do not belong to it."""
    assert _fed(POST + b"Authorization:\t  Bearer  sl_x \t\r\nContent-Length: 0\r\n\r\n").key == b"Bearer  sl_x"
    assert _fed(POST + b"Authorization:\r\n\r\n").key == b""


def test_a_head_has_a_size() -> None:
    """Nobody fills the memory with headers."""
    with pytest.raises(HeadersTooLargeError):
        _fed(GET + b"X: aaaaaaaaaaaaaaaaaaaaaaa\r\n" * (MAX_HEAD_BYTES // 25), 997)


def test_the_time_that_a_body_has() -> None:
    """A pause is used up, each 1000 bytes give a second back, and there is never more than at the start."""
    arrival = Arrival(0.0, 20.0, 10**7)
    assert arrival.deadline == 20
    arrival.add(POST + b"Content-Length: 50000\r\n\r\n", 10.0)
    assert arrival.deadline == 30
    arrival.add(b"x" * 2000, 25.0)
    assert arrival.deadline == 32
    arrival.add(b"x" * 40_000, 26.0)
    assert arrival.deadline == 46
