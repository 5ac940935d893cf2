"""How soon work goes on after a fault: seconds from the moment when it could go on, to when it did.

The model takes about as long as the default one on two cores. The processes are those of the fault tests.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.bench.throughput import say
from tests.integration.workers.conftest import POOLS, Worker, complete, photo, ringing, under_way
from tests.support.polling import wait_until
from tests.support.processes.celery_worker import CeleryWorker
from tests.support.servers.redis_server import RedisServer
from tests.support.servers.scripted_server import ScriptedServer
from workers.io.redis_link import RedisLink
from workers.jobs.job import Job
from workers.settings import Settings

LEASE = 5.0
IMAGES = 200
MODEL_AWAY = float(os.environ.get("SHELFLINE_BENCH_MODEL_AWAY", "75"))  # seconds
REDIS_AWAY = 3.0


@dataclass
class Scene:
    """A front end, two workers on one Redis and one model server, and a job in its middle."""

    front: Worker
    workers: tuple[CeleryWorker, CeleryWorker]
    model: ScriptedServer
    redis: RedisServer
    job: Job

    def succeeded(self) -> int:
        return self.front.store.get(self.job.id).succeeded

    def until_next(self) -> float:
        """Seconds until another image is settled than there were before."""
        began, before = time.monotonic(), self.succeeded()
        wait_until(lambda: self.succeeded() > before, 90, "the next image")
        return time.monotonic() - began

    def until_end(self) -> float:
        """Seconds until the job is over, complete."""
        began = time.monotonic()
        complete(self.front, self.job)
        return time.monotonic() - began


def as_the_default_model(images: NDArray[np.uint8]) -> None:
    """What a call takes."""
    time.sleep(0.015 + 0.023 * len(images))


@contextmanager
def scene(pool: str) -> Iterator[Scene]:
    """All of it, in the middle of a job."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "redis").mkdir()
        redis, model = RedisServer(work / "redis"), ScriptedServer()
        redis.start()
        model.start()
        model.fault = as_the_default_model
        settings = Settings(
            redis_url=redis.url, blob_url=str(work / "blobs"), model_server=model.target, lease_seconds=LEASE
        )
        front = ringing(Worker(settings, RedisLink(settings.redis_url)))
        workers = CeleryWorker(settings, pool, work / "log"), CeleryWorker(settings, pool, work / "log")
        try:
            warm = front.submit(*[photo(number) for number in range(64)])
            complete(front, warm)
            job = front.submit(*[photo(number) for number in range(IMAGES)])
            under_way(front, job, 32)
            yield Scene(front, workers, model, redis, job)
        finally:
            for worker in workers:
                worker.kill()
            front.close()
            front.link.close()
            model.stop()
            redis.kill()


def worker_killed(now: Scene) -> str:
    """Kill -9 of a worker's whole group."""
    now.workers[0].signal_group(signal.SIGKILL)
    return f"job complete after the death of one of two workers: lease + {now.until_end() - LEASE:.1f} s"


def worker_ended(now: Scene) -> str:
    """SIGTERM to a worker's whole group: what is left of the job is done by the other."""
    now.workers[0].signal_group(signal.SIGTERM)
    began = time.monotonic()
    now.workers[0].process.wait()
    took = time.monotonic() - began
    running = now.front.store.get(now.job.id).running
    now.until_end()
    return f"worker gone {took:.1f} s after SIGTERM, {running} images then in the other's hands"


def model_away(now: Scene) -> str:
    """No model server for a while."""
    now.model.stop()
    time.sleep(MODEL_AWAY)
    now.model.start()
    next_one = now.until_next()
    now.until_end()
    return f"next image {next_one:.1f} s after the model server is back, away for {MODEL_AWAY:.0f} s"


def redis_away(now: Scene) -> str:
    """Kill -9 of Redis, and a restart."""
    now.redis.kill()
    time.sleep(REDIS_AWAY)
    now.redis.start()
    wait_until(now.front.link.client.ping)
    next_one = now.until_next()
    end = now.until_end()
    return f"next image {next_one:.1f} s after Redis is back, job complete after {next_one + end:.1f} s"


FAULTS: tuple[Callable[[Scene], str], ...] = (worker_killed, worker_ended, model_away, redis_away)


def main() -> None:
    """Measure, and print."""
    for pool in POOLS:
        for fault in FAULTS:
            with scene(pool) as now:
                say(f"{pool}: {fault(now)}")


if __name__ == "__main__":
    main()
