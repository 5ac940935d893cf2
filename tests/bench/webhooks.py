"""Webhooks to a healthy endpoint, and what one that hangs costs detection: `python -m tests.bench.webhooks`."""

from __future__ import annotations

import io
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.integration.workers.webhooks.conftest import Receiver
from tests.support.processes.celery_worker import ROOT, CeleryWorker
from tests.support.servers.redis_server import RedisServer
from tests.support.servers.scripted_server import ScriptedServer
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.jobs.job import Job
from workers.jobs.options import JobOptions
from workers.jobs.submission import Submission
from workers.jobs.webhook import Event, Webhook
from workers.queue.celery_app import create_celery
from workers.queue.wakeups import CeleryWakeUps
from workers.settings import Settings
from workers.sources.intake import Intake
from workers.sources.origins.simple import Files
from workers.store.job_store import JobStore
from workers.webhooks.endpoints import Endpoints

EVENTS, IMAGES, PAIRS = 2000, 1000, 5
JOBS, EVERY_SECONDS = 200, 0.1


class Bench:
    """A Redis, a worker, a sender and a receiver, each a process."""

    def __init__(self, folder: Path) -> None:
        self.redis = RedisServer(folder / "redis")
        (folder / "redis").mkdir()
        self.redis.start()
        self.model = ScriptedServer()
        self.model.start()
        self.receiver = Receiver(folder / "receiver.log")
        self.settings = Settings(
            redis_url=self.redis.url,
            blob_url=str(folder / "blobs"),
            model_server=self.model.target,
            webhook_private_hosts=frozenset((self.receiver.host,)),
        )
        self.link = RedisLink(self.settings.redis_url)
        blobs = BlobStore(self.settings.blob_url)
        self.store = JobStore(self.link, blobs, self.settings)
        wakeups = CeleryWakeUps(self.link, create_celery(self.settings))
        self.intake = Intake(self.link, self.store, blobs, wakeups, self.settings)
        self.endpoints = Endpoints(self.link, self.settings)
        self.worker = CeleryWorker(self.settings, "prefork", folder / "worker.log")
        command = [sys.executable, "-m", "celery", "--quiet", "--app", "workers.webhooks.main:app", "worker"]
        command += ["--queues", "webhooks", "--pool", "threads", "--concurrency", "1"]
        environment = os.environ | {
            "REDIS_URL": self.settings.redis_url,
            "BLOB_URL": self.settings.blob_url,
            "SHELFLINE_WEBHOOK_PRIVATE_HOSTS": self.receiver.host,
        }
        with (folder / "sender.log").open("ab") as log:
            self.sender = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def submit(self, contents: list[bytes], owner: str) -> Job:
        files = [(f"{number}.jpg", io.BytesIO(content)) for number, content in enumerate(contents)]
        return self.intake.submit(Files(files), JobOptions("default"), Submission(owner, base_url="http://x/"))

    def close(self) -> None:
        self.worker.kill()
        os.killpg(self.sender.pid, signal.SIGKILL)
        self.sender.wait()
        self.receiver.process.kill()
        self.receiver.process.wait()
        self.model.stop()
        self.redis.kill()


def until(true: Callable[[], object]) -> None:
    while not true():
        time.sleep(0.01)


def deliveries(bench: Bench) -> float:
    """Events a second to an endpoint that answers at once, from the first POST to the last."""
    endpoint = bench.endpoints.create("rate", Webhook(bench.receiver.url("ok/rate"), (Event.ITEM_FINISHED,)))
    job = bench.submit([b"no image"] * EVENTS, "rate")
    until(lambda: len(bench.receiver.ids("ok/rate")) >= EVENTS)
    came = bench.receiver.came("ok/rate")
    bench.endpoints.delete(endpoint.id)
    bench.store.wait(job.id, 60)
    return EVENTS / float(came[-1]["at"] - came[0]["at"])


def beside_one_that_hangs(bench: Bench) -> tuple[float, float]:
    """p50 and p95 in seconds from a job's end to its webhook, while 2,000 events wait for an endpoint that hangs."""
    healthy, hanging = bench.receiver.url("ok/beside"), bench.receiver.url("hang/beside")
    ends = [bench.endpoints.create("healthy", Webhook(healthy, (Event.JOB_FINISHED,)))]
    ends.append(bench.endpoints.create("stuck", Webhook(hanging, (Event.ITEM_FINISHED,))))
    bench.submit([b"no image"] * EVENTS, "stuck")
    until(lambda: bench.receiver.came("hang/beside"))
    jobs = []
    for _ in range(JOBS):
        jobs.append(bench.submit([b"no image"], "healthy"))
        time.sleep(EVERY_SECONDS)
    until(lambda: len(bench.receiver.ids("ok/beside")) >= JOBS)
    assert len(bench.receiver.ids("hang/beside")) < EVENTS  # they still wait
    came = {request["headers"]["webhook-id"]: request["at"] for request in bench.receiver.came("ok/beside")}
    late = []
    for job in jobs:
        finished_at = bench.store.get(job.id).finished_at
        assert finished_at
        late.append(came[f"msg_{job.id[4:]}_0_finished"] - finished_at)
    for end in ends:
        bench.endpoints.delete(end.id)
    return statistics.median(late), statistics.quantiles(late, n=20)[18]


def detection(bench: Bench, photos: list[bytes], owner: str) -> float:
    """Images a second of one job, from its first claim to its end."""
    job = bench.store.wait(bench.submit(photos, owner).id, 300)
    assert job.finished_at
    assert job.started_at
    return job.total / (job.finished_at - job.started_at)


def main() -> None:
    """Print the numbers."""
    rng = np.random.default_rng(0)
    photos = []
    for _ in range(IMAGES):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (240, 320, 3), np.uint8)).save(out, "JPEG")
        photos.append(out.getvalue())
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            print(f"deliveries a second to a healthy endpoint: {deliveries(bench):.0f}")
            p50, p95 = beside_one_that_hangs(bench)
            print(f"a job's end to its webhook beside {EVENTS} events that hang: p50 {p50:.2f} s, p95 {p95:.2f} s")
            bench.endpoints.create("hanging", Webhook(bench.receiver.url("hang/bench"), (Event.ITEM_FINISHED,)))
            detection(bench, photos, "plain")
            ratios = []
            for _ in range(PAIRS):
                plain, hanging = (detection(bench, photos, owner) for owner in ("plain", "hanging"))
                ratios.append(hanging / plain)
                print(f"images/s {plain:.0f} without a webhook, {hanging:.0f} with one that hangs: {ratios[-1]:.2f}")
            print(f"median ratio {statistics.median(ratios):.2f}, of {PAIRS} pairs")
        finally:
            bench.close()


if __name__ == "__main__":
    main()
