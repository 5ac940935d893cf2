"""A worker, a sender and a receiver: the first two in this process, the last one as a process of its own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from tests.integration.workers.conftest import NoWakeUps, Worker
from tests.support.polling import wait_until
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.jobs.job import Job
from workers.jobs.options import JobOptions
from workers.jobs.submission import Submission
from workers.jobs.webhook import DeliveryId, Webhook, new_secret
from workers.queue.work_queue import WorkQueue
from workers.sources.intake import Intake
from workers.sources.origins.simple import Files
from workers.webhooks.deliveries import Deliveries
from workers.webhooks.dispatch import Dispatcher
from workers.webhooks.endpoints import Endpoints
from workers.webhooks.outbox import Outbox
from workers.webhooks.sender import Sender

ROOT = Path(__file__).parents[4]
SECRET = new_secret()
BASE = "http://shelfline.test:5000/"


class Receiver:
    """What a test sees of the receiver: its address, and what came."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.servers.webhook_receiver", str(log)], cwd=ROOT
        )
        wait_until(lambda: log.exists() and log.read_text().strip(), what="the receiver")
        self.host = f"127.0.0.1:{log.read_text().split()[0]}"

    def url(self, path: str) -> str:
        return f"http://{self.host}/{path}"

    def came(self, path: str = "") -> list[dict[str, Any]]:
        """The requests to paths that begin so, in the order they came."""
        lines = self._log.read_text().split("\n")[1:-1]  # the last one may still be written
        requests = [json.loads(line) for line in lines]
        return [request for request in requests if request["path"].startswith(f"/{path}")]

    def ids(self, path: str = "") -> list[str]:
        return [request["headers"]["webhook-id"] for request in self.came(path)]


class Post:
    """Jobs with webhooks, and who sends them."""

    def __init__(self, worker: Worker, receiver: Receiver) -> None:
        self.settings = worker.settings
        self.worker, self.receiver = worker, receiver
        self.link = worker.link
        self.endpoints = Endpoints(self.link, self.settings)
        self.deliveries = Deliveries(self.link, self.settings)
        self.queue = WorkQueue(self.link, self.settings, "test")
        self.dispatchers: list[Dispatcher] = []

    def submit(self, *contents: bytes, owner: str = "", webhook: Webhook | None = None) -> Job:
        worker = self.worker
        intake = Intake(self.link, worker.store, worker.blobs, NoWakeUps(), self.settings)
        files = [(f"{number}.png", io.BytesIO(content)) for number, content in enumerate(contents)]
        return intake.submit(Files(files), JobOptions("default"), Submission(owner, webhook=webhook, base_url=BASE))

    def hook(self, path: str, *events: Any, **more: Any) -> Webhook:
        given: dict[str, Any] = {"secret": SECRET} | ({"events": events} if events else {}) | more
        return Webhook(self.receiver.url(path), **given)

    def sender(self, link: RedisLink | None = None) -> Dispatcher:
        """One more sender process's dispatcher."""
        own = link or RedisLink(self.settings.redis_url)
        outbox = Outbox(own, self.settings)
        sender = Sender(own, BlobStore(self.settings.blob_url), outbox, self.settings)
        self.dispatchers.append(Dispatcher(outbox, sender.attempt, self.settings))
        return self.dispatchers[-1]

    def sending(self) -> None:
        """Have a sender send from now on, until the test ends."""
        dispatcher = self.sender()

        def run() -> None:
            while not dispatcher._stopping.is_set():
                dispatcher.run()

        threading.Thread(target=run, daemon=True).start()

    def finish_by(self, job: Job) -> None:
        """Have a sender of its own tell what the job's webhooks are told."""
        self.sending()
        self.finish(job)

    def delivery(self, message: str) -> DeliveryId:
        parsed = DeliveryId.parse(message)
        assert parsed is not None
        return parsed

    def deliveries_ended(self, job: Job) -> bool:
        """Whether all that the job's webhooks are told was told, or given up."""
        return self.worker.store.get(job.id).expires_at is not None

    def work(self, job: Job) -> None:
        """Have the job's images detected and the job ended."""

        def over() -> bool:
            self.worker.detect()
            return self.worker.store.get(job.id).state.terminal

        wait_until(over, what="the end of the job")

    def finish(self, job: Job) -> None:
        """Have the job end and its webhooks told."""
        self.work(job)
        wait_until(lambda: self.deliveries_ended(job), what="the end of the deliveries")


def verified(request: dict[str, Any], secret: str = SECRET) -> Any:
    """The body of a request, if the reference library accepts its signature."""
    return Verifier(secret).verify(request["body"], request["headers"])


@pytest.fixture(scope="session")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    started = Receiver(tmp_path_factory.mktemp("receiver") / "log")
    yield started
    started.process.kill()
    started.process.wait()


@pytest.fixture
def make_post(make_worker: Callable[..., Worker], receiver: Receiver) -> Iterator[Callable[..., Post]]:
    """Makes posts with quick retries; keyword arguments are settings."""
    made: list[Post] = []

    def make(**given: Any) -> Post:
        host = frozenset((receiver.host,))
        quick = {"webhook_private_hosts": host, "webhook_seconds": 5.0, "webhook_retries": (0.05, 0.05)}
        made.append(Post(make_worker(**(quick | given)), receiver))
        return made[-1]

    yield make
    for post in made:
        for dispatcher in post.dispatchers:
            dispatcher.close()


@pytest.fixture
def post(make_post: Callable[..., Post]) -> Post:
    return make_post()
