"""A power failure in the middle of a job on a folder: the whole stack as processes, all of them killed at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.workers.conftest import photo
from tests.support.polling import wait_until
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.api_stack import ApiStack

pytestmark = pytest.mark.process

IMAGES = 400  # tests/bench/bulk.py does it with 20,000


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis", durable=True)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def stack(redis_server: RedisServer, tmp_path: Path) -> Iterator[ApiStack]:
    stack = ApiStack(
        redis_server.url,
        tmp_path,
        SHELFLINE_FOLDER_ROOTS=str(tmp_path / "photos"),
        SHELFLINE_OUTPUT_PREFIXES=str(tmp_path / "out"),
        SHELFLINE_LEASE_SECONDS="2",
    )
    stack.start()
    yield stack
    stack.stop()


@pytest.mark.parametrize("moment", ["listing", "running"])
def test_a_power_failure(stack: ApiStack, redis_server: RedisServer, tmp_path: Path, moment: str) -> None:
    """While the folder is listed, and while its images are done: each has one result, in order, in the output too."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(IMAGES):
        (folder / f"{number:04}.png").write_bytes(photo(number % 7))
    body = {"folder": str(folder), "output_url": str(tmp_path / "out"), "output_formats": ["csv"]}
    job = httpx.post(f"{stack.url}/v1/jobs", json=body).json()
    assert job["counts"]["total"] is None
    if moment == "running":
        wait_until(lambda: httpx.get(job["urls"]["self"]).json()["counts"]["succeeded"] >= 20)
    stack.kill()
    redis_server.kill()
    redis_server.start()
    stack.start_processes()

    done = httpx.get(job["urls"]["self"], params={"wait": 50}, timeout=180).json()

    assert (done["state"], done["counts"]["succeeded"]) == ("succeeded", IMAGES)
    results = [json.loads(line) for line in httpx.get(job["urls"]["results"]).text.splitlines()]
    assert [(result["index"], result["name"]) for result in results] == [(n, f"{n:04}.png") for n in range(IMAGES)]
    summary = json.loads((Path(done["output"]["url"]) / "summary.json").read_text())
    assert summary["images"]["succeeded"] == IMAGES
    assert len(list((tmp_path / "blobs").rglob("manifest*"))) in {1, 2}
