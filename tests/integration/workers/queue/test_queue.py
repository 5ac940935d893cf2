"""The queue and the store on a real Redis: claim, settle, start, hand back."""

from __future__ import annotations

import io
import json
import time

import pytest

from tests.integration.workers.queue.conftest import Bench, outcome, taken_over
from workers.errors import JobNotFoundError, StoreUnavailableError
from workers.jobs.job import JobState, new_id
from workers.jobs.options import JobOptions
from workers.jobs.submission import NewJob
from workers.queue.wakeups import UPKEEP_QUEUE
from workers.queue.work_queue import window
from workers.sources.origins.simple import Files
from workers.store.capacity import Capacity


def test_a_job_goes_from_accepted_to_succeeded(bench: Bench) -> None:
    """Claimed images run, settled ones count, and with the last one the job is over: nothing else is to be done."""
    job = bench.submit(3)
    assert (job.state, job.queued, bench.woken) == (JobState.QUEUED, 3, ["default"])
    claimed = bench.queue.claim("default", 8).images
    assert [image.index for image in claimed] == [0, 1, 2]
    assert bench.check(job.id).running == 3
    assert bench.check(job.id).state is JobState.RUNNING
    bench.store.settle([outcome(image, json.dumps({"index": image.index})) for image in reversed(claimed)], 0.01)
    done = bench.check(job.id)
    assert (done.state, done.succeeded, done.model_versions) == (JobState.SUCCEEDED, 3, (1,))
    assert [json.loads(line)["index"] for line in bench.store.results(job.id)] == [0, 1, 2]
    assert bench.link.client.xlen("sl:lane:default:interactive") == 0


def test_a_batch_is_formed_across_jobs_interactive_first(bench: Bench) -> None:
    """One claim takes images of several jobs; a small job's come before a large one's that was there first."""
    large, small, other = bench.submit(20), bench.submit(2), bench.submit(1)
    got = bench.queue.claim("default", 8).images
    assert [image.job for image in got] == [small.id, small.id, other.id] + [large.id] * 5


def test_the_lane_holds_a_window_and_is_topped_up(bench: Bench) -> None:
    """A large job never has more than a window in its lane, and all of it comes through."""
    wide = window(bench.settings)
    job = bench.submit(5 * wide + 3)
    seen: list[int] = []
    while claim := bench.queue.claim("default", 8):
        if not claim.images:
            break
        assert bench.link.client.xlen("sl:lane:default:bulk") <= wide + 8
        seen += [image.index for image in claim.images]
        bench.settle(claim.images)
        bench.duties.run_due()
    assert seen == list(range(5 * wide + 3))
    assert bench.check(job.id).state is JobState.SUCCEEDED


def test_two_that_top_up_at_once_add_each_image_once(bench: Bench) -> None:
    """Top-up is compare-and-set: a doer whose lease ran out, and who goes on, adds nothing twice."""
    bench.submit(100)
    first = bench.queue.claim("default", 24).images
    assert bench.queue.claim("default", 1).duty_due is False  # it is due already
    bench.duties.run_due()
    late = bench.link.client.hget(f"sl:job:{first[0].job}", "fed")
    bench.link.run("lanes/topup", f"topup:{first[0].job}", "0", first[0].job, int(late) - 24, 32, 0, "x", "blob:x")
    rest = bench.queue.claim("default", 99).images
    assert len({image.index for image in rest}) == len(rest)
    assert all(image.name != "x" for image in rest)


def test_a_result_is_written_once(bench: Bench) -> None:
    """A second settle, a settle after a hand-back, and a settle of a job that is gone change nothing."""
    job = bench.submit(2)
    first, second = bench.queue.claim("default", 8).images
    bench.settle([first], '"one"')
    bench.settle([first], '"again"')
    bench.queue.hand_back([second])
    bench.settle([second], '"late"')
    now = bench.check(job.id)
    assert (now.succeeded, now.queued) == (1, 1)
    assert list(bench.store.results(job.id)) == ['"one"']
    (again,) = bench.other_queue.claim("default", 8).images
    assert (again.index, again.attempt, again.starts) == (1, "1", 0)
    bench.link.client.delete(f"sl:job:{job.id}", f"sl:job:{job.id}:items")
    bench.settle([again])
    with pytest.raises(JobNotFoundError):
        bench.store.get(job.id)
    assert bench.link.client.exists(f"sl:job:{job.id}", f"sl:job:{job.id}:items") == 0


def test_a_hand_back_is_not_a_death(bench: Bench) -> None:
    """A start that was handed back is taken off; a fault is counted where it is one."""
    bench.submit(1)
    for faults in (0, 1):
        (image,) = bench.queue.claim("default", 8).images
        assert (image.starts, image.faults) == (0, faults)
        bench.queue.start([image])
        bench.queue.hand_back([image], fault=True)


def test_an_upload_that_became_no_job_is_deleted(bench: Bench) -> None:
    """Its blobs go after the grace; from then on it cannot become a job, and one that became a job stays."""
    kept = bench.submit(1)
    bench.link.client.zadd("sl:due", {"draft:uploads/upload_x": 1})
    bench.blobs.write("uploads/upload_x/0", io.BytesIO(b"x"))
    bench.duties.run_due()
    assert not bench.blobs._files.exists(bench.blobs._path("uploads/upload_x"))
    with pytest.raises(StoreUnavailableError, match="given up"):
        bench.store.create(NewJob(new_id("job"), JobOptions("default"), total=1, upload="upload_x"), [], 0)
    assert bench.blobs.read(bench.queue.claim("default", 1).images[0].ref[5:], 9) == b"0"
    assert bench.check(kept.id).total == 1


def test_waiting_for_a_job_ends_when_it_finishes(bench: Bench) -> None:
    """A waiter is woken by the finish, and gets the job as it stands where the time is over first."""
    job = bench.submit(1)
    assert bench.store.wait(job.id, 0.05).state is JobState.QUEUED
    claimed = bench.queue.claim("default", 1).images
    with bench.store._listener.waiting_for(job.id) as finished:
        bench.settle(claimed)
        bench.duties.run_due()
        assert finished.wait(180)
    assert bench.store.wait(job.id, 60).state is JobState.SUCCEEDED


def test_a_start_counts_once_and_only_for_its_holder(bench: Bench) -> None:
    """Sent twice it counts once; sent late, by one whose image was taken over or is done, it changes nothing."""
    job = bench.submit(2)
    first, second = bench.queue.claim("default", 8).images
    assert bench.queue.start([first]) == bench.queue.start([first]) == set()
    bench.settle([second])
    assert bench.queue.start([second]) == {second.key}
    taken = taken_over(bench, 8)
    assert [image.starts for image in taken] == [1]
    assert bench.queue.start([first]) == {first.key}
    bench.settle(taken)
    bench.duties.run_due()
    assert bench.queue.start([first]) == {first.key}
    assert bench.link.client.exists(f"sl:job:{job.id}:items") == 0


def test_only_ids_are_looked_up(bench: Bench) -> None:
    """The job's other keys are no jobs."""
    job = bench.submit(1)
    bench.settle(bench.queue.claim("default", 1).images)
    for other in (f"{job.id}:seg:0", f"{job.id}:items", "", "*", job.id.upper()):
        with pytest.raises(JobNotFoundError):
            bench.store.get(other)


def test_a_claim_passes_over_any_number_of_given_up_images(bench: Bench) -> None:
    """A few hundred at a time, since Redis does nothing else meanwhile; what lies behind them is claimed."""
    for _ in range(80):
        bench.store.cancel(bench.submit(8).id)
    live = bench.submit(1)
    stream = "sl:lane:default:interactive"
    answer = json.loads(bench.link.run("lanes/claim", "default", "one", 8, 8, 0, 32))
    assert (answer["items"], answer["more"]) == ([], True)
    assert 0 < bench.link.client.xlen(stream) < 641
    assert [image.job for image in bench.other_queue.claim("default", 8).images] == [live.id]
    assert bench.link.client.xlen(stream) == 1


def test_whoever_is_busy_sees_that_others_wait(bench: Bench) -> None:
    """Also where the others' wake-up is long over, and where so many wake-ups wait that no other can be sent."""
    bench.submit(3)
    assert bench.link.run("lanes/others_waiting", "default", UPKEEP_QUEUE) == 0
    bench.intake.submit(Files([("a.jpg", io.BytesIO(b"x"))]), JobOptions("default", model_version=2))
    bench.link.client.delete("sl:ring:default@2")
    assert bench.link.run("lanes/others_waiting", "default", UPKEEP_QUEUE) == 1
    bench.queue.claim("default@2", 1)
    assert bench.link.run("lanes/others_waiting", "default", UPKEEP_QUEUE) == 0


def test_a_clock_that_was_set_back_makes_no_estimate_negative(bench: Bench) -> None:
    """The time since the last settle is then less than nothing, and counts as none."""
    ahead = int(time.time() * 1000) + 60_000
    bench.link.client.hset("sl:rate:default", mapping={"rows": "10", "ms": "1000", "at": ahead})
    bench.submit(1)
    bench.settle(bench.queue.claim("default", 1).images)
    assert Capacity(bench.link).rate("default") == pytest.approx(11.0)
