"""The API in gunicorn, as it is run: what stops its start, and what does not."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest
import redis

from api.client.client import ShelflineClient
from api.client.errors import ApiError, ConnectionFailedError
from api.commands.stack.plan import free_ports
from tests.support.polling import wait_until
from tests.support.servers.redis_server import pings
from tests.support.stacks.web_server import answers
from workers.io.embedded_redis import find_server

pytestmark = pytest.mark.process

PROJECT = Path(__file__).resolve().parents[4]


def _gunicorn(folder: Path, **env: str) -> subprocess.Popen[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SHELFLINE_")}
    port, nobody = free_ports(2)
    own |= {"PORT": str(port), "REDIS_URL": f"redis://127.0.0.1:{nobody}/0", "BLOB_URL": str(folder / "blobs")}
    return subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn", "api.wsgi:app"],
        cwd=PROJECT,
        env=own | env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """The project's embedded Redis."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "workers.io.embedded_redis", "--port", str(port), "--dir", str(tmp_path / "redis")]
    process = subprocess.Popen(command, cwd=PROJECT)
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    process.wait()


@pytest.fixture
def url(redis_url: str, tmp_path: Path) -> Iterator[str]:
    """The API, on that Redis."""
    (port,) = free_ports(1)
    env = {"PORT": str(port), "REDIS_URL": redis_url, "TMPDIR": str(tmp_path)}
    env["SHELFLINE_FOLDER_ROOTS"] = str(tmp_path)
    with _ended(_gunicorn(tmp_path, **env)):
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(address))
        with ShelflineClient(address) as client:
            wait_until(lambda: client.ready()["redis"] == "ok")
        yield address


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "shelf.example"])  # noqa: S104  what it must refuse
def test_without_keys_only_this_machine_is_served(host: str, tmp_path: Path) -> None:
    """An address that others can reach stops the start with one line."""
    done = _gunicorn(tmp_path, SHELFLINE_HOST=host)

    _, said = done.communicate(timeout=180)

    assert done.returncode != 0
    assert said.startswith(f"shelfline: The API does not listen on {host}")
    assert len(said.splitlines()) == 1


def test_a_port_in_use(tmp_path: Path) -> None:
    """A port that something listens on stops the start with one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = _gunicorn(tmp_path, PORT=str(port))
        _, said = done.communicate(timeout=180)

    assert done.returncode != 0
    assert said.startswith(f"shelfline: Port {port} is in use")
    assert len(said.splitlines()) == 1


def test_a_setting_that_is_wrong(tmp_path: Path) -> None:
    """So does a setting that cannot be read."""
    done = _gunicorn(tmp_path, SHELFLINE_BATCH_ROWS="many")

    _, said = done.communicate(timeout=180)

    assert done.returncode != 0
    assert said.startswith("shelfline: SHELFLINE_BATCH_ROWS is wrong: ")


def test_it_answers_without_redis(tmp_path: Path) -> None:
    """With Redis away the API lives, is not ready, and says what to do."""
    (port,) = free_ports(1)
    with _ended(_gunicorn(tmp_path, PORT=str(port))):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(url))
        with ShelflineClient(url, patience=0) as client:
            assert client.ready()["redis"] != "ok"
            with pytest.raises(ApiError) as caught:
                client.job(f"job_{0:032x}")

    assert (caught.value.status, caught.value.code, caught.value.retryable) == (503, "store_unavailable", True)


def test_a_large_upload(url: str, tmp_path: Path) -> None:
    """Hundreds of files arrive in one request, chunked, with few files open and none in memory at either end."""
    big = tmp_path / "big.jpg"
    big.write_bytes(os.urandom(300_000))
    with ShelflineClient(url, timeout=180) as client:
        job = client.submit_files((f"sub/{number}.jpg", big) for number in range(400))

        assert job.counts.total == 400
        assert [path.stat().st_size for path in (tmp_path / "blobs").rglob("uploads/*/399")] == [300_000]
        assert client.job(job.id).state == "queued"
        assert list(client.results(job.id)) == []


def test_an_upload_that_breaks_off(url: str) -> None:
    """Half a request makes no job, and the server goes on."""
    host, port = url.removeprefix("http://").split(":")
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    part = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\nhalf'
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head + b"Content-Length: 100000\r\n\r\n" + part)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(1000)

    assert not answer.startswith(b"HTTP/1.1 202")
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_the_embedded_redis_waits_for_its_clients(tmp_path: Path) -> None:
    """Signalled with the others, it ends after them: they have work to hand back. Then its data is on disk."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "workers.io.embedded_redis", "--port", str(port), "--dir", str(tmp_path / "r")]
    for expected in (None, "kept"):
        with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL) as process:
            client = redis.Redis(port=port, decode_responses=True)
            wait_until(partial(pings, client))
            assert client.get("a") == expected
            settings = client.config_get("*")
            process.send_signal(signal.SIGTERM)
            client.set("a", "kept")
            client.close()

            assert process.wait(180) == 0
        wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}
        assert {name: settings[name] for name in wanted} == wanted
        assert settings["bind"] == "127.0.0.1"


def test_the_embedded_redis_dies_with_its_wrapper(tmp_path: Path) -> None:
    """A wrapper that is killed with -9 leaves no server behind."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "workers.io.embedded_redis", "--port", str(port), "--dir", str(tmp_path)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL) as process:
        with redis.Redis(port=port) as client:
            wait_until(lambda: pings(client))
        servers = psutil.Process(process.pid).children()
        process.kill()

    assert len(servers) == 1
    _, alive = psutil.wait_procs(servers, 30)
    assert alive == []


@pytest.mark.parametrize("what", ["port", "folder"])
def test_an_embedded_redis_that_cannot_start(tmp_path: Path, what: str) -> None:
    """One line says why."""
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1] if what == "port" else free_ports(1)[0]
        folder = tmp_path / ("file" if what == "folder" else "r")
        command = [sys.executable, "-m", "workers.io.embedded_redis", "--port", str(port), "--dir", str(folder)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("shelfline: Redis cannot run")
    assert len(done.stderr.splitlines()) == 1


def test_a_server_is_found() -> None:
    """This machine has one."""
    assert find_server().is_file()


def test_nothing_listens_there() -> None:
    """The client's line says where it looked."""
    with pytest.raises(ConnectionFailedError, match=r"Nothing answers at http://127.0.0.1:9"):
        ShelflineClient("http://127.0.0.1:9").ready()
