"""Keys as they are used: made, listed and revoked on the command line, asked for by gunicorn, in no log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from api.client.client import ShelflineClient
from api.client.errors import ApiError
from api.commands.cli import main
from api.commands.stack.state import StackRecord, StackState
from tests.support.machine import free_port
from tests.support.polling import wait_until
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.web_server import answers, sent_raw
from workers.io.redis_link import RedisLink
from workers.store.api_keys import KeyStore, new_secret
from workers.telemetry.masking import mask_keys

PROJECT = Path(__file__).resolve().parents[4]
ADMIN = "sl_" + "0f" * 16
# More than anyone should log: what is masked here is masked anywhere.
LOGGED = ["--access-logfile", "-", "--access-logformat", "%(r)s %({Authorization}i)s %(q)s", "--log-level", "debug"]


def _env(**env: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("SHELFLINE_", "REDIS_", "BLOB_"))}
    return own | env


@dataclass
class Server:
    """The API in gunicorn, which writes a log."""

    url: str
    log: Path
    env: dict[str, str]

    def keys(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command beside it."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "api.commands.cli", "keys", *arguments],
            cwd=self.log.parent,
            env=_env(PYTHONPATH=str(PROJECT), REDIS_URL=self.env["REDIS_URL"]),
            capture_output=True,
            text=True,
            check=False,
        )

    def status(self, key: str, path: str = "/v1/models") -> int:
        return httpx.get(self.url + path, headers={"Authorization": f"Bearer {key}"}).status_code


@pytest.fixture(scope="module")
def server(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The API, asking for keys."""
    tmp_path = tmp_path_factory.mktemp("keys")
    port, log = free_port(), tmp_path / "log"
    env = {"PORT": str(port), "REDIS_URL": redis_server.url, "BLOB_URL": str(tmp_path / "blobs")}
    env |= {"SHELFLINE_ADMIN_KEY": ADMIN, "SHELFLINE_FOLDER_ROOTS": str(tmp_path)}
    command = [sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn", *LOGGED, "api.wsgi:app"]
    with log.open("wb") as out, subprocess.Popen(command, cwd=PROJECT, env=_env(**env), stdout=out, stderr=out) as run:
        started = Server(f"http://127.0.0.1:{port}", log, env)
        try:
            wait_until(lambda: answers(started.url), what="the API")
            yield started
        finally:
            run.terminate()


@dataclass
class Shell:
    """Runs commands in this process: starting one takes a second."""

    patch: pytest.MonkeyPatch
    printed: pytest.CaptureFixture[str]

    def run(self, *arguments: str, **env: str) -> tuple[int, str, str]:
        """The exit status, stdout and stderr of `shelfline`."""
        with self.patch.context() as patch:
            for name in [name for name in os.environ if name.startswith(("SHELFLINE_", "REDIS_"))]:
                patch.delenv(name)
            for name, value in env.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["shelfline", *arguments])
            patch.setattr(signal, "signal", lambda *_: None)
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = self.printed.readouterr()
        return int(ended.value.code or 0), out, err


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


def test_the_life_of_a_key(server: Server, shell: Shell) -> None:
    """Made, used at once, listed without itself, revoked: then it lets nobody in, within seconds."""
    made = server.keys(
        "create", "robot", "--owner", "shop", "--scope", "read", "--rate", "500/second", "--expires", "1d"
    )
    key = made.stdout.strip()
    shown_id = re.search(r"key_[0-9a-f]{12}", made.stderr)
    assert shown_id is not None
    key_id = shown_id[0]

    assert (made.returncode, re.fullmatch(r"sl_[0-9a-f]{32}", key) is not None) == (0, True)
    assert (server.status(key), server.status(ADMIN), server.status(new_secret())) == (200, 200, 401)
    refused = httpx.post(f"{server.url}/v1/jobs", json={"folder": "/"}, headers={"Authorization": f"Bearer {key}"})
    assert refused.status_code == 403
    redis = {"REDIS_URL": server.env["REDIS_URL"]}
    listed = shell.run("keys", "list", **redis)[1]
    assert re.search(rf"{key_id} +robot +shop +read +active +rate=500/second", listed)
    assert key not in listed + made.stderr

    assert shell.run("keys", "revoke", key_id, **redis)[:2] == (0, f"{key_id} (robot) is revoked.\n")
    wait_until(lambda: server.status(key) == 401, what="the end of the key")
    assert server.status(ADMIN) == 200
    assert "revoked" in shell.run("keys", "list", **redis)[1]
    assert shell.run("keys", "revoke", key_id, **redis)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create", "a:b"], "name: "),
        (["create", "a", "--owner", ""], "owner: "),
        (["create", "a", "--rate", "fast"], "rate: 'fast' is not a rate"),
        (["create", "a", "--expires", "soon"], "--expires 'soon' is not a time"),
        (["create", "a", "--scope", "all"], "'all' is not one of"),
        (["create", "a", "--concurrency", "0"], "--concurrency"),
        (["revoke", "key_000000000000"], "There is no key 'key_000000000000'"),
    ],
)
def test_commands_that_cannot_be(shell: Shell, redis_server: RedisServer, arguments: list[str], said: str) -> None:
    """Exit status 2, and what to write instead."""
    status, out, err = shell.run("keys", *arguments, REDIS_URL=redis_server.url)

    assert (status, out) == (2, "")
    assert said in re.sub(r"[\s│]+", " ", err)


def test_which_redis(shell: Shell, redis_server: RedisServer, link: RedisLink, tmp_path: Path) -> None:
    """That of the environment, else that of the stack which runs here; a command's own stack keeps no keys."""
    var = str(tmp_path / "var")
    status, _, err = shell.run("keys", "list", SHELFLINE_VAR=var)
    assert (status, len(err.splitlines()), "REDIS_URL" in err) == (2, 1, True)
    assert shell.run("keys", "create", "a", REDIS_URL="redis://127.0.0.1:9/0")[:2] == (2, "")

    state = StackState(Path(var))
    with state.owned():
        state.write(StackRecord("http://127.0.0.1:9", os.getpid(), None, {"redis_url": redis_server.url}))
        assert shell.run("keys", "create", "a", SHELFLINE_VAR=var)[0] == 0
        assert [key.name for key in KeyStore(link).all()] == ["a"]
        state.write(StackRecord("http://127.0.0.1:9", os.getpid(), "log", {"redis_url": redis_server.url}))
        assert shell.run("keys", "create", "b", SHELFLINE_VAR=var)[0] == 2


def test_commands_send_the_key_of_the_environment(shell: Shell, server: Server) -> None:
    """And show what the API says where there is none, or a wrong one."""
    show = ("show", f"job_{0:032x}", "--url", server.url)

    missing = shell.run(*show)[2]
    assert ("requires a key" in missing, "--key or SHELFLINE_API_KEY" in missing) == (True, True)
    assert "is unknown" in shell.run(*show, SHELFLINE_API_KEY=new_secret())[2]
    assert "There is no job" in shell.run(*show, SHELFLINE_API_KEY=ADMIN)[2]


def test_the_client_sends_its_key(server: Server) -> None:
    """In every request."""
    with ShelflineClient(server.url, key=ADMIN) as client, pytest.raises(ApiError) as caught:
        client.job(f"job_{0:032x}")
    assert caught.value.code == "job_not_found"
    assert ADMIN not in repr(client) + str(caught.value)


def test_one_request_after_the_other(server: Server) -> None:
    """A caller that waits for each answer has one request under way, whatever it asks and on whichever connection."""
    key = server.keys("create", "robot", "--concurrency", "1").stdout.strip()
    headers = {"Authorization": f"Bearer {key}"}
    job = f"/v1/jobs/job_{0:032x}"
    with httpx.Client(base_url=server.url, headers=headers) as kept:
        for send in (kept.request, lambda verb, path: httpx.request(verb, server.url + path, headers=headers)):
            statuses = [
                send(verb, path).status_code
                for _ in range(3)
                for verb, path in (("GET", "/v1/models"), ("HEAD", "/v1/jobs"), ("DELETE", job), ("OPTIONS", job))
            ]
            assert statuses == [200, 200, 404, 204] * 3


def test_no_log_holds_a_key(server: Server) -> None:
    """Wherever it was sent, right or wrong, also in what is no HTTP; with the access log on, and everything logged."""
    right, wrong = server.keys("create", "robot").stdout.strip(), new_secret()
    for key in (right, wrong, ADMIN):
        for path in (f"/v1/jobs/{key}", f"/v1/jobs?{key}={key}", f"/{key}", f"/v1/models/{key}?key={key}"):
            server.status(key, path)
        headers = {"Authorization": f"Bearer {key}", "X-Request-ID": key}
        assert key not in str(httpx.get(f"{server.url}/v1/models", headers=headers).headers)
        answers = httpx.post(f"{server.url}/v1/jobs", json={"folder": f"/{key}", key: 1}, headers=headers).text
        lines = (f"GET /{key} HTTP/9.9\r\n\r\n", f"{key} / HTTP/1.1\r\n\r\n", f"GET / HTTP/1.1\r\n{key} : x\r\n\r\n")
        for line in (*lines, f"POST / HTTP/1.1\r\nContent-Length: {key}\r\n\r\n"):
            answers += sent_raw(server.url, line)
        assert key not in answers

    log = server.log.read_text(errors="replace")
    assert "GET /v1/jobs/sl_***" in log
    assert "Bearer sl_***" in log
    assert [key for key in (right, wrong, ADMIN) if key in log] == []
    assert mask_keys(log) == log


def test_no_line_of_the_api_itself_holds_a_key() -> None:
    """Whoever logs it, and also within the trace of an exception."""
    script = (
        "import api.wsgi, structlog\n"
        f"try: raise ValueError('{ADMIN}')\n"
        f"except ValueError as error: structlog.get_logger().error('{ADMIN}', at='/{ADMIN}', exc_info=error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, env=_env(), capture_output=True, text=True, check=True
    )

    assert done.stderr.count("sl_***") >= 3
    assert ADMIN not in done.stderr


def test_the_api_logs_as_the_workers_do() -> None:
    """In the same form, and no more than the setting asks for."""
    script = "import api.wsgi, structlog; log = structlog.get_logger(); log.info('low'); log.error('high', of='a job')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        env=_env(SHELFLINE_LOG_LEVEL="ERROR"),
        capture_output=True,
        text=True,
        check=True,
    )

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\S+Z \[error +\] high +of='a job'\n", done.stderr)
