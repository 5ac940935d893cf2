"""JSON bodies as large as they may be, right and hostile: the time of an answer, and the memory that it takes.

Then eight of them at once, with the longest time that `/healthz` takes beside them:
`python -m tests.bench.large_json [MEGABYTES]`.
"""

from __future__ import annotations

import base64
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.support.machine import free_port
from tests.support.polling import wait_until
from tests.support.servers.redis_server import RedisServer

PROJECT = Path(__file__).resolve().parents[2]
AT_ONCE = 8


def _filled(start: str, piece: Callable[[int], str], end: str, size: int) -> bytes:
    """Return a text that begins and ends so, and in between has numbered pieces up to a size in bytes."""
    pieces = [start]
    length = number = 0
    while length < size:
        pieces.append(piece(number))
        length += len(pieces[-1].encode())
        number += 1
    return ("".join(pieces) + end).encode()


def bodies(size: int) -> Mapping[str, bytes]:
    """Return bodies of about `size` bytes by what they are."""
    image = base64.b64encode(bytes(size * 3 // 4 - 100)).decode()
    small = base64.b64encode(bytes(300_000)).decode()
    escaped = "\\u0041" * 200_000
    return {
        "one image": f'{{"items":[{{"image":"{image}"}}]}}'.encode(),
        "many images": _filled('{"items":[', lambda n: f'{{"image":"{small}","custom_id":"{n}"}},', "null]}", size),
        "ones": _filled('{"items":[', lambda _: "1," * 10_000, "1]}", size),
        "names": _filled("{", lambda n: f'"n{n}":1,', '"x":1}', size),
        "names, few but long": _filled("{", lambda n: f'"{n}{"n" * 100_000}":1,', '"x":1}', size),
        "wrong items": _filled('{"items":[', lambda n: f'{{"custom_id":"{n}{"x" * 600}"}},', "{}]}", size),
        "texts": _filled('{"include":[', lambda n: f'"{n}{"x" * 160}",', '""]}', size),
        "texts with an emoji": _filled('{"include":["\U0001f600",', lambda n: f'"{n}{"x" * 50_000}",', '""]}', size),
        "one text with an emoji": _filled('{"folder":"\U0001f600', lambda _: "x" * 100_000, '"}', size),
        "escapes": _filled('{"folder":"', lambda _: escaped, '"}', size),
        "short escapes": _filled('{"include":[', lambda _: f'"{escaped[:60_000]}",', '""]}', size),
        "escaped quotes": _filled('{"folder":"', lambda _: '\\"' * 100_000, '"}', size),
        "quotes": _filled("{", lambda _: '"' * 100_000, "}", size),
        "brackets": _filled('{"a":', lambda _: "[" * 100_000, "}", size),
        "digits": _filled('{"seed":', lambda _: "1" * 100_000, "}", size),
        "a fraction": _filled('{"seed":0.', lambda _: "1" * 100_000, "}", size),
        "spaces": _filled("{", lambda _: " " * 100_000, "}", size),
    }


def main() -> None:
    """Measure, and print the figures."""
    size = int(sys.argv[1] if len(sys.argv) > 1 else "63") * 1_000_000
    work = Path(tempfile.mkdtemp(prefix="shelfline-bench-"))
    redis = RedisServer(work / "redis")
    redis.folder.mkdir()
    redis.start()
    port = free_port()
    env = {"PORT": str(port), "REDIS_URL": redis.url, "BLOB_URL": str(work / "blobs")}
    command = [sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn", "api.wsgi:app"]
    server = subprocess.Popen(command, cwd=PROJECT, env=os.environ | env, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _get(port) is not None, 60, "the API")
        (process,) = (int(pid) for pid in _children(server.pid))
        for name, body in bodies(size).items():
            before = _memory(process, "VmRSS")
            Path(f"/proc/{process}/clear_refs").write_text("5")
            began, worked = time.monotonic(), _processor_seconds(process)
            status = _post(port, body)
            seconds, worked = time.monotonic() - began, _processor_seconds(process) - worked
            peak = _memory(process, "VmHWM") - before
            slowest, answered = _beside(port, body)
            memory = max(0, peak) / len(body)
            print(
                f"{name}: {status} after {seconds:.2f} s ({worked:.2f} s of processor), {memory:.1f} times its size; "
                f"{AT_ONCE} at once: {answered:.1f} s, /healthz at most {slowest * 1000:.0f} ms",
                flush=True,
            )
    finally:
        server.terminate()
        server.wait()
        redis.kill()
        shutil.rmtree(work)


def _beside(port: int, body: bytes) -> tuple[float, float]:
    """Send a body several times at once; return the longest time of `/healthz`, and the time until all are answered."""
    began = time.monotonic()
    senders = [threading.Thread(target=_post, args=(port, body)) for _ in range(AT_ONCE)]
    for sender in senders:
        sender.start()
    slowest = 0.0
    while any(sender.is_alive() for sender in senders):
        slowest = max(slowest, _get(port) or 60.0)
        time.sleep(0.05)
    return slowest, time.monotonic() - began


def _post(port: int, body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    with suppress(OSError):  # refused before all of it was sent
        connection.request("POST", "/v1/jobs", body, {"Content-Type": "application/json"})
    try:
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _get(port: int) -> float | None:
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/healthz")
        connection.getresponse().read()
    except OSError:
        return None
    finally:
        connection.close()
    return time.monotonic() - began


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


if __name__ == "__main__":
    main()
