"""What is set up wrong ends a process at its start: one line that says what to do, and exit status 2."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
import redis

from api.commands import cli
from api.commands.stack.plan import read_procfile
from tests.support.in_process import run_in_process
from tests.support.machine import free_port
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.web_server import web_server

pytestmark = pytest.mark.process

PROJECT = Path(__file__).resolve().parents[3]


def _run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SHELFLINE_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), own["PATH"]])
    own.pop("REDIS_URL", None)
    own |= {"BLOB_URL": str(folder / "blobs"), "PORT": str(free_port())}
    return subprocess.run(
        command,
        cwd=PROJECT,
        env=own | {"PATH": path} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "setting", "value", "says"),
    [
        *((name, "REDIS_URL", "nonsense", "REDIS_URL") for name in ("web", "worker", "webhooks")),
        *((name, "BLOB_URL", "{file}/blobs", "BLOB_URL") for name in ("web", "worker", "webhooks")),
        ("worker", "BLOB_URL", "nosuch://bucket/blobs", "BLOB_URL"),
        ("worker", "SHELFLINE_POOL", "thread", "SHELFLINE_POOL"),
        ("worker", "SHELFLINE_CONCURRENCY", "many", "SHELFLINE_CONCURRENCY"),
        ("webhooks", "SHELFLINE_HEARTBEAT_FILE", "{file}/beat", "SHELFLINE_HEARTBEAT_FILE"),
    ],
)
def test_a_process_of_the_procfile(name: str, setting: str, value: str, says: str, tmp_path: Path) -> None:
    """A URL that is none, a folder that cannot be written, a store that nothing opens, what Celery would refuse."""
    (tmp_path / "file").write_text("")
    command = ["/bin/sh", "-c", read_procfile(PROJECT / "Procfile")[name]]
    done = _run(command, tmp_path, **{setting: value.format(file=tmp_path / "file")})

    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert [says in line for line in done.stderr.splitlines()] == [True], done.stderr


def test_a_process_whose_file_names_are_no_utf8(tmp_path: Path) -> None:
    """It says so, before it accepts a job on a folder that it could not open."""
    command = ["/bin/sh", "-c", read_procfile(PROJECT / "Procfile")["web"]]
    done = _run(command, tmp_path, LC_ALL="POSIX", PYTHONUTF8="0")
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "PYTHONUTF8" in done.stderr


@pytest.mark.parametrize("name", ["web", "worker"])
def test_a_process_of_another_blob_store(name: str, tmp_path: Path, redis_server: RedisServer) -> None:
    """The jobs of this Redis have their images elsewhere."""
    redis_server.empty()
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("sl:store-id", "another")
    command = ["/bin/sh", "-c", read_procfile(PROJECT / "Procfile")[name]]
    done = _run(command, tmp_path, REDIS_URL=redis_server.url)
    assert (done.returncode, "REDIS_URL and BLOB_URL do not belong together" in done.stderr) == (2, True), done.stderr


def test_an_api_that_may_open_few_files(tmp_path: Path, redis_server: RedisServer) -> None:
    """It warns at its start, and callers are told to come back: none gets a server error."""
    redis_server.empty()
    statuses: list[int] = []
    with web_server(redis_server.url, tmp_path / "blobs", OPEN_FILES="64") as (host, port):

        def upload() -> None:
            for _ in range(2):
                sent = {"images": ("a.jpg", b"x" * 400_000)}
                statuses.append(httpx.post(f"http://{host}:{port}/v1/jobs", files=sent, timeout=180).status_code)

        callers = [threading.Thread(target=upload) for _ in range(24)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert set(statuses) <= {202, 503}
    assert 202 in statuses
    assert "Only 64 files may be open" in (tmp_path / "web.log").read_text()


@pytest.mark.parametrize("command", ["export", "models"])
def test_a_command_of_the_exporter_where_it_is_not(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the containers of the API and the workers."""
    monkeypatch.setattr(cli, "find_spec", lambda _name: None)
    monkeypatch.setattr(sys, "argv", ["shelfline", command])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1)
    assert "The exporter is not installed here" in err


def _up(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "api.commands.cli", "up", "--var", str(folder / "var"), *options]
    return _run(command, folder, **environment)


def test_up_on_a_port_in_use(tmp_path: Path) -> None:
    """Before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = _up(tmp_path, "--models", str(tmp_path), "--port", str(taken.getsockname()[1]))

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "is in use" in done.stderr


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        (["--models", "file"], {}),
        (["--models", ".", "--var", "file"], {}),
        (["--models", "."], {"BLOB_URL": "file/blobs"}),
        (["--models", "."], {"SHELFLINE_MODEL": "other"}),
    ],
)
def test_up_with_what_is_no_folder(
    options: list[str], environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For models, state or blobs."""
    (tmp_path / "file").write_text("")
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    done = run_in_process(cli.main, "shelfline", "up", *options, folder=tmp_path)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr


def test_up_with_a_model_that_cannot_be_read(tmp_path: Path) -> None:
    """The model server says what is wrong with it, and the stack ends with its status."""
    folder = tmp_path / "default" / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_text("x")
    done = _up(tmp_path, "--models", str(tmp_path))

    assert done.returncode == 2, done.stdout
    assert done.stdout.splitlines()[-1] == "Shelfline stopped: model ended by itself, see above."
