"""Redis, the model server or a worker killed or frozen while jobs run: each job ends complete, by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.models import write_tiny_model
from tests.support.polling import wait_until
from tests.support.processes.celery_worker import CeleryWorker
from tests.support.servers.model_server import ServerProcess
from tests.support.servers.redis_server import RedisServer
from tests.support.servers.scripted_server import ScriptedServer
from workers.errors import StoreUnavailableError
from workers.io.redis_link import RedisLink
from workers.jobs.job import Job
from workers.settings import Settings

from .conftest import LEASE, POOLS, Worker, complete, photo, ringing, slowly, under_way

pytestmark = pytest.mark.process

PHOTOS = [photo(number) for number in range(120)]
LONGER_THAN_A_LEASE = 2.5 * LEASE

# Writes and syncs without a pause, as another program on the same disk might.
BUSY_DISK = """
import os, sys
with open(sys.argv[1], "wb") as out:
    while True:
        out.seek(0)
        out.write(os.urandom(8 << 20))
        out.flush()
        os.fsync(out.fileno())
"""


class Redis:
    """A Redis of its own for a test that harms it, with a front end on it."""

    def __init__(self, folder: Path, server: ScriptedServer) -> None:
        (folder / "redis").mkdir()
        self.server = RedisServer(folder / "redis", durable=True)
        self.server.start()
        settings = Settings(
            redis_url=self.server.url,
            blob_url=str(folder / "blobs"),
            model_server=server.target,
            lease_seconds=LEASE,
        )
        self.link = RedisLink(settings.redis_url)
        self.front = ringing(Worker(settings, self.link))

    def close(self) -> None:
        self.front.close()
        self.link.close()
        self.server.kill()


@pytest.fixture
def own(tmp_path: Path, server: ScriptedServer) -> Iterator[Redis]:
    started = Redis(tmp_path, server)
    yield started
    started.close()


@pytest.fixture
def own_worker(own: Redis, tmp_path: Path) -> Iterator[Callable[[str], CeleryWorker]]:
    started: list[CeleryWorker] = []

    def begin(pool: str) -> CeleryWorker:
        started.append(CeleryWorker(own.front.settings, pool, tmp_path / "worker.log"))
        return started[-1]

    yield begin
    for worker in started:
        worker.kill()


class Submitter:
    """Submits small jobs without a pause and keeps those that were accepted."""

    def __init__(self, front: Worker) -> None:
        self.front, self.accepted = front, list[Job]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(StoreUnavailableError):
                self.accepted.append(self.front.submit(PHOTOS[0], PHOTOS[1]))
            time.sleep(0.02)

    def stop(self) -> list[Job]:
        self._stop.set()
        self._thread.join()
        return self.accepted


@pytest.mark.parametrize("pool", POOLS)
def test_redis_killed_with_a_busy_disk(
    own: Redis, own_worker: Callable[[str], CeleryWorker], server: ScriptedServer, tmp_path: Path, pool: str
) -> None:
    """Kill -9 of Redis and a restart after 3 s: nothing that was accepted or settled is lost."""
    slowly(server, 0.02)
    own_worker(pool)
    disk = subprocess.Popen([sys.executable, "-c", BUSY_DISK, str(tmp_path / "busy")])
    try:
        job = own.front.submit(*PHOTOS)
        submitter = Submitter(own.front)
        under_way(own.front, job, 16)
        own.server.kill()
        time.sleep(3.0)
        own.server.start()
        wait_until(own.link.client.ping)
        before = len(submitter.accepted)
        wait_until(lambda: len(submitter.accepted) > before, what="the first job after the outage")
        accepted = submitter.stop()
    finally:
        disk.kill()
        disk.wait()
    for submitted in [job, *accepted]:
        complete(own.front, submitted)


@pytest.mark.parametrize("pool", POOLS)
def test_a_frozen_redis(
    own: Redis, own_worker: Callable[[str], CeleryWorker], server: ScriptedServer, pool: str
) -> None:
    """Frozen for longer than a lease, it comes back believing that nobody renewed anything."""
    slowly(server)
    own_worker(pool)
    own_worker(pool)
    job = own.front.submit(*PHOTOS)
    under_way(own.front, job, 16)
    assert own.server.process is not None
    os.kill(own.server.process.pid, signal.SIGSTOP)
    time.sleep(LONGER_THAN_A_LEASE)
    os.kill(own.server.process.pid, signal.SIGCONT)
    complete(own.front, job)


@pytest.mark.parametrize("pool", POOLS)
def test_a_frozen_worker(
    front: Worker, start: Callable[[str], CeleryWorker], server: ScriptedServer, pool: str
) -> None:
    """Another takes its images over; when it wakes up, what it settles late changes nothing, and it works on."""
    slowly(server)
    job = front.submit(*PHOTOS)
    frozen = start(pool)
    under_way(front, job, 16)
    frozen.signal_group(signal.SIGSTOP)
    other = start(pool)
    complete(front, job)
    results = front.results(job)
    other.kill()
    late = front.submit(*PHOTOS[:20])
    frozen.signal_group(signal.SIGCONT)
    complete(front, late)
    complete(front, job)
    assert front.results(job) == results


@pytest.mark.parametrize("pool", POOLS)
def test_a_frozen_model_server(
    front: Worker, start: Callable[[str], CeleryWorker], server: ScriptedServer, tmp_path: Path, pool: str
) -> None:
    """A slow batch is not mistaken for a death: its worker renews the leases, and nobody takes anything over."""
    server.stop()
    base = tmp_path / "models"
    write_tiny_model(base, 1, delay_ms=20)
    served = ServerProcess(base, tmp_path / "server.log", port=server.port).start()
    try:
        workers = [start(pool), start(pool)]
        job = front.submit(*PHOTOS)
        under_way(front, job, 16)
        served.signal(signal.SIGSTOP)
        time.sleep(LONGER_THAN_A_LEASE)
        served.signal(signal.SIGCONT)
        complete(front, job)
    finally:
        served.end()
    assert "took over" not in workers[0].log.read_text()


def test_a_model_server_away_for_longer_than_anyone_retries(
    front: Worker, start: Callable[[str], CeleryWorker], server: ScriptedServer
) -> None:
    """After 75 s gRPC would by itself try to connect only every 2 minutes; no image is failed meanwhile."""
    slowly(server)
    job = front.submit(*PHOTOS)
    start("prefork")
    under_way(front, job, 16)
    server.stop()
    time.sleep(75)
    stored = front.store.get(job.id)
    assert (stored.failed, stored.running) == (0, 0)
    server.start()
    wait_until(lambda: front.store.get(job.id).succeeded > stored.succeeded, what="the first batch after the outage")
    complete(front, job)
