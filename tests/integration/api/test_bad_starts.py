"""What is set up wrong ends a process at its start: one line that says what to do, and exit status 2."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from api.plan import read_procfile
from tests.support import free_port

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
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "setting", "value", "says"),
    [
        *((name, "REDIS_URL", "nonsense", "REDIS_URL") for name in ("web", "worker", "webhooks")),
        *((name, "BLOB_URL", "{file}/blobs", "BLOB_URL") for name in ("web", "worker", "webhooks")),
        ("worker", "BLOB_URL", "nosuch://bucket/blobs", "blob_url"),
        ("webhooks", "SHELFLINE_HEARTBEAT_FILE", "{file}/beat", "heartbeat_file"),
    ],
)
def test_a_process_of_the_procfile(name: str, setting: str, value: str, says: str, tmp_path: Path) -> None:
    """A URL that is none, a folder that cannot be written, a store that nothing opens."""
    (tmp_path / "file").write_text("")
    command = ["/bin/sh", "-c", read_procfile(PROJECT / "Procfile")[name]]
    done = _run(command, tmp_path, **{setting: value.format(file=tmp_path / "file")})

    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert [says in line for line in done.stderr.splitlines()] == [True], done.stderr


def _up(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "api.cli", "up", "--var", str(folder / "var"), *options]
    return _run(command, folder, **environment)


def test_up_on_a_port_in_use(tmp_path: Path) -> None:
    """Before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = _up(tmp_path, "--models", str(tmp_path), "--port", str(taken.getsockname()[1]))

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "is in use" in done.stderr


def test_up_with_what_is_no_folder(tmp_path: Path) -> None:
    """For models, state or blobs."""
    file = tmp_path / "file"
    file.write_text("")
    for done in (
        _up(tmp_path, "--models", str(file)),
        _up(tmp_path, "--models", str(tmp_path), "--var", str(file)),
        _up(tmp_path, "--models", str(tmp_path), BLOB_URL=str(file / "blobs")),
        _up(tmp_path, "--models", str(tmp_path), SHELFLINE_MODEL="other"),
    ):
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr


@pytest.mark.slow
def test_up_with_a_model_that_cannot_be_read(tmp_path: Path) -> None:
    """The model server says what is wrong with it, and the stack ends with its status."""
    folder = tmp_path / "default" / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_text("x")
    done = _up(tmp_path, "--models", str(tmp_path))

    assert done.returncode == 2, done.stdout
    assert done.stdout.splitlines()[-1] == "Shelfline stopped: model ended by itself, see above."
