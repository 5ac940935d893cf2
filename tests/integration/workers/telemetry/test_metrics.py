"""What is counted, what becomes of it in Redis, and what /metrics shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis as redis_client
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.integration.workers.conftest import POOLS, Worker, complete, photo
from tests.support.polling import wait_until
from tests.support.processes.celery_worker import CeleryWorker
from tests.support.servers.redis_server import RedisServer
from tests.support.servers.scripted_server import ScriptedServer
from workers.io.redis_link import RedisLink
from workers.metrics_page import TOTALS_KEY, MetricsPage
from workers.settings import Settings
from workers.telemetry.counters import take_counted
from workers.telemetry.metrics import BATCH_ROWS, STAGE_SECONDS, WAKE_UPS
from workers.telemetry.publishing import Publisher


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    """What other tests counted in this process is theirs."""
    take_counted()


def shown(worker: Worker) -> dict[tuple[str, ...], float]:
    """The samples by name and label values."""
    return samples_of(MetricsPage(worker.link, worker.settings))


def samples_of(page: MetricsPage) -> dict[tuple[str, ...], float]:
    """The samples of a page, by name and the values of the labels in the order of their names."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(page)
    samples = [sample for family in parse(generate_latest(registry).decode()) for sample in family.samples]
    return {(sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value for sample in samples}


def test_a_job_is_counted(worker: Worker) -> None:
    """Each image once, by what became of it; each stage as often as it ran; each batch by its rows."""
    worker.submit(*[photo(number) for number in range(11)], b"no image")
    before = shown(worker)
    worker.detect()
    Publisher(worker.link.run).once()
    metrics = shown(worker)

    assert before["shelfline_waiting_rows", "bulk", "default"] == 12
    assert metrics["shelfline_waiting_rows", "bulk", "default"] == 0
    assert metrics["shelfline_images_total", "", "default", "succeeded", "1"] == 11
    assert metrics["shelfline_images_total", "unsupported_format", "default", "failed", ""] == 1
    assert metrics["shelfline_batch_rows_sum", "default"] == 11
    assert metrics["shelfline_batch_rows_bucket", "8.0", "default"] == metrics["shelfline_batch_rows_count", "default"]
    for stage, least in {"claim": 1, "fetch": 12, "decode": 12, "predict": 2, "settle": 1}.items():
        assert metrics["shelfline_stage_seconds_count", stage] >= least
        assert metrics["shelfline_stage_seconds_sum", stage] > 0
    assert metrics["shelfline_stage_seconds_count", "predict"] == metrics["shelfline_batch_rows_count", "default"]
    assert metrics["shelfline_model_available", "default"] == 1
    assert metrics["shelfline_model_version", "default"] == 1
    assert metrics["shelfline_rows_per_second", "default"] > 0
    assert (
        metrics["shelfline_redis_up",] == metrics["shelfline_redis_durable",] == metrics["shelfline_worker_seen",] == 1
    )


def test_given_up_images_are_counted(worker: Worker) -> None:
    """Canceled ones as that, expired ones as failed; each once, claimed or not."""
    canceled, expired = (worker.submit(*[photo(number) for number in range(9)]) for _ in range(2))
    claimed = worker.runtime._context.queue.claim("default", 4).images
    assert {image.job for image in claimed} == {canceled.id}
    worker.store.cancel(canceled.id)
    worker.link.run("jobs/cancel", expired.id, "expired")
    worker.runtime._context.queue.start(claimed)  # they are told that nobody waits for these
    metrics = shown(worker)

    assert metrics["shelfline_images_total", "", "default", "canceled", ""] == 9
    assert metrics["shelfline_images_total", "deadline_exceeded", "default", "failed", ""] == 9


def test_ages_and_lanes(worker: Worker) -> None:
    """How long the oldest image waits that nobody has, and how old the oldest job is; of what nobody waits for, 0."""
    worker.submit(photo(1))
    oldest = ("shelfline_oldest_waiting_seconds", "interactive", "default")
    wait_until(lambda: shown(worker)[oldest] > 0.04, what="an image that waits")
    waiting = shown(worker)
    worker.runtime._context.queue.claim("default", 4)
    held = shown(worker)

    assert 0.04 < waiting[oldest] < 60
    assert held[oldest] == 0
    assert held["shelfline_held_images", "interactive", "default"] == 1
    assert 0.04 < held["shelfline_oldest_job_seconds", "interactive", "default"] < 60
    assert held["shelfline_oldest_job_seconds", "bulk", "default"] == 0


@pytest.mark.parametrize("urgent", [True, False])
def test_the_age_of_what_is_due(worker: Worker, *, urgent: bool) -> None:
    """Of the end of a job, which goes before what only tidies up, as of that: since when it is due."""
    if urgent:
        worker.store.cancel(worker.submit(photo(0)).id)
    else:
        worker.link.client.zadd("sl:due", {"retire:job_0": time.time() * 1000})
    wait_until(lambda: shown(worker)["shelfline_oldest_due_duties_seconds",] > 0.1, what="the age of what is due")
    metrics = shown(worker)

    assert metrics["shelfline_due_duties",] == 1
    assert metrics["shelfline_oldest_due_duties_seconds",] < 60


def test_one_version_has_lanes_of_its_own(worker: Worker) -> None:
    """They are shown together with those of the model."""
    worker.submit(photo(1))
    worker.submit(photo(2), model_version=1)

    assert shown(worker)["shelfline_waiting_rows", "interactive", "default"] == 2


def test_what_is_published_twice_counts_once(link: RedisLink, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis took it, and the answer was lost: it is sent again, together with nothing else, and changes nothing."""
    publisher = Publisher(link.run)
    WAKE_UPS.add("sent", by=3)
    run = link.run

    def lose(name: str, *args: object) -> Any:
        run(name, *args)
        raise redis_client.ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(publisher, "_run_script", lose)
        with pytest.raises(redis_client.ConnectionError):
            publisher.once()
    WAKE_UPS.add("sent")
    publisher.last()

    assert shown(worker)["shelfline_rings_total", "sent"] == 4


def test_nothing_is_written_where_nothing_was_counted(link: RedisLink) -> None:
    """An idle process costs no sync of the disk."""
    Publisher(link.run).once()

    assert not link.client.exists(TOTALS_KEY)


def test_redis_is_down(redis_server: RedisServer, settings: Settings) -> None:
    """The page says so, and that it failed to ask is counted, and shown once it is back."""
    link = RedisLink(settings.redis_url)
    page = MetricsPage(link, settings)
    redis_server.kill()
    try:
        down = samples_of(page)
    finally:
        redis_server.start()
    Publisher(link.run).once()
    up = samples_of(page)
    link.close()

    assert [name for name in down if name[0] != "shelfline_info"] == [("shelfline_redis_up",)]
    assert down["shelfline_redis_up",] == 0
    assert up["shelfline_redis_errors_total", "no_answer"] >= 1


def test_what_another_version_counted_is_left_aside(worker: Worker) -> None:
    """Other labels, other buckets, metrics that are gone: the page is right about those that it knows."""
    for field in (
        '["shelfline_gone_total","x"]',
        '["shelfline_rings_total","sent","x"]',
        '["shelfline_batch_rows","m","7"]',
    ):
        worker.link.client.hset(TOTALS_KEY, field, 5)
    BATCH_ROWS.observe(8, "m")
    Publisher(worker.link.run).once()
    metrics = shown(worker)

    assert metrics["shelfline_batch_rows_count", "m"] == 1
    assert metrics["shelfline_rings_total", "sent"] == 0
    assert [name for name in metrics if "gone_total" in name[0]] == []


def test_the_page_is_openmetrics_too(worker: Worker) -> None:
    """Prometheus asks for that first; its own parser is strict."""
    STAGE_SECONDS.observe(0.3, "predict")
    Publisher(worker.link.run).once()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(MetricsPage(worker.link, worker.settings))
    names = {family.name for family in parse_openmetrics(generate_openmetrics(registry).decode())}

    assert {"shelfline_stage_seconds", "shelfline_images", "shelfline_waiting_rows"} <= names


@pytest.mark.parametrize("pool", POOLS)
def test_the_processes_of_a_worker_publish(front: Worker, start: Callable[[str], CeleryWorker], pool: str) -> None:
    """The pool's process, which does the work, and the main one, which sends wake-ups; what is left at the end too."""
    worker = start(pool)
    complete(front, front.submit(*[photo(number) for number in range(20)]))
    worker.process.terminate()
    assert worker.process.wait(180) == 0
    metrics = shown(front)

    assert metrics["shelfline_batch_rows_sum", "default"] == 20
    assert metrics["shelfline_images_total", "", "default", "succeeded", "1"] == 20


def test_a_model_server_that_is_down_is_counted(worker: Worker, server: ScriptedServer) -> None:
    """By the status of the calls; the images went back to their lane."""
    worker.submit(photo(1))
    server.stop()
    worker.detect()
    Publisher(worker.link.run).once()
    metrics = shown(worker)

    assert metrics["shelfline_rpc_errors_total", "UNAVAILABLE"] >= 1
    assert metrics["shelfline_model_available", "default"] == 0
    wait_until(lambda: shown(worker)["shelfline_oldest_waiting_seconds", "interactive", "default"] > 0)
