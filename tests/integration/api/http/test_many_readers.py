"""Many who wait and long answers, in gunicorn as it is run: long-polls, events, results that break off."""

from __future__ import annotations

import gzip
import json
import re
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from api.http.waiting import LONG_POLLS
from tests.integration.api.conftest import Server
from tests.support.stacks.job_bench import JobBench


def _url(server: Server, path: str) -> str:
    return f"http://{server[0]}:{server[1]}{path}"


def _asked(server: Server, path: str, version: str = "1.1") -> socket.socket:
    """A connection on which something was asked, and closed after the answer."""
    connection = socket.create_connection(server, timeout=180)
    connection.sendall(f"GET {path} HTTP/{version}\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    return connection


def _answer(connection: socket.socket) -> bytes:
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


@pytest.mark.process
def test_two_hundred_wait_and_others_are_answered(server: Server, bench: JobBench) -> None:
    """Beside them a short request is answered; one too many at once, saying when to come back; all see the end."""
    job = bench.job(4)
    path = f"/v1/jobs/{job.id}?wait=55"
    with ExitStack() as open_ones:
        waiting = [open_ones.enter_context(_asked(server, path)) for _ in range(200)]
        for _ in range(20):
            quick = httpx.get(_url(server, f"/v1/jobs/{job.id}"))
            assert quick.json()["state"] == "queued"
        waiting += [open_ones.enter_context(_asked(server, path)) for _ in range(LONG_POLLS - 200 + 16)]
        at_once: list[socket.socket] = []
        end = time.monotonic() + 30
        while len(at_once) < 16 and time.monotonic() < end:
            time.sleep(0.05)
            at_once += [connection for connection in waiting if connection not in at_once and _is_answered(connection)]
        assert len(at_once) == 16
        for connection in at_once:
            assert b"\r\nRetry-After: 1\r\n" in _answer(connection)
        assert httpx.get(_url(server, "/healthz")).status_code == 200
        bench.end(job)
        for connection in waiting:
            if connection not in at_once:
                head, _, body = _answer(connection).partition(b"\r\n\r\n")
                assert json.loads(body).get("state") == "succeeded", body
                assert b"Retry-After" not in head


def _is_answered(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(60)


def test_many_follow_jobs(server: Server, bench: JobBench) -> None:
    """Each is told of every image of its job, and of the end, while short requests are answered."""
    jobs = [bench.job(6) for _ in range(3)]
    with ExitStack() as open_ones:
        readers = [(job, open_ones.enter_context(_asked(server, f"/v1/jobs/{job.id}/events"))) for job in jobs * 34]
        for job in jobs:
            bench.settle(job, [4, 1])
        assert httpx.get(_url(server, f"/v1/jobs/{jobs[0].id}")).json()["counts"]["succeeded"] == 2
        for job in jobs:
            bench.end(job)
        for job, connection in readers:
            text = _answer(connection).decode()
            ranges = [
                pair
                for text_of_ranges in re.findall(r'\{"finished":(\[.*\])\}', text)
                for pair in json.loads(text_of_ranges)
            ]
            indexes = sorted(index for first, last in ranges for index in range(first, last + 1))
            assert indexes == list(range(6)), job.id
            assert text.count("id: end\nevent: job\n") == 1
            assert text.rstrip().endswith("0\r\n\r\n".rstrip())  # the stream ended in order


@pytest.fixture
def broken(bench: JobBench, blobs: Path) -> str:
    """A job of 3000 results, of which the last thousand cannot be read any more."""
    job = bench.job(3000)
    for first in range(0, 3000, 500):
        bench.settle(job, range(first, first + 500), detections=[], pad="x" * 100)
    bench.duties.run_due()
    assert bench.store.get(job.id).state == "succeeded"
    (segment,) = blobs.glob(f"jobs/{job.id}/results/000002*")
    segment.unlink()
    return job.id


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "baidu"])
def test_an_answer_that_breaks_off_is_not_complete(server: Server, broken: str, form: str) -> None:
    """Whoever reads it over HTTP/1.1 gets an error and not an end, packed or not."""
    for coding in ("identity", "gzip"):
        url = _url(server, f"/v1/jobs/{broken}/results?format={form}")
        with httpx.stream("GET", url, headers={"Accept-Encoding": coding}) as response:
            assert response.status_code == 200
            with pytest.raises(httpx.RemoteProtocolError):
                list(response.iter_raw())


def test_an_older_proxy_is_told_too(server: Server, broken: str) -> None:
    """HTTP/1.0 has no end of the body but that of the connection: it is reset, not closed."""
    with _asked(server, f"/v1/jobs/{broken}/results", "1.0") as connection, pytest.raises(ConnectionResetError):
        _answer(connection)
    with _asked(server, f"/v1/jobs/{broken}/results?limit=2000", "1.0") as connection:
        assert _answer(connection).partition(b"\r\n\r\n")[2].count(b"\n") == 2000


def test_the_last_answer_is_packed_whole(server: Server, broken: str) -> None:
    """What comes through gunicorn compressed is what comes plain."""
    url = _url(server, f"/v1/jobs/{broken}/results?limit=2000&format=csv")
    plain = httpx.get(url, headers={"Accept-Encoding": "identity"})
    with httpx.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as response:
        packed = b"".join(response.iter_raw())
    assert gzip.decompress(packed) == plain.content
    assert len(packed) < len(plain.content) / 4
