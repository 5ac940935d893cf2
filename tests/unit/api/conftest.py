"""The API on its real backend: the session's Redis, a blob store in a folder, and a worker that answers at once.

The application is made once per session, because that takes 30 ms. Redis is emptied before each test.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.app import create_app
from api.client.client import ShelflineClient
from tests.support.manual_worker import ManualWorker
from tests.support.servers.redis_server import RedisServer
from workers.backend import Backend
from workers.io.redis_link import RedisLink
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.job import Job
from workers.queue.wakeups import wakeup_key
from workers.settings import Settings
from workers.store.listing import JobFilter

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse


class InstantWorker(ManualWorker):
    """A worker that settles images as soon as the wake-up for them is sent. Until a `result` is set it does nothing."""

    def __init__(self, settings: Settings, link: RedisLink) -> None:
        super().__init__(settings, link)
        self._link = link
        self.result: dict[str, Any] | Callable[[ClaimedImage], dict[str, Any]] | None = None

    def send(self, model: str) -> None:
        """Take a wake-up: settle all images that wait with the result, or with what it returns for the image."""
        self._link.client.delete(wakeup_key(model))
        while self.result is not None and (images := self.claim(model)):
            for image in images:
                self.settle(image, **(self.result(image) if callable(self.result) else self.result))
        if self.result is not None:
            self.duties.run_due()

    def wake_for_duties(self) -> None:
        """Do nothing."""

    def cancel(self, job_id: str) -> None:
        """End a job as its caller would who cancels it."""
        self.store.cancel(job_id)
        self.duties.run_due()

    def finish(self, job_id: str, results: list[dict[str, Any]]) -> None:
        """Settle all images of a job, which are all that wait, with these results."""
        while images := self.claim(self.store.get(job_id).options.target):
            for image in images:
                self.settle(image, **results[image.index])
        assert self.store.get(job_id).state.terminal


@dataclass(frozen=True)
class Api:
    """The application with all that it answers from."""

    settings: Settings
    worker: InstantWorker
    backend: Backend
    app: Flask


@pytest.fixture(scope="session")
def shared_api(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The application with small limits. It sends its wake-ups to the instant worker, not to Celery."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "root").mkdir()
    settings = Settings(
        redis_url=redis_server.url,
        blob_url=str(folder / "blobs"),
        folder_roots=(folder / "root",),
        source_prefixes=("memory://bucket",),
        output_prefixes=("memory://results",),
        max_upload_bytes=5_000_000,
        max_job_images=20,
        max_json_bytes=10_000,
        max_wait_seconds=5.0,
        more_models=("other-1.0",),
    )
    link = RedisLink(settings.redis_url)
    worker = InstantWorker(settings, link)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.backend.CeleryWakeUps", lambda _link, _celery: worker)
        backend = Backend(settings)
    yield Api(settings, worker, backend, create_app(settings, backend))
    backend.store.close()
    link.close()


@pytest.fixture
def api(shared_api: Api, redis_server: RedisServer) -> Iterator[Api]:
    """The shared application on an emptied Redis; its worker is idle."""
    redis_server.empty()
    yield shared_api
    shared_api.worker.result = None


@pytest.fixture
def settings(api: Api) -> Settings:
    """The settings of the application."""
    return api.settings


@pytest.fixture
def root(settings: Settings) -> Iterator[Path]:
    """The folder that jobs may read, emptied afterwards."""
    (path,) = settings.folder_roots
    yield path
    shutil.rmtree(path)
    path.mkdir()


@pytest.fixture
def worker(api: Api) -> InstantWorker:
    """The worker that gets the wake-ups."""
    return api.worker


@pytest.fixture
def backend(api: Api) -> Backend:
    """The objects that answer the requests."""
    return api.backend


@pytest.fixture
def waits(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The timeouts, in seconds, with which the store is asked to wait for a job. It waits all the same."""
    seconds: list[float] = []

    def noted(wait: Callable[[Any, float], Any]) -> Callable[[Any, float], Any]:
        def note(job: Job | str, timeout: float) -> Any:
            if timeout > 0:
                seconds.append(timeout)
            return wait(job, timeout)

        return note

    for name in ("wait", "wait_for_one", "wait_for_result"):
        monkeypatch.setattr(backend.store, name, noted(getattr(backend.store, name)))
    return seconds


@pytest.fixture
def app(settings: Settings, backend: Backend) -> Flask:
    """An application of the test's own, which it may change; its errors are answered, not raised."""
    return create_app(settings, backend)


@pytest.fixture
def http(api: Api) -> FlaskClient:
    """A test client of the shared application."""
    return api.app.test_client()


@pytest.fixture
def client(api: Api) -> Iterator[ShelflineClient]:
    """A client of the shared application, without a network between them; chunked bodies end as gunicorn ends them."""

    def terminated(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        return api.app(environ | {"wsgi.input_terminated": True}, start)

    with ShelflineClient("http://127.0.0.1:5000/", transport=httpx.WSGITransport(terminated)) as made:
        yield made


def all_jobs(backend: Backend) -> list[Job]:
    """All jobs, newest first."""
    return list(backend.listing.page(None, JobFilter(), 100).jobs)


def stored_images(backend: Backend, job_id: str) -> list[tuple[str, bytes]]:
    """Name and bytes of each image of a job, as they were stored."""
    indexes = range(backend.store.get(job_id).total)
    return [(backend.originals.source(job_id, n).name, backend.originals.read(job_id, n)) for n in indexes]


def deadline_seconds(job: Job) -> float:
    """The time that a job was given, in seconds."""
    assert job.deadline_at is not None
    return round(job.deadline_at - job.created_at, 3)
