"""The real worker and the real sender while Redis refuses what it is asked for, and with garbage in their queues.

Both are started once. After each test they are the same processes, and they work.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from tests.integration.workers.conftest import LEASE, Worker, complete, photo, ringing
from tests.integration.workers.queue.test_full_redis import STATES
from tests.support.polling import wait_until
from tests.support.processes.celery_worker import CeleryWorker
from tests.support.servers.redis_server import RedisServer
from tests.support.servers.scripted_server import ScriptedServer
from tests.unit.workers.queue.test_transport import GARBAGE
from workers.io.redis_link import RedisLink
from workers.jobs.options import JobOptions
from workers.jobs.submission import Submission
from workers.jobs.webhook import Webhook
from workers.queue.wakeups import TASKS
from workers.settings import Settings
from workers.sources.origins.simple import Files

pytestmark = pytest.mark.process

SENDER = "workers.webhooks.main:app"
HOSTS = tuple(f"127.0.0.{number}" for number in range(1, 255))  # nothing listens on their port 80


class Rig:
    """A front end, a worker and a sender on a Redis of their own."""

    def __init__(self, front: Worker, processes: list[CeleryWorker]) -> None:
        self.front = front
        self.link = front.link
        self.processes = processes
        self._hosts = iter(HOSTS)

    def check(self) -> None:
        """Check that worker and sender still run, and that each does what a new job needs of it."""
        files = Files([("a.png", io.BytesIO(photo(1)))])
        submission = Submission(webhook=Webhook(f"http://{next(self._hosts)}/"))  # has not failed before
        job = self.front.intake.submit(files, JobOptions("default"), submission)
        complete(self.front, job)
        wait_until(lambda: self.link.client.llen(f"sl:job:{job.id}:attempts"), what="an attempt of the sender")
        assert [process.process.poll() for process in self.processes] == [None, None]

    def logged(self, text: str) -> int:
        """Return how often a text stands in the logs of both."""
        return self.processes[0].log.read_text().count(text)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("rig")
    (folder / "redis").mkdir()
    redis, model = RedisServer(folder / "redis"), ScriptedServer()
    redis.start()
    model.start()
    settings = Settings(
        redis_url=redis.url,
        blob_url=str(folder / "blobs"),
        model_server=model.target,
        lease_seconds=LEASE,
        webhook_private_hosts=frozenset(HOSTS),
    )
    link = RedisLink(settings.redis_url)
    front = ringing(Worker(settings, link))
    log = folder / "log"
    processes = [CeleryWorker(settings, "prefork", log), CeleryWorker(settings, "threads", log, "webhooks", SENDER)]
    made = Rig(front, processes)
    try:
        made.check()
        yield made
    finally:
        for process in processes:
            process.kill()
        front.close()
        link.close()
        model.stop()
        redis.kill()


@pytest.mark.parametrize("reason", STATES)
def test_a_redis_that_refuses(rig: Rig, reason: str) -> None:
    """Worker and sender wait, and come back by themselves when it no longer does."""
    before = rig.logged("Redis")
    with STATES[reason](rig.link):
        if reason != "redis_evicts":  # then Redis refuses nothing; no more is accepted
            wait_until(lambda: rig.logged("Redis") > before, what="a line about it in the log")
    rig.link._policy_known_until = 0.0  # as 5 s later
    rig.check()


def test_garbage_in_the_queues(rig: Rig) -> None:
    """Each is discarded with a line in the log, and what comes behind it is read."""

    def all_are_logged() -> bool:
        """Put them into each queue, and return whether all were logged: a queue expires if nobody reads it for 2 s."""
        before = rig.logged("message discarded")
        for raw in GARBAGE:
            for queue in TASKS:
                rig.link.client.lpush(queue, raw)
        wait_until(lambda: not any(rig.link.client.llen(queue) for queue in TASKS), what="empty queues")
        rig.check()
        return rig.logged("message discarded") - before >= 3 * len(GARBAGE) - 1  # one is a wake-up of `webhooks`

    wait_until(all_are_logged, what="a line for each")
