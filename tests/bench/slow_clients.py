"""Healthy requests beside clients that are slow: 1000 heads and 300 bodies that hardly come on.

Each slow client sends a few bytes a second, and connects again when it is cut off. What is measured is the 95th
percentile of the time of healthy requests, each on a connection of its own, before and during that:
`python -m tests.bench.slow_clients [SECONDS] [HEADS] [BODIES]`.
"""

from __future__ import annotations

import http.client
import multiprocessing
import os
import resource
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.support.machine import free_port
from tests.support.polling import wait_until
from tests.support.servers.redis_server import RedisServer

PROJECT = Path(__file__).resolve().parents[2]
PATHS = ("/healthz", "/v1/models")
HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
BODY = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
BODY_BYTES = (1000, 200_000)  # small ones, and large ones of which a server may read the start


def main() -> None:
    """Measure, and print the figures."""
    seconds, heads, bodies = (int(text) for text in (*sys.argv[1:], *("20", "1000", "300")[len(sys.argv) - 1 :]))
    work = Path(tempfile.mkdtemp(prefix="shelfline-bench-"))
    redis = RedisServer(work / "redis")
    redis.folder.mkdir()
    redis.start()
    port = free_port()
    env = {"PORT": str(port), "REDIS_URL": redis.url, "BLOB_URL": str(work / "blobs")}
    command = [sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn", "api.wsgi:app"]
    server = subprocess.Popen(command, cwd=PROJECT, env=os.environ | env, stderr=subprocess.DEVNULL)
    attack = multiprocessing.Process(target=be_slow, args=(port, heads, bodies), daemon=True)
    try:
        wait_until(lambda: _seconds(port, PATHS[0]) is not None, 60, "the API")
        idle = _measured(port, seconds)
        attack.start()
        time.sleep(3)
        beside = _measured(port, seconds)
        for path in PATHS:
            print(
                f"{path}: p95 {_p95(idle[path]):.0f} ms idle, {_p95(beside[path]):.0f} ms beside slow clients; "
                f"{beside[path].count(None)} of {len(beside[path])} without an answer"
            )
    finally:
        attack.kill()
        server.terminate()
        server.wait()
        redis.kill()
        shutil.rmtree(work)


def be_slow(port: int, heads: int, bodies: int) -> None:
    """Hold so many connections for ever: each sends a little every second, and connects again when it is closed."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, 65_536), files))
    poll = selectors.DefaultSelector()
    starts = [HEAD] * heads + [BODY % BODY_BYTES[number % len(BODY_BYTES)] for number in range(bodies)]
    held: dict[socket.socket, bytes] = {}

    def connect(start: bytes) -> None:
        connection = socket.create_connection(("127.0.0.1", port), 10)
        connection.sendall(start)
        connection.setblocking(False)
        poll.register(connection, selectors.EVENT_READ)
        held[connection] = start

    for start in starts:
        connect(start)
    while True:
        ends = time.monotonic() + 1
        while (left := ends - time.monotonic()) > 0:
            for key, _ in poll.select(left):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                try:
                    if connection.recv(65_536):
                        continue
                except OSError:
                    pass
                poll.unregister(connection)
                connection.close()
                connect(held.pop(connection))
        for connection, start in held.items():
            try:
                connection.send(b"X: a\r\n" if start == HEAD else b" ")
            except OSError:
                continue


def _measured(port: int, seconds: float) -> dict[str, list[float | None]]:
    """Return the milliseconds of each request, None for one without an answer, from one client for each path."""
    times: dict[str, list[float | None]] = {path: [] for path in PATHS}
    ends = time.monotonic() + seconds

    def ask(path: str) -> None:
        while time.monotonic() < ends:
            times[path].append(_seconds(port, path))
            time.sleep(0.05)

    clients = [threading.Thread(target=ask, args=(path,)) for path in PATHS]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return times


def _seconds(port: int, path: str) -> float | None:
    began = time.monotonic()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        connection.close()
    except OSError:
        return None
    return (time.monotonic() - began) * 1000 if response.status == 200 else None


def _p95(times: list[float | None]) -> float:
    return statistics.quantiles([5000.0 if time is None else time for time in times], n=20)[-1]


if __name__ == "__main__":
    main()
