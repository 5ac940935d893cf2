"""The API as it is run (gunicorn), a real worker and a scripted model, for tests of what callers see."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import redis

from serving.contract import Contract
from tests.support.machine import free_port
from tests.support.polling import wait_until
from tests.support.processes.celery_worker import ROOT, CeleryWorker
from tests.support.servers.redis_server import RedisServer
from tests.support.servers.scripted_server import ScriptedServer
from workers.settings import Settings

PATIENCE_SECONDS = 180


@dataclass(frozen=True)
class FrontStack:
    """A stack that answers at `url`; `model` may be told to be slow, or to fail."""

    url: str
    model: ScriptedServer
    settings: Settings
    redis: redis.Redis


@contextmanager
def front_stack(
    server: RedisServer, folder: Path, contract: Contract | None = None, **environment: str
) -> Iterator[FrontStack]:
    """Run a stack on an emptied Redis; `environment` are further settings of the API."""
    model = ScriptedServer(contract)
    model.start()
    port = free_port()
    client = redis.Redis.from_url(server.url, decode_responses=True)
    client.flushall()
    settings = Settings(
        redis_url=server.url, blob_url=str(folder / "blobs"), model_server=model.target, folder_roots=(folder,)
    )
    own = {name: value for name, value in os.environ.items() if not name.startswith("SHELFLINE_")}
    own |= {"PORT": str(port), "REDIS_URL": server.url, "BLOB_URL": settings.blob_url}
    with (folder / "web.log").open("ab") as log:
        web = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn", "api.wsgi:app"],
            cwd=ROOT,
            env=own | {"SHELFLINE_FOLDER_ROOTS": str(folder)} | environment,
            stdout=log,
            stderr=log,
        )
    worker = CeleryWorker(settings, "prefork", folder / "worker.log")
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _ready(url), PATIENCE_SECONDS, "a stack that is ready")
        yield FrontStack(url, model, settings, client)
    finally:
        model.go.set()
        web.terminate()
        worker.kill()
        web.wait()
        model.stop()
        client.close()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False
