"""Submissions of one image of 100 kB, 32 clients at once, against a bare Flask route that only stores the bytes.

All run in the same gunicorn with the same settings, one after the other in turns, and the worker is not there: what is
measured is accepting. A third server leaves out that images are synced to the disk (SHELFLINE_BLOB_SYNC=false), which
shows what that costs. `python -m tests.bench.submits [ROUNDS] [SECONDS]`.
"""

from __future__ import annotations

import http.client
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.machine import free_port
from tests.support.polling import wait_until
from tests.support.servers.redis_server import RedisServer

PROJECT = Path(__file__).resolve().parents[2]
CLIENTS = 32
IMAGE_BYTES = 100_000
BOUNDARY = "b" * 32


def main() -> None:
    """Measure in turns, and say what the ratio is."""
    rounds, seconds = (int(text) for text in (*sys.argv[1:], "5", "5")[:2])
    work = Path(tempfile.mkdtemp(prefix="shelfline-bench-"))
    redis = RedisServer(work / "redis")
    redis.folder.mkdir()
    redis.start()
    try:
        bare = _server("tests.bench.bare_route:app", {"BENCH_FOLDER": str(work / "bare")})
        env = {"REDIS_URL": redis.url, "BLOB_URL": str(work / "blobs"), "SHELFLINE_MAX_WAITING_IMAGES": "10000000"}
        unsynced = _server("api.wsgi:app", env | {"SHELFLINE_BLOB_SYNC": "false"})
        with bare as bare_port, _server("api.wsgi:app", env) as own_port, unsynced as unsynced_port:
            for port in (bare_port, own_port, unsynced_port):
                _rate(port, 1.0)
            ratios, of_syncing = [], []
            for number in range(rounds):
                bare_rate, bare_p95 = _rate(bare_port, seconds)
                own_rate, own_p95 = _rate(own_port, seconds)
                unsynced_rate, unsynced_p95 = _rate(unsynced_port, seconds)
                ratios.append(own_rate / bare_rate)
                of_syncing.append(own_rate / unsynced_rate)
                print(
                    f"{number + 1}: bare {bare_rate:.0f}/s, p95 {bare_p95:.0f} ms; "
                    f"Shelfline {own_rate:.0f}/s, p95 {own_p95:.0f} ms; ratio {ratios[-1]:.2f}; "
                    f"without syncing {unsynced_rate:.0f}/s, p95 {unsynced_p95:.0f} ms; ratio {of_syncing[-1]:.2f}"
                )
            print(f"median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
            middle, least, most = statistics.median(of_syncing), min(of_syncing), max(of_syncing)
            print(f"with syncing to without: median ratio {middle:.2f} ({least:.2f} to {most:.2f})")
    finally:
        redis.kill()
        shutil.rmtree(work)


@contextmanager
def _server(app: str, env: dict[str, str]) -> Iterator[int]:
    """An application in gunicorn as Shelfline runs it; yields its port."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn", app]
    process = subprocess.Popen(
        command, cwd=PROJECT, env=os.environ | {"PORT": str(port)} | env, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: _answers(port), 60, app)
        yield port
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        return _submit(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) == 202
    except OSError:
        return False


def _submit(connection: http.client.HTTPConnection) -> int:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = head.encode() + os.urandom(16) + bytes(IMAGE_BYTES - 16) + f"\r\n--{BOUNDARY}--\r\n".encode()
    connection.request("POST", "/v1/jobs", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
    with connection.getresponse() as answer:
        answer.read()
        return answer.status


def _rate(port: int, seconds: float) -> tuple[float, float]:
    """Requests per second and the p95 of their times in ms, of all clients together."""
    times: list[float] = []
    ends = time.monotonic() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.monotonic() < ends:
            began = time.monotonic()
            status = _submit(connection)
            assert status == 202, status
            times.append(time.monotonic() - began)
        connection.close()

    began = time.monotonic()
    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    return len(times) / (time.monotonic() - began), 1000 * statistics.quantiles(times, n=20)[18]


if __name__ == "__main__":
    main()
