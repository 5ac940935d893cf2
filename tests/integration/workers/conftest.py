"""A whole worker without Celery: the runtime of a pool process, on a real Redis and a scripted model server."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.machine import SLOWNESS
from tests.support.polling import wait_until
from tests.support.processes.celery_worker import CeleryWorker
from tests.support.servers.scripted_server import ScriptedServer
from workers.io import redis_link
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.jobs.job import Job, JobState
from workers.jobs.options import JobOptions
from workers.queue.celery_app import create_celery
from workers.queue.wakeups import CeleryWakeUps
from workers.runtime import Runtime
from workers.settings import Settings
from workers.sources.intake import Intake
from workers.sources.origins.simple import Files
from workers.store import result_segments
from workers.store.job_store import JobStore

LEASE = 2.0 * SLOWNESS  # seconds, of the workers that run as processes
POOLS = ["prefork", "threads"]
SMALL_SEGMENT = 5  # images


def photo(seed: int) -> bytes:
    """A small PNG of its own colour, lossless, so that the model sees what was sent."""
    colour = tuple(int(value) for value in np.random.default_rng(seed).integers(0, 255, 3))
    out = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(out, "PNG")
    return out.getvalue()


def plain(value: int) -> bytes:
    """A small PNG all of whose values are the same: 255 is white."""
    out = io.BytesIO()
    Image.new("RGB", (32, 32), (value, value, value)).save(out, "PNG")
    return out.getvalue()


class NoWakeUps:
    """Wakes nobody: the tests call the runtime themselves."""

    def wake(self, model: str) -> None:
        """Do nothing."""

    def send(self, model: str) -> None:
        """Do nothing."""

    def wake_for_duties(self) -> None:
        """Do nothing."""


class Worker:
    """What a test does with a worker: submit, detect, look."""

    def __init__(self, settings: Settings, link: RedisLink) -> None:
        self.link, self.settings = link, settings
        self.blobs = BlobStore(settings.blob_url)
        self.store = JobStore(link, self.blobs, settings)
        self.intake = Intake(link, self.store, self.blobs, NoWakeUps(), settings)
        self._runtimes: list[Runtime] = []
        self.runtime = self.another()

    def another(self) -> Runtime:
        """One more worker process's runtime."""
        self._runtimes.append(Runtime(self.settings))
        return self._runtimes[-1]

    def submit(self, *contents: bytes, **options: Any) -> Job:
        files = [(f"{number}.png", io.BytesIO(content)) for number, content in enumerate(contents)]
        return self.intake.submit(Files(files), JobOptions("default", **options))

    def detect(self) -> None:
        """What one wake-up makes a worker do, and the duties around it."""
        self.listed()
        self.runtime.detect("default")
        self.runtime.do_duties()
        self.runtime._context.upkeep_thread.submit(
            lambda: None
        ).result()  # the duties that the pipeline itself had done
        self.runtime._context.long_duties_thread.submit(lambda: None).result()

    def detect_until(self, true: Callable[[], object], what: str = "the condition") -> None:
        """Detect again and again, until something holds."""

        def detected() -> object:
            self.detect()
            return true()

        wait_until(detected, what=what)

    def listed(self) -> None:
        """What is to be listed is listed."""
        self.runtime.do_duties()
        self.runtime._context.long_duties_thread.submit(lambda: None).result()

    def results(self, job: Job) -> list[dict[str, Any]]:
        """The results so far, each image once, the job's counts adding up."""
        stored = self.store.get(job.id)
        assert stored.queued + stored.running + stored.succeeded + stored.failed + stored.canceled == stored.total
        return [json.loads(line) for line in self.store.results(job.id)]

    def close(self) -> None:
        for runtime in self._runtimes:
            runtime.close()
        self.store.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def make_worker(settings: Settings, link: RedisLink, server: ScriptedServer) -> Iterator[Callable[..., Worker]]:
    """Makes workers; keyword arguments are settings."""
    made: list[Worker] = []

    def make(**overrides: Any) -> Worker:
        made.append(Worker(settings.model_copy(update={"model_server": server.target, **overrides}), link))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


@pytest.fixture
def worker(make_worker: Callable[..., Worker]) -> Worker:
    return make_worker()


@pytest.fixture
def front(make_worker: Callable[..., Worker]) -> Worker:
    """A front end that sends wake-ups; no worker of its own is asked for anything."""
    return ringing(make_worker(lease_seconds=LEASE))


def ringing(front: Worker) -> Worker:
    """Have it send wake-ups."""
    wakeups = CeleryWakeUps(front.link, create_celery(front.settings))
    front.intake = Intake(front.link, front.store, front.blobs, wakeups, front.settings)
    return front


@pytest.fixture
def start_of(tmp_path: Path) -> Iterator[Callable[..., CeleryWorker]]:
    """Starts workers with the settings of a front end."""
    started: list[CeleryWorker] = []

    def begin(front: Worker, pool: str, queues: str = "detect,upkeep", app: str = "workers.main:app") -> CeleryWorker:
        started.append(CeleryWorker(front.settings, pool, tmp_path / "worker.log", queues, app))
        return started[-1]

    yield begin
    for worker in started:
        worker.kill()


@pytest.fixture
def start(front: Worker, start_of: Callable[..., CeleryWorker]) -> Callable[..., CeleryWorker]:
    return partial(start_of, front)


def complete(front: Worker, job: Job) -> None:
    """The job ends complete: each image has one result, in order."""
    wait_until(lambda: front.store.get(job.id).state.terminal, what="the end of the job")
    stored = front.store.get(job.id)
    assert (stored.state, stored.succeeded) == (JobState.SUCCEEDED, job.total)
    assert [result["index"] for result in front.results(job)] == list(range(job.total))


def slowly(server: ScriptedServer, seconds: float = 0.05) -> None:
    """Each Predict takes a while, so that there is a middle of the job to do harm in."""

    def slow(_images: object) -> None:
        time.sleep(seconds)

    server.fault = slow


def under_way(front: Worker, job: Job, images: int) -> None:
    wait_until(lambda: front.store.get(job.id).succeeded >= images, what="the job's beginning")


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a few images, so that a small job is sealed like a large one."""
    source = redis_link._source
    assert "local SEGMENT = 1000" in source("lib/constants")

    def smaller(name: str) -> str:
        return source(name).replace("local SEGMENT = 1000", f"local SEGMENT = {SMALL_SEGMENT}")

    monkeypatch.setattr(redis_link, "_source", smaller)
    monkeypatch.setattr(result_segments, "SEGMENT", SMALL_SEGMENT)
