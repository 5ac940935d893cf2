"""Fixtures that tests of every kind share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import hypothesis
import pytest

from tests.support import RedisServer
from workers.redis_link import RedisLink
from workers.settings import Settings

# An example may take as long as it does: on a busy machine 200 ms are over soon.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for the whole session; tests that kill it make their own."""
    folder = tmp_path_factory.mktemp("redis")
    server = RedisServer(folder)
    server.start()
    yield server
    server.kill()
    shutil.rmtree(folder)


@pytest.fixture
def settings(redis_server: RedisServer, tmp_path: Path) -> Settings:
    """Settings on the session's Redis, emptied, with short leases."""
    redis_server.empty()
    return Settings(
        redis_url=redis_server.url, blob_url=str(tmp_path / "blobs"), lease_seconds=0.6, folder_roots=(tmp_path,)
    )


@pytest.fixture
def link(settings: Settings) -> Iterator[RedisLink]:
    """A connection to the emptied Redis."""
    found = RedisLink(settings.redis_url)
    yield found
    found.close()


@pytest.fixture
def memory_store() -> Iterator[Any]:
    """Another store than the file system: fsspec's `memory://`. It is one for the whole process, so emptied around."""
    files = fsspec.filesystem("memory")
    files.rm("/", recursive=True)
    yield files
    files.rm("/", recursive=True)
