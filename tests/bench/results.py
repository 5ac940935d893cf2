"""What it costs to read 100,000 results: time, processor time and memory of the API, in each format."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.bench.throughput import say
from tests.support.models import tiny_contract
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.job_bench import JobBench
from tests.support.stacks.web_server import web_server
from workers.io.redis_link import RedisLink
from workers.jobs.job import Job
from workers.results.formats.registry import FormatName
from workers.settings import Settings
from workers.store.catalog import Catalog, Published

RESULTS = 100_000
DETECTIONS = 10
_AT_ONCE = 500
_LABELS = [label.name for label in tiny_contract().labels]


def _detections(chance: random.Random) -> list[dict[str, Any]]:
    detections = []
    for _ in range(DETECTIONS):
        ymin, xmin = chance.random() / 2, chance.random() / 2
        sides = {"ymin": ymin, "xmin": xmin, "ymax": ymin + 0.3, "xmax": xmin + 0.2}
        detections.append(
            {
                "label": chance.choice(_LABELS),
                "score": round(chance.random(), 6),
                "box": {side: round(part * 1000, 2) for side, part in sides.items()},
                "box_normalized": {side: round(part, 6) for side, part in sides.items()},
            }
        )
    return detections


def finished_job(bench: JobBench, total: int) -> Job:
    """A job that is over, every image with ten detections."""
    chance = random.Random(1)  # noqa: S311  not for secrets
    job = bench.job(total)
    sized: dict[str, Any] = {"width": 1000, "height": 1000, "model": "default", "model_version": 1}
    for first in range(0, total, _AT_ONCE):
        bench.settle(job, range(first, min(total, first + _AT_ONCE)), **sized, detections=lambda _: _detections(chance))
        bench.duties.run_due()
    assert bench.store.get(job.id).state == "succeeded"
    return job


class PeakMemory:
    """The most memory that a process had while something was done, in MB above what it had before."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self.before = self.now()
        self._peak = self.before
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def now(self) -> float:
        """Its memory now, in MB."""
        return float(self._process.memory_info().rss) / 1e6

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self._peak = max(self._peak, self.now())

    def stop(self) -> float:
        """End the watch."""
        self._stop.set()
        self._thread.join()
        return max(self._peak, self.now()) - self.before


@contextmanager
def running() -> Iterator[tuple[JobBench, str, psutil.Process]]:
    """The API with a store to write to: its address, and the process that answers."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "redis").mkdir()
        redis_server = RedisServer(folder / "redis")
        redis_server.start()
        link = RedisLink(redis_server.url)
        Catalog(link).publish(Published("default", "", 1, tiny_contract().to_json()))
        bench = JobBench(Settings(redis_url=redis_server.url, blob_url=str(folder / "blobs")), link)
        try:
            with web_server(redis_server.url, folder / "blobs") as (host, port):
                (process,) = (
                    worker
                    for child in psutil.Process().children(recursive=True)
                    if "gunicorn" in " ".join(child.cmdline())
                    for worker in child.children()
                )
                yield bench, f"http://{host}:{port}", process
        finally:
            bench.store.close()
            link.close()
            redis_server.kill()


def read(url: str, job: Job, form: str, coding: str) -> tuple[float, float]:
    """Read all results; seconds and megabytes on the wire."""
    began, size = time.monotonic(), 0
    headers = {"Accept-Encoding": coding}
    with httpx.stream("GET", f"{url}/v1/jobs/{job.id}/results?format={form}", headers=headers, timeout=600) as response:
        response.raise_for_status()
        for piece in response.iter_raw():
            size += len(piece)
    return time.monotonic() - began, size / 1e6


def main() -> None:
    """Measure, and print."""
    with running() as (bench, url, process):
        small, large = finished_job(bench, 1000), finished_job(bench, RESULTS)
        for form in FormatName:
            read(url, small, form, "identity")
        start = PeakMemory(process)
        for form in FormatName:
            for coding in ("identity", "gzip"):
                peak, spent = PeakMemory(process), sum(process.cpu_times()[:2])
                seconds, size = read(url, large, form, coding)
                spent = sum(process.cpu_times()[:2]) - spent
                say(
                    f"{RESULTS} results of {DETECTIONS} detections as {form.value}, {coding}: {seconds:.1f} s, "
                    f"{spent:.1f} s of them the API's processor time, {size:.0f} MB, "
                    f"{peak.stop():.1f} MB of memory more at most"
                )
        start.stop()
        say(f"the API's memory before {start.before:.0f} MB, after {start.now():.0f} MB")


if __name__ == "__main__":
    main()
