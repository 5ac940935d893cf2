"""Requests made of the OpenAPI document, right and wrong ones, alone and in a row, against the running server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.api_stack import PROJECT, ApiStack
from workers.store.api_keys import new_secret

pytestmark = pytest.mark.process

LONGER = os.environ.get("SHELFLINE_TEST_SCHEMATHESIS_SECONDS")
SEED = os.environ.get("SHELFLINE_TEST_SCHEMATHESIS_SEED")
SECONDS = int(LONGER or "30")


KEY = new_secret()
ROBOT_TOKEN = "robot-" + "0" * 32


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[ApiStack]:
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (40, 30)).save(tmp_path / "photos" / f"{name}.png")
    (tmp_path / "list.jsonl").write_text('{"path": "photos/a.png", "custom_id": "1"}\n{"path": "photos/b.png"}\n')
    redis = RedisServer(tmp_path / "redis")
    redis.folder.mkdir()
    redis.start()
    stack = ApiStack(
        redis.url,
        tmp_path,
        SHELFLINE_MAX_WAIT_SECONDS="0.2",
        SHELFLINE_FOLDER_ROOTS=str(tmp_path),
        SHELFLINE_ADMIN_KEY=KEY,
        SHELFLINE_ROBOTS=json.dumps([{"token": ROBOT_TOKEN, "deadline_seconds": 0.2}]),
    )
    stack.start()
    yield stack
    stack.stop()
    redis.kill()


@pytest.mark.timeout(SECONDS + 300)
def test_the_server_keeps_what_the_document_promises(stack: ApiStack, tmp_path: Path) -> None:
    """No answer is a server error, undocumented, of another shape; what is wrong is refused, what is right taken.

    `SHELFLINE_TEST_SCHEMATHESIS_SECONDS` lets it go on for longer, with other requests each time, or with those of a
    seed, `SHELFLINE_TEST_SCHEMATHESIS_SEED`. tests/support/schemathesis.toml says which answers are expected and why.
    """
    command = [
        *(
            sys.executable,
            "-m",
            "schemathesis.cli",
            "--config-file",
            str(PROJECT / "tests" / "support" / "schemathesis.toml"),
        ),
        *("run", f"{stack.url}/openapi.json", "--checks", "all", "--max-time", str(SECONDS), "--no-color"),
        *("--header", f"Authorization: Bearer {KEY}"),
        *(() if LONGER and not SEED else ("--seed", SEED or "1")),
    ]
    env = os.environ | {
        "PYTHONPATH": str(PROJECT),
        "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks",
        "SHELFLINE_TEST_FOLDER": str(tmp_path),
        "SHELFLINE_TEST_ROBOT_TOKEN": ROBOT_TOKEN,
    }
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in stack.log.read_text()
    assert KEY not in stack.log.read_text()
