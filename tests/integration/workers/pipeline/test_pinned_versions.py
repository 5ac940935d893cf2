"""Jobs for a version of the model that is not served any more."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.workers.conftest import Worker, photo
from tests.support.polling import wait_until
from tests.support.servers.scripted_server import ScriptedServer
from workers.jobs.job import Job, JobState
from workers.store.catalog import Catalog

PINNED = "default@1"
IMAGES = 40  # more than a window


def submit(worker: Worker, **options: object) -> Job:
    return worker.submit(*[photo(number) for number in range(IMAGES)], model_version=1, **options)


def detect(worker: Worker, job: Job) -> None:
    """Have the worker take what waits for the version, until the job has ended."""

    def ended() -> bool:
        worker.runtime._models._cached.clear()
        worker.runtime.detect(PINNED)
        worker.runtime.do_duties()
        return worker.store.get(job.id).state.terminal

    wait_until(ended, what="the end of the job")


def test_images_fail_once_their_version_is_gone_for_too_long(
    make_worker: Callable[..., Worker], server: ScriptedServer
) -> None:
    """Those of a job that takes the newest version instead are processed with that one, in the same lane."""
    worker = make_worker(version_gone_seconds=0.0)
    strict, lenient = submit(worker), submit(worker, version_fallback="latest")
    server.version = 2
    detect(worker, strict)
    detect(worker, lenient)
    assert worker.store.get(strict.id).state is JobState.FAILED
    assert {result["error"]["code"] for result in worker.results(strict)} == {"version_gone"}
    assert worker.store.get(lenient.id).state is JobState.SUCCEEDED
    assert {result["model_version"] for result in worker.results(lenient)} == {2}


def test_images_wait_for_a_version_that_may_come_back(
    make_worker: Callable[..., Worker], server: ScriptedServer
) -> None:
    """Until then nothing fails, and nothing is processed by another version."""
    worker = make_worker(version_gone_seconds=600.0)
    job = submit(worker, version_fallback="latest")
    server.version = 2
    for _ in range(3):
        worker.runtime.detect(PINNED)
    worker.runtime.probe()
    stored = worker.store.get(job.id)
    assert "Version 1" in str(Catalog(worker.link).waiting_for(stored))
    assert (stored.succeeded, stored.failed, stored.queued) == (0, 0, IMAGES)
    assert worker.link.client.exists(f"sl:version-gone:{PINNED}")
    server.version = 1
    detect(worker, job)
    assert {result["model_version"] for result in worker.results(job)} == {1}
    assert not worker.link.client.exists(f"sl:version-gone:{PINNED}")


def test_the_time_counts_from_the_first_time_that_it_was_missed(worker: Worker) -> None:
    """Whichever worker missed it; it is forgotten if none looks for a minute."""
    queue, client = worker.runtime._context.queue, worker.link.client
    assert queue.version_gone(PINNED) < 60
    client.set(f"sl:version-gone:{PINNED}", int(client.get(f"sl:version-gone:{PINNED}")) - 500_000)
    assert 500 <= worker.another()._context.queue.version_gone(PINNED) < 600
    assert 0 < client.pttl(f"sl:version-gone:{PINNED}") <= 60_000


def test_a_model_without_any_version_is_an_outage(make_worker: Callable[..., Worker], server: ScriptedServer) -> None:
    """Images wait for it, whatever they ask for."""
    worker = make_worker(version_gone_seconds=0.0)
    job = submit(worker)
    server.stop()
    worker.runtime.detect(PINNED)
    assert worker.store.get(job.id).queued == IMAGES
