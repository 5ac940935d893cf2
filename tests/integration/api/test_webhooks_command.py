"""`shelfline webhooks listen` prints what arrives, and says whether it is signed right."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from workers.webhooks.hooks import new_secret
from workers.webhooks.signing import signed_headers

SECRET = new_secret()
COMMAND = [sys.executable, "-m", "api.cli", "webhooks", "listen", "--port", "0"]


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
        headers = signed_headers("msg_1", body, secrets)
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
