"""The sweep: what it finds, ends and forgets."""

from __future__ import annotations

import io

from tests.integration.workers.queue.conftest import Bench
from tests.support.polling import wait_until
from workers.jobs.job import Job
from workers.jobs.options import JobOptions
from workers.sources.origins.simple import Files

EXPIRING = ("sl:ring:", "sl:attended:")  # keys that are gone within seconds


def test_the_sweep_sees_unclaimed_and_abandoned_work(bench: Bench) -> None:
    """Work that waits or was abandoned is seen; work that somebody holds is not."""
    lease = int(bench.settings.lease_seconds * 1000)
    assert bench.link.run("lanes/sweep", lease) == [[], 0]
    bench.submit(3)
    assert bench.link.run("lanes/sweep", lease)[0] == ["default"]
    first = bench.queue.claim("default", 2).images
    bench.settle(first[:1])  # a deleted entry in between must not hide the rest
    assert bench.link.run("lanes/sweep", lease)[0] == ["default"]
    bench.queue.claim("default", 2)
    assert bench.link.run("lanes/sweep", lease)[0] == []
    wait_until(lambda: bench.link.run("lanes/sweep", lease)[0])


def test_consumers_of_ended_processes_are_forgotten(bench: Bench) -> None:
    """But never one that holds an entry: nobody could claim it again."""
    bench.submit(1)
    bench.other_queue.claim("default", 1)
    bench.queue.claim("default", 1)
    bench.link.client.xgroup_createconsumer("sl:lane:default:interactive", "workers", "gone")
    bench.submit(20)

    def names() -> set[str]:
        bench.link.client.delete("sl:tidied")
        bench.link.run("lanes/sweep", 20)
        return {
            consumer["name"] for consumer in bench.link.client.xinfo_consumers("sl:lane:default:interactive", "workers")
        }

    wait_until(lambda: names() == {"two"})


def sweep_to_the_end(bench: Bench, job: Job) -> None:
    """Nothing but sweeps and duties, until the job is over."""

    def over() -> bool:
        bench.link.run("lanes/sweep", int(bench.settings.lease_seconds * 1000))
        bench.duties.run_due()
        return bench.check(job.id).state.terminal

    wait_until(over)


def test_a_job_that_is_over_ends_though_nobody_works_for_its_model(bench: Bench) -> None:
    """Its worker died, and the model is away for good: no pipeline takes over, so the sweep ends what was claimed."""
    job = bench.submit(3)
    bench.queue.claim("default", 1)
    bench.store.cancel(job.id)
    assert bench.check(job.id).state == "canceling"

    sweep_to_the_end(bench, job)

    assert bench.check(job.id).canceled == 3


def test_what_a_worker_still_holds_of_a_canceled_job_is_left_to_it(bench: Bench) -> None:
    """A sweep within the lease ends nothing: the result may still come."""
    job = bench.submit(1)
    claimed = bench.queue.claim("default", 1).images
    bench.store.cancel(job.id)
    bench.link.run("lanes/sweep", 3_600_000)
    bench.settle(claimed)
    bench.duties.run_due()
    assert bench.check(job.id).succeeded == 1


def test_a_sweep_right_after_a_restart_of_redis_ends_nothing(bench: Bench) -> None:
    """All leases look old then, and their holders may still come with results."""
    job = bench.submit(1)
    (image,) = bench.queue.claim("default", 1).images
    bench.store.cancel(job.id)
    bench.link.client.xclaim(image.stream, "workers", "one", 0, [image.entry], idle=7_200_000)
    bench.link.run("lanes/sweep", 3_600_000)
    assert bench.check(job.id).running == 1


def test_nothing_is_left_of_jobs_for_a_version_that_nobody_serves(bench: Bench) -> None:
    """Neither lanes nor accounts nor a reason to wake a worker, once they are over. A late worker breaks nothing."""
    options = JobOptions("default", model_version=99)
    pinned = options.target
    files = [("0.jpg", io.BytesIO(b"0")), ("1.jpg", io.BytesIO(b"1"))]
    job = bench.intake.submit(Files(files), options)
    late = bench.queue.claim(pinned, 1).images
    bench.store.cancel(job.id)
    sweep_to_the_end(bench, job)
    bench.link.client.delete("sl:tidied")  # as after a minute
    bench.link.run("lanes/sweep", 3_600_000)

    assert [key for key in bench.link.client.keys("*") if pinned in key and not key.startswith(EXPIRING)] == []
    assert not bench.link.client.sismember("sl:models", pinned)
    assert [field for field in bench.link.client.hgetall("sl:open") if pinned in field] == []
    held = [image.key for image in late]
    assert (bench.queue.renew(held), bench.queue.start(late)) == (set(held), set(held))
    bench.queue.hand_back(late)
    bench.settle(late)
    assert (bench.queue.take_over(pinned, 8, []), bench.queue.claim(pinned, 8).images) == ([], [])
    assert bench.check(job.id).canceled == 2
