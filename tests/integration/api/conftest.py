"""The backend of the API on a real Redis; the API in gunicorn on the same Redis, with jobs that a test settles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.app import create_app
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.job_bench import JobBench
from tests.support.stacks.web_server import web_server
from workers.backend import Backend
from workers.io.redis_link import RedisLink
from workers.settings import Settings

Server = tuple[str, int]


@pytest.fixture
def backend(settings: Settings) -> Iterator[Backend]:
    """The stores that the API answers from."""
    opened = Backend(settings)
    yield opened
    opened.store.close()


@pytest.fixture
def app(settings: Settings, backend: Backend) -> Flask:
    """The API in this process, on these stores."""
    return create_app(settings, backend)


@pytest.fixture
def http(app: Flask) -> FlaskClient:
    """A client of the API in this process."""
    return app.test_client()


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the blob store of the server."""
    return tmp_path_factory.mktemp("server") / "blobs"


@pytest.fixture(scope="module")
def server(redis_server: RedisServer, blobs: Path) -> Iterator[Server]:
    """Host and port of the API as it is run: one for all tests of a file."""
    redis_server.empty()  # it belongs to another blob store
    with web_server(redis_server.url, blobs) as address:
        yield address


@pytest.fixture
def bench(settings: Settings, blobs: Path, link: RedisLink) -> Iterator[JobBench]:
    """Jobs of the server, which the test settles."""
    made = JobBench(settings.model_copy(update={"blob_url": str(blobs)}), link)
    yield made
    made.store.close()
