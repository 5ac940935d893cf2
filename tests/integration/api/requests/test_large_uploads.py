"""Uploads that are larger than what a web process should ever hold in memory, to the API in gunicorn."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import pytest

from tests.support.machine import free_port
from tests.support.polling import wait_until
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.web_server import answers
from workers.settings import Settings

pytestmark = pytest.mark.process

PROJECT = Path(__file__).resolve().parents[4]
MEGABYTES = 240  # in files of 40 MB
MOST_GROWTH = 40_000_000  # bytes of memory; the upload has six times as many
FILES = MEGABYTES // 40
BOUNDARY = "b0undary"
PIECE = bytes(1 << 20)


class Web(NamedTuple):
    """The API and the process that answers."""

    url: str
    process: psutil.Process

    def peak(self) -> int:
        """The most memory that it ever had, in bytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.fixture
def web(settings: Settings, redis_server: RedisServer, tmp_path: Path) -> Iterator[Web]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    own = {name: value for name, value in os.environ.items() if not name.startswith("SHELFLINE_")}
    env = {"PORT": str(port), "REDIS_URL": redis_server.url, "BLOB_URL": settings.blob_url, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn", "api.wsgi:app"]
    with subprocess.Popen(command, cwd=PROJECT, env=own | env, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: answers(url), what="the API")
        (worker,) = psutil.Process(process.pid).children()
        yield Web(url, worker)
        process.terminate()


def _form() -> Iterator[bytes]:
    for number in range(FILES):
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{number}.jpg"\r\n\r\n'
        yield head.encode()
        yield from [PIECE] * 40
        yield b"\r\n"
    yield f"--{BOUNDARY}--\r\n".encode()


def _zip(path: Path) -> Iterator[bytes]:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number in range(FILES):
            with archive.open(f"{number}.jpg", "w", force_zip64=True) as entry:
                for _ in range(40):
                    entry.write(PIECE)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece


@pytest.mark.parametrize("kind", ["form", "zip"])
def test_an_upload_never_stands_in_memory(web: Web, tmp_path: Path, kind: str) -> None:
    """It goes to the disk as it comes, and from there to the blob store, however large it is."""
    before = web.peak()
    if kind == "form":
        body, media_type = _form(), f"multipart/form-data; boundary={BOUNDARY}"
    else:
        body, media_type = _zip(tmp_path / "photos.zip"), "application/zip"

    answer = httpx.post(f"{web.url}/v1/jobs", content=body, headers={"Content-Type": media_type}, timeout=300)

    assert (answer.status_code, answer.json()["counts"]["total"]) == (202, FILES)
    assert web.peak() - before < MOST_GROWTH
    stored = [path.stat().st_size for path in (tmp_path / "blobs").rglob("uploads/*/*") if path.is_file()]
    assert stored == [40 * (1 << 20)] * FILES


def test_many_thousands_of_files_in_one_upload(web: Web) -> None:
    """Neither a file nor a megabyte of memory for each."""
    parts = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{n}.jpg"\r\n\r\nx\r\n'.encode()
        for n in range(3_000)
    )
    before = web.peak()

    answer = httpx.post(
        f"{web.url}/v1/jobs",
        content=parts + f"--{BOUNDARY}--\r\n".encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
        timeout=300,
    )

    assert (answer.status_code, answer.json()["counts"]["total"]) == (202, 3_000)
    assert web.peak() - before < MOST_GROWTH
    assert web.process.num_fds() < 200
