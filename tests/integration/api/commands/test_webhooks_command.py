"""`shelfline webhooks`: endpoints are looked after; `listen` prints what arrives, and whether it is signed right."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from api.client.errors import ApiError
from api.commands.cli import app
from api.commands.errors import UsageError
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.web_server import web_server
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.jobs.webhook import new_secret
from workers.settings import Settings
from workers.webhooks.dispatch import Dispatcher
from workers.webhooks.outbox import Outbox
from workers.webhooks.sender import Sender, signed_headers

pytestmark = pytest.mark.process

SECRET = new_secret()
COMMAND = [sys.executable, "-m", "api.commands.cli", "webhooks", "listen", "--port", "0"]


@pytest.fixture
def listener() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [*COMMAND, "--secret", SECRET], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stderr is not None
    assert process.stdout is not None
    yield process.stderr.readline().split()[-1], process
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()


def test_what_arrives_is_verified(listener: tuple[str, subprocess.Popen[str]]) -> None:
    """The right secret, a wrong one, none: only the first is answered 200."""
    url, process = listener
    body = '{"type":"job.finished"}'
    statuses = []
    for secrets in ([SECRET], [new_secret()], [], [new_secret(), SECRET]):
        headers = signed_headers("msg_1", body, secrets, time.time())
        statuses.append(httpx.post(url, content=body, headers=headers, trust_env=False).status_code)
    junk = httpx.post(url, content=b"\xff\x00", headers={"webhook-id": "msg_2"}, trust_env=False)

    assert [*statuses, junk.status_code] == [200, 401, 401, 200, 401]
    process.terminate()
    assert process.stdout is not None
    said = process.stdout.read()
    assert said.count("msg_1 verified\n") == 2
    assert said.count("NOT VERIFIED") == 3
    assert '"type": "job.finished"' in said


def test_a_secret_that_is_none() -> None:
    """One line, exit status 2, and it is not shown."""
    done = subprocess.run([*COMMAND, "--secret", "hunter2"], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("Error: --secret")
    assert "hunter2" not in done.stderr


@pytest.fixture
def api_url(redis_server: RedisServer, settings: Settings, tmp_path: Path) -> Iterator[str]:
    assert settings.redis_url == redis_server.url  # which is empty
    private = {"SHELFLINE_WEBHOOK_PRIVATE_HOSTS": "127.0.0.1"}
    with web_server(redis_server.url, tmp_path / "blobs", **private) as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture
def sender(settings: Settings, link: RedisLink, listener: tuple[str, subprocess.Popen[str]]) -> Iterator[None]:
    """A sender that may reach the listener."""
    host = listener[0].removeprefix("http://").rstrip("/")
    mine = settings.model_copy(update={"webhook_private_hosts": frozenset((host,)), "webhook_retries": (0.1,)})
    outbox = Outbox(link, mine)
    dispatcher = Dispatcher(outbox, Sender(link, BlobStore(mine.blob_url), outbox, mine).attempt, mine)
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(0.05):
            dispatcher.run()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    ended.set()
    thread.join()
    dispatcher.close()


@pytest.mark.usefixtures("sender")
def test_endpoints_are_looked_after(api_url: str, listener: tuple[str, subprocess.Popen[str]]) -> None:
    """Made with a secret or without one, listed, tried out, deleted; a secret is shown once."""

    def shelfline(*arguments: str) -> tuple[int, str]:
        run = CliRunner().invoke(app, ["webhooks", *arguments, "--url", api_url], catch_exceptions=False)
        return run.exit_code, run.stdout

    events = ["--event", "job.started", "--event", "job.finished"]
    good = json.loads(shelfline("create", listener[0], *events, "--secret", SECRET)[1])
    other = json.loads(shelfline("create", listener[0], "--format", "baidu")[1])
    assert (good["secret"], good["events"]) == (SECRET, ["job.started", "job.finished"])
    assert (other["secret"][:6], other["events"], other["format"]) == ("whsec_", ["item.finished"], "baidu")

    status, table = shelfline("list")
    assert status == 0
    assert [line.split()[0] for line in table.splitlines()] == ["webhook", good["id"], other["id"]]
    assert SECRET not in table
    status, said = shelfline("test", good["id"])
    assert (status, said.startswith("Delivered in"), "200" in said) == (0, True, True)
    status, said = shelfline("test", other["id"])  # the listener knows another secret
    assert (status, "401" in said) == (1, True)

    for webhook in (good, other):
        assert shelfline("delete", webhook["id"]) == (0, "")
    assert len(shelfline("list")[1].splitlines()) == 1
    with pytest.raises(ApiError, match=good["id"]):
        shelfline("test", good["id"])
    with pytest.raises(ApiError, match="url"):
        shelfline("create", "ftp://shop.example/")
    with pytest.raises(UsageError, match="--secret"):
        shelfline("create", listener[0], "--secret", "hunter2")


def test_nobody_sends(api_url: str, listener: tuple[str, subprocess.Popen[str]]) -> None:
    """A test whose event nobody sends is given up, not waited for for ever."""
    run = CliRunner()
    made = json.loads(run.invoke(app, ["webhooks", "create", listener[0], "--url", api_url]).stdout)
    done = run.invoke(app, ["webhooks", "test", made["id"], "--wait", "0.3", "--url", api_url])

    assert (done.exit_code, done.stdout.startswith("It was not attempted within 0.3 s")) == (1, True)
