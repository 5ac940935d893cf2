"""Whether somebody takes what waits, as `/readyz`, doctor and the metrics say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.workers.conftest import Worker, photo
from tests.support.servers.scripted_server import ScriptedServer
from workers import health
from workers.health import ATTENDED_SECONDS, NO_WORKER, OK, WORKER_SEEN_KEY, consumption
from workers.io import redis_link
from workers.io.redis_link import RedisLink
from workers.metrics_page import MetricsPage


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is late as soon as it waits and nobody attends to it."""
    monkeypatch.setattr(health, "_LATE_MS", 0)


def alive(worker: Worker) -> None:
    worker.link.client.set(WORKER_SEEN_KEY, "1")


def forget_attention(worker: Worker) -> None:
    """As if all attention had been paid long ago."""
    for key in worker.link.client.keys("sl:attended*"):
        worker.link.client.delete(key)


def nothing_waits(worker: Worker) -> None:
    alive(worker)


def no_worker(worker: Worker) -> None:
    worker.submit(photo(1))


def nobody_claims(worker: Worker) -> None:
    alive(worker)
    worker.submit(photo(1))


def somebody_claims(worker: Worker) -> None:
    """Images are left over: there is more work than workers."""
    nobody_claims(worker)
    worker.submit(photo(2))
    worker.runtime._context.queue.claim("default", 1)


def all_are_claimed(worker: Worker) -> None:
    nobody_claims(worker)
    worker.runtime._context.queue.claim("default", 1)
    forget_attention(worker)


def somebody_claims_for_another_model(worker: Worker) -> None:
    nobody_claims(worker)
    worker.link.client.set("sl:attended:other", "1")


def nobody_does_duties(worker: Worker) -> None:
    alive(worker)
    worker.link.client.zadd("sl:due", {"retire:job_1": 1})


def somebody_does_duties(worker: Worker) -> None:
    nobody_does_duties(worker)
    worker.link.client.zadd("sl:due", {"retire:job_2": 2})
    worker.runtime._link.run("duties/lease_duty", 30_000)


CASES: list[tuple[Callable[[Worker], None], str]] = [
    (nothing_waits, ""),
    (no_worker, NO_WORKER),
    (nobody_claims, "No worker takes images of default"),
    (somebody_claims, ""),
    (all_are_claimed, ""),
    (somebody_claims_for_another_model, "No worker takes images of default"),
    (nobody_does_duties, "No worker lists, ends or deletes jobs"),
    (somebody_does_duties, ""),
]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("state", "said"), CASES)
def test_who_takes_what_waits(worker: Worker, state: Callable[[Worker], None], said: str) -> None:
    """It is late if it could have been taken, and nobody took any of its kind."""
    state(worker)
    verdict = consumption(worker.link)
    assert verdict.startswith(said) if said else verdict == OK


@pytest.mark.usefixtures("at_once")
def test_images_that_wait_for_their_model_are_not_late(worker: Worker, server: ScriptedServer) -> None:
    """A worker looks for the model, and the check of the model says that it is away."""
    server.stop()
    worker.submit(photo(1))
    worker.runtime.detect("default")
    worker.runtime.probe()
    assert consumption(worker.link) == OK


def test_the_metric_tells_how_long_nobody_takes_images(worker: Worker) -> None:
    """It is 0 while somebody does."""
    page = MetricsPage(worker.link, worker.settings)

    def unattended() -> float:
        families = {family.name: family for family in page.collect()}
        return max(sample.value for sample in families["shelfline_unattended_seconds"].samples)

    assert unattended() == 0
    worker.submit(photo(1))
    worker.submit(photo(2))
    assert unattended() > 0
    worker.runtime._context.queue.claim("default", 1)
    assert unattended() == 0


def test_scripts_and_python_agree_for_how_long_attention_counts(link: RedisLink) -> None:
    """The constant stands in both."""
    assert f"local ATTENDED_SECONDS = {ATTENDED_SECONDS} " in redis_link._source("lib/constants")
    health.note_worker(link, "default")
    assert link.client.ttl("sl:attended:default") == link.client.ttl(WORKER_SEEN_KEY) == ATTENDED_SECONDS
