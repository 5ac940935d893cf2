"""Images by URL through real worker processes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.integration.workers.conftest import LEASE, complete, photo, ringing
from tests.support.polling import wait_until
from tests.support.processes.celery_worker import CeleryWorker
from tests.support.servers.origin import Origin, answer, gated, origin
from workers.jobs.job import Job
from workers.jobs.options import JobOptions
from workers.sources.origins.simple import Item, Items

pytestmark = pytest.mark.process

if TYPE_CHECKING:
    from tests.integration.workers.conftest import Worker


@pytest.fixture
def web() -> Iterator[Origin]:
    with origin() as server:
        yield server


@pytest.fixture
def front(make_worker: Callable[..., Worker], web: Origin) -> Worker:
    """A front end whose workers may fetch from the server."""
    return ringing(make_worker(lease_seconds=LEASE, fetch_private_hosts=frozenset({web.host})))


def submit(front: Worker, web: Origin, count: int) -> Job:
    return front.intake.submit(Items([Item(f"{web.url}/a")] * count), JobOptions("default"))


def test_a_job_of_urls(front: Worker, web: Origin, start: Callable[[str], CeleryWorker]) -> None:
    """Every image comes through, each fetched once."""
    web.handlers["/a"] = answer(photo(1))
    job = submit(front, web, 200)
    start("prefork")

    complete(front, job)

    assert len(web.requests) == 200


def test_sigterm_while_urls_are_fetched(front: Worker, web: Origin, start: Callable[[str], CeleryWorker]) -> None:
    """The worker ends, and another one does the rest: nothing is lost, nothing is done twice."""
    gate = threading.Event()
    web.handlers["/a"] = gated(gate, answer(photo(1)))
    job = submit(front, web, 40)
    worker = start("prefork")
    wait_until(lambda: web.requests, what="the first request")
    worker.signal_group(signal.SIGTERM)
    gate.set()
    assert worker.process.wait(180) == 0
    start("prefork")

    complete(front, job)
