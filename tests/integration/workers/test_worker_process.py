"""The real Celery worker as processes, killed and stopped in the middle of a job."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.support.machine import SLOWNESS
from tests.support.polling import wait_until
from tests.support.processes.celery_worker import CeleryWorker
from tests.support.servers.scripted_server import ScriptedServer
from workers.queue.wakeups import PROBE_TASK
from workers.store.store_id import check_store_id

from .conftest import LEASE, POOLS, Worker, complete, photo, plain, ringing, slowly, under_way


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
def test_a_worker_that_starts_while_redis_is_full(
    front: Worker, start: Callable[[str], CeleryWorker], server: ScriptedServer
) -> None:
    """It stays, and does what waits once there is room."""
    check_store_id(front.link, front.blobs)
    job = front.submit(photo(1))
    front.link.client.config_set("maxmemory", 1)
    try:
        worker = start("prefork")
        swept = f"sl:upkeep:{PROBE_TASK}"
        wait_until(lambda: front.link.client.exists(swept) or worker.process.poll() is not None, what="its sweep")
    finally:
        front.link.client.config_set("maxmemory", 0)
    assert worker.process.poll() is None
    complete(front, job)
    assert sum(server.batches) == 1


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


@pytest.mark.process
def test_a_pool_process_that_gets_sigterm_is_replaced(
    front: Worker, start: Callable[..., CeleryWorker], server: ScriptedServer
) -> None:
    """Alone, without its worker: idle as well as busy. A busy one hands back first, so nobody waits for a lease."""
    worker = start("prefork")
    complete(front, front.submit(photo(1)))
    for busy in (False, True):
        slowly(server, 0.3 if busy else 0.0)
        job = front.submit(*[photo(number) for number in range(60)]) if busy else None
        if job:
            under_way(front, job, 8)
        child = worker.pool_process
        child.terminate()
        wait_until(lambda child=child: not child.is_running() or child.status() == "zombie", what="its end")  # type: ignore[misc]
        slowly(server, 0.0)
        complete(front, job or front.submit(photo(2)))
        assert worker.process.poll() is None
    log = worker.log.read_text()
    assert "Traceback" not in log
    assert "took over" not in log


@pytest.mark.process
def test_a_pool_process_that_hangs_is_replaced(
    make_worker: Callable[..., Worker], start_of: Callable[..., CeleryWorker]
) -> None:
    """One whose thread hangs ends by itself, one that a thread stops altogether is killed; other images are done."""
    front = ringing(make_worker(lease_seconds=LEASE, image_seconds=SLOWNESS))
    worker = start_of(front, "prefork", app="tests.support.processes.hanging_worker:app")
    for value, code in ((255, "image_timeout"), (0, "crashed_worker")):
        job = front.submit(photo(1), plain(value), photo(2))
        wait_until(lambda job=job: front.store.get(job.id).state.terminal, what="the end of the job")  # type: ignore[misc]
        assert [result.get("error", {}).get("code") for result in front.results(job)] == [None, code, None]
    assert worker.process.poll() is None


@pytest.mark.process
def test_a_worker_with_threads_that_hangs_ends(
    make_worker: Callable[..., Worker], start_of: Callable[..., CeleryWorker]
) -> None:
    """So that its manager starts it again, with a status that says that it failed. Other images are done before."""
    front = ringing(make_worker(lease_seconds=LEASE, image_seconds=4 * SLOWNESS))
    worker = start_of(front, "threads", app="tests.support.processes.hanging_worker:app")
    job = front.submit(photo(1), plain(255), photo(2))
    assert worker.process.wait(180) == 70
    assert front.store.get(job.id).running == 0
    assert front.store.get(job.id).succeeded == 2
