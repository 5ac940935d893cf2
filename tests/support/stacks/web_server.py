"""The API in gunicorn, as it is run, on a Redis and a blob store that a test can reach into."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.machine import free_port
from tests.support.polling import wait_until

PROJECT = Path(__file__).resolve().parents[3]


@contextmanager
def web_server(redis_url: str, blobs: Path, **env: str) -> Iterator[tuple[str, int]]:
    """Run the API; yields its host and port, and afterwards what it left in its log is in `blobs`' folder.

    With `OPEN_FILES` among the variables it may have only so many files open.
    """
    port = free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("SHELFLINE_")}
    own |= {"PORT": str(port), "REDIS_URL": redis_url, "BLOB_URL": str(blobs)}
    command = [sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn", "api.wsgi:app"]
    if "OPEN_FILES" in env:
        command = ["/bin/sh", "-c", 'ulimit -n "$OPEN_FILES"; exec "$@"', "sh", *command]
    with (blobs.parent / "web.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=PROJECT, env=own | env, stdout=log, stderr=log)
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}"), what="the API")
            yield "127.0.0.1", port
        finally:
            process.terminate()
            process.wait(180)


def answers(url: str) -> bool:
    """Whether an API is there."""
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def sent_raw(url: str, text: str) -> str:
    """Send a text as it is; what came back before the connection's end."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=180) as connection:
        connection.sendall(text.encode())
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(10_000):
            answer += piece
    return answer.decode(errors="replace")
