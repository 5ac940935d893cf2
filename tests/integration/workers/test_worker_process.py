"""The real Celery worker as processes, killed and stopped in the middle of a job."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.support.polling import wait_until
from tests.support.processes.celery_worker import CeleryWorker
from tests.support.servers.scripted_server import ScriptedServer

from .conftest import POOLS, Worker, complete, photo, slowly, under_way


@pytest.mark.parametrize("pool", POOLS)
def test_a_job_through_the_real_worker(
    front: Worker, start: Callable[[str], CeleryWorker], server: ScriptedServer, pool: str
) -> None:
    """Submitted before the worker is there, a job waits and is done; a second one is done by the idle worker."""
    early = front.submit(*[photo(number) for number in range(100)])
    start(pool)
    complete(front, early)
    late = front.submit(photo(1))
    complete(front, late)
    assert sum(server.batches) == 101


@pytest.mark.process
@pytest.mark.parametrize("pool", POOLS)
def test_a_worker_killed_in_the_middle_of_a_job(
    front: Worker, start: Callable[[str], CeleryWorker], server: ScriptedServer, pool: str
) -> None:
    """Kill -9 of the group; another worker takes its images over after the lease and ends the job."""
    slowly(server)
    job = front.submit(*[photo(number) for number in range(120)])
    first = start(pool)
    under_way(front, job, 16)
    first.signal_group(signal.SIGKILL)
    first.process.wait()
    start(pool)
    complete(front, job)


@pytest.mark.process
def test_a_pool_process_killed_in_the_middle_of_a_job(
    front: Worker, start: Callable[[str], CeleryWorker], server: ScriptedServer
) -> None:
    """Kill -9 of the process that does the work: Celery starts another, which ends the job by itself."""
    slowly(server)
    job = front.submit(*[photo(number) for number in range(120)])
    worker = start("prefork")
    under_way(front, job, 16)
    worker.pool_process.kill()
    complete(front, job)


@pytest.mark.process
@pytest.mark.parametrize(("pool", "whom"), [*((pool, "group") for pool in POOLS), ("prefork", "main")])
def test_sigterm_hands_back_at_once(
    front: Worker, start: Callable[[str], CeleryWorker], server: ScriptedServer, pool: str, whom: str
) -> None:
    """The batch in flight is settled and the rest is handed back: nobody has to wait for a lease.

    Process managers signal the whole group, containers the main process alone.
    """
    slowly(server, 0.3)
    job = front.submit(*[photo(number) for number in range(120)])
    worker = start(pool)
    under_way(front, job, 8)
    worker.signal_group(signal.SIGTERM) if whom == "group" else worker.process.terminate()
    assert worker.process.wait(15) == 0
    now = front.store.get(job.id)
    assert now.running == 0
    assert now.queued + now.succeeded == 120
    assert now.queued > 0
    assert sum(server.batches) == now.succeeded  # no Predict was in vain
    assert "Traceback" not in worker.log.read_text()
    slowly(server, 0.0)
    start(pool)
    complete(front, job)


@pytest.mark.process
def test_a_worker_among_others_stops_at_once(
    front: Worker, start: Callable[..., CeleryWorker], server: ScriptedServer
) -> None:
    """Others see to what else waits, so nothing but the signal, to the main process alone, takes it from its job."""
    slowly(server, 0.5)
    job = front.submit(*[photo(number) for number in range(120)])
    start("threads", queues="upkeep")
    worker = start("prefork")
    under_way(front, job, 16)
    worker.process.terminate()
    assert worker.process.wait(180) == 0
    stored = front.store.get(job.id)
    assert stored.running == 0
    assert stored.queued > 0


@pytest.mark.process
@pytest.mark.parametrize("pool", POOLS)
def test_a_model_server_that_goes_and_comes(
    front: Worker, start: Callable[[str], CeleryWorker], server: ScriptedServer, pool: str
) -> None:
    """Images go back while it is away, nothing fails, and the job goes on by itself."""
    slowly(server)
    job = front.submit(*[photo(number) for number in range(120)])
    start(pool)
    under_way(front, job, 16)
    server.stop()
    wait_until(lambda: front.store.get(job.id).running == 0, what="the hand-back")
    server.start()
    complete(front, job)
