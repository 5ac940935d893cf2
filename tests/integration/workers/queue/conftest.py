"""A front end and two workers' queues on one Redis, without processes."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from tests.support.polling import wait_until
from workers.duties import Duties
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.job import Job
from workers.jobs.options import JobOptions
from workers.jobs.result import Outcome
from workers.queue.work_queue import WorkQueue
from workers.settings import Settings
from workers.sources.intake import Intake
from workers.sources.origins.simple import Files
from workers.store.job_store import JobStore


class Bench:
    """A front end and two workers' queues on one Redis, with no process between."""

    def __init__(self, link: RedisLink, settings: Settings) -> None:
        self.link, self.settings = link, settings
        self.woken: list[str] = []
        self.blobs = BlobStore(settings.blob_url)
        self.store = JobStore(link, self.blobs, settings)
        self.intake = Intake(link, self.store, self.blobs, self, settings)
        self.duties = Duties(link, self.blobs, settings, self.wake)
        self.queue = WorkQueue(link, settings, "one")
        self.other_queue = WorkQueue(link, settings, "two")

    def wake(self, model: str) -> None:
        self.woken.append(model)

    send = wake

    def wake_for_duties(self) -> None:
        """Send no wake-up: a test does the duties itself."""

    def submit(self, count: int) -> Job:
        files = [(f"{i}.jpg", io.BytesIO(b"%d" % i)) for i in range(count)]
        return self.intake.submit(Files(files), JobOptions("default"))

    def settle(self, deliveries: list[ClaimedImage], text: str = "{}") -> None:
        self.store.settle([outcome(image, text) for image in deliveries], 0.01)

    def check(self, job: str) -> Job:
        """The job, its counts adding up."""
        stored = self.store.get(job)
        assert stored.queued + stored.running + stored.succeeded + stored.failed + stored.canceled == stored.total
        return stored


def outcome(image: ClaimedImage, text: str, state: str = "succeeded") -> Outcome:
    return Outcome(image, state, text, 1)


@pytest.fixture
def bench(link: RedisLink, settings: Settings) -> Iterator[Bench]:
    made = Bench(link, settings)
    yield made
    made.store.close()


def taken_over(bench: Bench, most: int) -> list[ClaimedImage]:
    """What the second queue takes over once the leases are up."""
    taken: list[ClaimedImage] = []

    def some() -> bool:
        taken.extend(bench.other_queue.take_over("default", most, []))
        return bool(taken)

    wait_until(some)
    return taken
