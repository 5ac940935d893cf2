"""Bytes that are no request, sent to gunicorn itself: each is answered with a problem, and none ends it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.commands.stack.plan import free_ports
from api.http.waiting import THREADS
from tests.support.polling import wait_until
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.web_server import answers

PROJECT = Path(__file__).resolve().parents[4]
GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SLOW_SECONDS = 1.0

Server = tuple[str, int]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wire") / "log"


@pytest.fixture(scope="module")
def server(redis_server: RedisServer, log: Path) -> Iterator[Server]:
    """The API as it is run, with little patience."""
    redis_server.empty()
    (port,) = free_ports(1)
    own = {name: value for name, value in os.environ.items() if not name.startswith("SHELFLINE_")}
    env = own | {"PORT": str(port), "REDIS_URL": redis_server.url, "BLOB_URL": str(log.parent / "blobs")}
    env |= {"SHELFLINE_SLOW_CLIENT_SECONDS": str(SLOW_SECONDS), "SHELFLINE_MAX_JSON_BYTES": "100000"}
    command = [sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn", "api.wsgi:app"]
    with log.open("wb") as out, subprocess.Popen(command, cwd=PROJECT, env=env, stdout=out, stderr=out) as process:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}"))
        yield "127.0.0.1", port
        process.terminate()


def _sent(server: Server, *pieces: bytes, pause: float = 0.0) -> tuple[int, dict[str, str], bytes]:
    """Send bytes; the status, headers and body of the answer, whose end is the connection's."""
    with socket.create_connection(server, timeout=180) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        received = b""
        while data := connection.recv(65536):
            received += data
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    return (
        int(first.split(" ")[1]),
        {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)},
        body,
    )


def _problem(server: Server, *pieces: bytes, pause: float = 0.0) -> dict[str, Any]:
    status, headers, body = _sent(server, *pieces, pause=pause)
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["connection"] == "close"
    assert int(headers["content-length"]) == len(body)
    problem: dict[str, Any] = json.loads(body)
    assert (problem["status"], problem["request_id"]) == (status, headers["x-request-id"])
    return problem


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET\r\n\r\n", 400, "invalid_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "invalid_request"),
        (b"get /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_request"),
        (b"GET /healthz HTTP/9.9\r\nHost: a\r\n\r\n", 400, "invalid_request"),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_request"),
        (b"GET /healthz HTTP/1.1\nHost: a\n\n", 400, "invalid_request"),
        (b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", 400, "invalid_request"),
        (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "url_too_long"),
        (b"GET /v1/jobs?model=" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "url_too_long"),
        (GET + b"X: " + b"a" * 10_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (GET + b"".join(b"X%d: a\r\n" % number for number in range(200)) + b"\r\n", 431, "headers_too_large"),
        (GET + b"Host: b\r\n\r\n", 400, "invalid_request"),
        (GET + b"X: a\r\n b\r\n\r\n", 400, "invalid_request"),
        (GET + b"X: a\0b\r\n\r\n", 400, "invalid_request"),
        (GET + b"No colon\r\n\r\n", 400, "invalid_request"),
        (GET + b"X y: a\r\n\r\n", 400, "invalid_request"),
        (GET + b"Expect: wonders\r\n\r\n", 417, "expectation_failed"),
        (POST + b"Transfer-Encoding: mine\r\n\r\n", 501, "unsupported_transfer_coding"),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 400, "invalid_request"),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400, "invalid_request"),
        (POST + b"Content-Length: -1\r\n\r\n", 400, "invalid_request"),
        (POST + b"Content-Length: +5\r\n\r\n", 400, "invalid_request"),
        (POST + b"Content-Length: 5_0\r\n\r\n", 400, "invalid_request"),
        (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde", 400, "invalid_request"),
        (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400, "invalid_request"),
        (POST + b"Content-Length: 99999999999999999999\r\n\r\nabc", 413, "request_too_large"),
        (CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n", 400, "invalid_request"),
        (CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n", 400, "invalid_request"),
        (CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", 400, "invalid_request"),
        (CHUNKED + b"3;=\r\nabc\r\n0\r\n\r\n", 400, "invalid_request"),
        (CHUNKED + b"20000\r\n" + b"a" * 0x20000 + b"\r\n0\r\n\r\n", 413, "request_too_large"),
        (b"GET /v1/jobs/%zz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 400, "invalid_request"),
        (b"GET /v1/jobs/%ff HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 400, "invalid_request"),
        (b"GET /v1/jobs/%00 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 400, "invalid_request"),
        (b"GET /v1/jobs/a?wait=%f HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 400, "invalid_request"),
        (b"GET /v1/jobs/a HTTP/1.0\r\n\r\n", 404, "job_not_found"),
        (b"TRACE /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 405, "method_not_allowed"),
        (b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404, "not_found"),
    ],
)
def test_what_is_no_request_is_a_problem(server: Server, sent: bytes, status: int, code: str) -> None:
    """Also where gunicorn answers before the application sees anything."""
    problem = _problem(server, sent)
    assert (problem["status"], problem["code"]) == (status, code)


def test_a_head_is_answered_without_a_body(server: Server) -> None:
    """Also when it is refused."""
    status, headers, body = _sent(server, b"HEAD /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: mine\r\n\r\n")
    assert (status, body) == (501, b"") or (status, json.loads(body)["code"]) == (501, "unsupported_transfer_coding")
    assert headers["content-type"] == "application/problem+json"


def test_neither_answer_nor_log_repeats_a_secret(server: Server, log: Path) -> None:
    """A header that is broken may be the one with the key."""
    problem = _problem(server, GET + b"Authorization Bearer sl_secret\r\n\r\n")
    assert "sl_secret" not in json.dumps(problem)
    assert "sl_secret" not in log.read_text()
    assert problem["request_id"] in log.read_text()


def test_no_header_moves_the_api(server: Server) -> None:
    """A header named like a variable of the gateway is left out."""
    sent = GET + b"SCRIPT_NAME: /elsewhere\r\nPATH_INFO: /nowhere\r\nConnection: close\r\n\r\n"
    assert _sent(server, sent)[0] == 200


def test_an_upload_that_is_too_long_gets_its_answer(server: Server) -> None:
    """The answer arrives though the body was not read."""
    answer = httpx.post(
        f"http://{server[0]}:{server[1]}/v1/jobs",
        content=b"x" * 3_000_000,
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")


def test_a_slow_head_is_given_up(server: Server) -> None:
    """However little comes at a time, the whole must be there in time."""
    problem = _problem(server, b"GET /healthz HTTP/1.1\r\nHost:", *[b" "] * 4, pause=SLOW_SECONDS / 3)
    assert (problem["status"], problem["code"], problem["retryable"]) == (408, "request_timeout", True)


@pytest.mark.parametrize("head", [POST + b"Content-Length: 1000\r\n\r\n", CHUNKED + b"3e8\r\n"])
def test_a_slow_body_is_given_up(server: Server, head: bytes) -> None:
    """A body that stalls holds its thread no longer than the setting says."""
    problem = _problem(server, head, b"{")
    assert (problem["status"], problem["code"]) == (408, "request_timeout")


def test_silent_and_slow_clients_keep_nobody_out(server: Server) -> None:
    """With more of them than there are threads, a request is still answered."""
    held = [socket.create_connection(server) for _ in range(THREADS + 100)]
    try:
        for connection in held[: THREADS + 8]:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
        answer = httpx.get(f"http://{server[0]}:{server[1]}/healthz", timeout=180)
        assert answer.status_code == 200
    finally:
        for connection in held:
            connection.close()


def test_a_client_that_does_not_read_is_given_up(server: Server, log: Path) -> None:
    """The server goes on, and says so in one line, without a call stack."""
    with socket.create_connection(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 8)
        wait_until(lambda: "answer given up" in log.read_text())
    assert "Traceback" not in log.read_text()
    assert httpx.get(f"http://{server[0]}:{server[1]}/healthz").status_code == 200
