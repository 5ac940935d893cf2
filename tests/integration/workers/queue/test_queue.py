"""The queue and the store on a real Redis: claim, settle, hand-back, takeover, poison."""

from __future__ import annotations

import dataclasses
import io
import json
import time
from collections.abc import Iterator, Sequence

import pytest

from tests.support.machine import SLOWNESS, free_port
from tests.support.polling import wait_until
from workers.duties import Duties
from workers.errors import JobNotFoundError, StoreUnavailableError
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.job import Job, JobState, NewJob, Outcome, new_id
from workers.jobs.options import JobOptions
from workers.pipeline.in_flight import Leases
from workers.queue.celery_app import create_celery
from workers.queue.wakeups import DUTIES_TASK, PROBE_TASK, UPKEEP_QUEUE, CeleryWakeUps
from workers.queue.work_queue import WorkQueue, window
from workers.settings import Settings
from workers.sources.intake import Intake
from workers.sources.origins.simple import Files
from workers.store.capacity import Capacity
from workers.store.job_store import JobStore


class Bench:
    """A front end and two workers' queues on one Redis, with no process between."""

    def __init__(self, link: RedisLink, settings: Settings) -> None:
        self.link, self.settings = link, settings
        self.woken: list[str] = []
        self.blobs = BlobStore(settings.blob_url)
        self.store = JobStore(link, self.blobs, settings)
        self.intake = Intake(link, self.store, self.blobs, self, settings)
        self.duties = Duties(link, self.blobs, settings, self.wake)
        self.one = WorkQueue(link, settings, "one")
        self.two = WorkQueue(link, settings, "two")

    def wake(self, model: str) -> None:
        self.woken.append(model)

    send = wake

    def wake_for_duties(self) -> None:
        """Nobody is rung for: a test does the duties itself."""

    def submit(self, count: int) -> Job:
        files = [(f"{i}.jpg", io.BytesIO(b"%d" % i)) for i in range(count)]
        return self.intake.submit(Files(files), JobOptions("default"))

    def settle(self, claimed: list[ClaimedImage], text: str = "{}") -> None:
        self.store.settle([outcome(one, text) for one in claimed], 0.01)

    def check(self, job: str) -> Job:
        """The job, its counts adding up."""
        found = self.store.get(job)
        assert found.queued + found.running + found.succeeded + found.failed + found.canceled == found.total
        return found


def outcome(one: ClaimedImage, text: str, state: str = "succeeded") -> Outcome:
    return Outcome(one.stream, one.entry, one.job, one.index, one.attempt, state, 1, text)


def taken_over(bench: Bench, most: int) -> list[ClaimedImage]:
    """What the second queue takes over once the leases are up."""
    taken: list[ClaimedImage] = []

    def some() -> bool:
        taken.extend(bench.two.take_over("default", most, []))
        return bool(taken)

    wait_until(some, 10)
    return taken


@pytest.fixture
def bench(link: RedisLink, settings: Settings) -> Iterator[Bench]:
    found = Bench(link, settings)
    yield found
    found.store.close()


def test_a_job_goes_from_accepted_to_succeeded(bench: Bench) -> None:
    """Claimed images run, settled ones count, and with the last one the job is over: nothing else is to be done."""
    job = bench.submit(3)
    assert (job.state, job.queued, bench.woken) == (JobState.QUEUED, 3, ["default"])
    claimed = bench.one.claim("default", 8).images
    assert [one.index for one in claimed] == [0, 1, 2]
    assert bench.check(job.id).running == 3
    assert bench.check(job.id).state is JobState.RUNNING
    bench.store.settle([outcome(one, json.dumps({"index": one.index})) for one in reversed(claimed)], 0.01)
    done = bench.check(job.id)
    assert (done.state, done.succeeded, done.model_versions) == (JobState.SUCCEEDED, 3, (1,))
    assert [json.loads(line)["index"] for line in bench.store.results(job.id)] == [0, 1, 2]
    assert bench.link.client.xlen("sl:lane:default:interactive") == 0


def test_a_batch_is_formed_across_jobs_interactive_first(bench: Bench) -> None:
    """One claim takes images of several jobs; a small job's come before a large one's that was there first."""
    large, small, other = bench.submit(20), bench.submit(2), bench.submit(1)
    got = bench.one.claim("default", 8).images
    assert [one.job for one in got] == [small.id, small.id, other.id] + [large.id] * 5


def test_the_lane_holds_a_window_and_is_topped_up(bench: Bench) -> None:
    """A large job never has more than a window in its lane, and all of it comes through."""
    wide = window(bench.settings)
    job = bench.submit(5 * wide + 3)
    seen: list[int] = []
    while claim := bench.one.claim("default", 8):
        if not claim.images:
            break
        assert bench.link.client.xlen("sl:lane:default:bulk") <= wide + 8
        seen += [one.index for one in claim.images]
        bench.settle(claim.images)
        bench.duties.run_due()
    assert seen == list(range(5 * wide + 3))
    assert bench.check(job.id).state is JobState.SUCCEEDED


def test_two_that_top_up_at_once_add_each_image_once(bench: Bench) -> None:
    """Top-up is compare-and-set: a doer whose lease ran out, and who goes on, adds nothing twice."""
    bench.submit(100)
    first = bench.one.claim("default", 24).images
    assert bench.one.claim("default", 1).duty_due is False  # it is due already
    bench.duties.run_due()
    late = bench.link.client.hget(f"sl:job:{first[0].job}", "fed")
    bench.link.run("lanes/topup", f"topup:{first[0].job}", "0", first[0].job, int(late) - 24, 32, 0, "x", "blob:x")
    rest = bench.one.claim("default", 99).images
    assert len({one.index for one in rest}) == len(rest)
    assert all(one.name != "x" for one in rest)


def test_a_result_is_written_once(bench: Bench) -> None:
    """A second settle, a settle after a hand-back, and a settle of a job that is gone change nothing."""
    job = bench.submit(2)
    first, second = bench.one.claim("default", 8).images
    bench.settle([first], '"one"')
    bench.settle([first], '"again"')
    bench.one.hand_back([second])
    bench.settle([second], '"late"')
    now = bench.check(job.id)
    assert (now.succeeded, now.queued) == (1, 1)
    assert list(bench.store.results(job.id)) == ['"one"']
    (again,) = bench.two.claim("default", 8).images
    assert (again.index, again.attempt, again.starts) == (1, "1", 0)
    bench.link.client.delete(f"sl:job:{job.id}", f"sl:job:{job.id}:items")
    bench.settle([again])
    with pytest.raises(JobNotFoundError):
        bench.store.get(job.id)
    assert bench.link.client.exists(f"sl:job:{job.id}", f"sl:job:{job.id}:items") == 0


def test_a_dead_workers_images_are_taken_over_after_the_lease(bench: Bench) -> None:
    """Nothing is taken before the lease is over, all of it after; what another took cannot be handed back."""
    job = bench.submit(5)
    old = bench.one.claim("default", 8).images
    assert bench.two.take_over("default", 8, []) == []
    taken = taken_over(bench, 8)
    assert [one.index for one in taken] == [0, 1, 2, 3, 4]
    bench.one.hand_back(old)
    assert bench.check(job.id).running == 5
    bench.settle(taken)
    bench.settle(old)
    assert bench.check(job.id).succeeded == 5


def test_a_renewed_lease_is_not_taken_over(bench: Bench) -> None:
    """As long as a worker renews, its images stay its own; what was taken meanwhile is named as lost."""
    bench.submit(2)
    held = [one.key for one in bench.one.claim("default", 8).images]
    end = time.monotonic() + 3 * bench.settings.lease_seconds
    while time.monotonic() < end:
        assert bench.one.renew(held) == set()
        assert bench.two.take_over("default", 8, []) == []
    wait_until(lambda: bench.two.take_over("default", 8, []), 10)
    assert bench.one.renew(held) == set(held)


def test_an_image_that_was_started_is_taken_over_alone(bench: Bench) -> None:
    """Started images come one at a time, the others together; three starts are told."""
    bench.submit(4)
    got = bench.one.claim("default", 8).images
    bench.one.start(got[:2])
    bench.one.start([dataclasses.replace(got[0], starts=2)])
    rounds: list[list[tuple[int, int]]] = []

    def look() -> bool:
        taken = bench.two.take_over("default", 8, [])
        if taken:
            rounds.append([(one.index, one.starts) for one in taken])
        return sum(len(one) for one in rounds) == 4

    wait_until(look, 10)
    assert sorted(rounds) == [[(0, 3)], [(1, 1)], [(2, 0), (3, 0)]]


def test_a_hand_back_is_not_a_death(bench: Bench) -> None:
    """A start that was handed back is taken off; a fault is counted where it is one."""
    bench.submit(1)
    for faults in (0, 1):
        (one,) = bench.one.claim("default", 8).images
        assert (one.starts, one.faults) == (0, faults)
        bench.one.start([one])
        bench.one.hand_back([one], fault=True)


def test_what_the_caller_holds_itself_is_not_taken_over(bench: Bench) -> None:
    """A worker that was paused does not take its own images from itself."""
    bench.submit(1)
    (mine,) = bench.one.claim("default", 8).images
    wait_until(lambda: bench.one.take_over("default", 8, []), 10)
    end = time.monotonic() + 2 * bench.settings.lease_seconds
    while time.monotonic() < end:
        assert bench.one.take_over("default", 8, [mine.key]) == []


def test_a_restarted_redis_gives_everyone_one_lease(bench: Bench) -> None:
    """Right after a restart of Redis all leases look old, and nothing may be taken: the uptime tells."""
    slow = WorkQueue(bench.link, bench.settings.model_copy(update={"lease_seconds": 3600.0}), "slow")
    bench.submit(1)
    (one,) = bench.one.claim("default", 8).images
    bench.link.client.xclaim(one.stream, "workers", "one", 0, [one.entry], idle=7_200_000)
    assert slow.take_over("default", 8, []) == []


def test_an_upload_that_became_no_job_is_deleted(bench: Bench) -> None:
    """Its blobs go after the grace; from then on it cannot become a job, and one that became a job stays."""
    kept = bench.submit(1)
    bench.link.client.zadd("sl:due", {"draft:uploads/upload_x": 1})
    bench.blobs.write("uploads/upload_x/0", io.BytesIO(b"x"))
    bench.duties.run_due()
    assert not bench.blobs._files.exists(bench.blobs._path("uploads/upload_x"))
    with pytest.raises(StoreUnavailableError, match="given up"):
        bench.store.create(NewJob(new_id("job"), JobOptions("default"), 1, 60.0, "upload_x"), [], 0)
    assert bench.blobs.read(bench.one.claim("default", 1).images[0].ref[5:], 9) == b"0"
    assert bench.check(kept.id).total == 1


def test_the_sweep_sees_unclaimed_and_abandoned_work(bench: Bench) -> None:
    """Work that waits or was abandoned is seen; work that somebody holds is not."""
    lease = int(bench.settings.lease_seconds * 1000)
    assert bench.link.run("lanes/sweep", lease) == [[], 0]
    bench.submit(3)
    assert bench.link.run("lanes/sweep", lease)[0] == ["default"]
    first = bench.one.claim("default", 2).images
    bench.settle(first[:1])  # a deleted entry in between must not hide the rest
    assert bench.link.run("lanes/sweep", lease)[0] == ["default"]
    bench.one.claim("default", 2)
    assert bench.link.run("lanes/sweep", lease)[0] == []
    wait_until(lambda: bench.link.run("lanes/sweep", lease)[0], 10)


def test_waiting_for_a_job_ends_when_it_finishes(bench: Bench) -> None:
    """A waiter is woken by the finish, and gets the job as it stands where the time is over first."""
    job = bench.submit(1)
    assert bench.store.wait(job.id, 0.05).state is JobState.QUEUED
    claimed = bench.one.claim("default", 1).images
    with bench.store._listener.waiting_for(job.id) as finished:
        bench.settle(claimed)
        bench.duties.run_due()
        assert finished.wait(10)
    assert bench.store.wait(job.id, 60).state is JobState.SUCCEEDED


def test_a_start_counts_once_and_only_for_its_holder(bench: Bench) -> None:
    """Sent twice it counts once; sent late, by one whose image was taken over or is done, it changes nothing."""
    job = bench.submit(2)
    first, second = bench.one.claim("default", 8).images
    assert bench.one.start([first]) == bench.one.start([first]) == set()
    bench.settle([second])
    assert bench.one.start([second]) == {second.key}
    taken = taken_over(bench, 8)
    assert [one.starts for one in taken] == [1]
    assert bench.one.start([first]) == {first.key}
    bench.settle(taken)
    bench.duties.run_due()
    assert bench.one.start([first]) == {first.key}
    assert bench.link.client.exists(f"sl:job:{job.id}:items") == 0


def test_renewal_outlives_a_redis_that_refuses(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal that is no lost connection does not end the renewals: the image is not taken over afterwards."""
    settings = bench.settings.model_copy(update={"lease_seconds": 3.0 * SLOWNESS})
    mine, other = (WorkQueue(bench.link, settings, name) for name in ("mine", "other"))
    refusals: list[Exception] = []
    renew = mine.renew

    def renew_or_remember(held: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        try:
            return renew(held)
        except Exception as error:
            refusals.append(error)
            raise

    monkeypatch.setattr(mine, "renew", renew_or_remember)
    bench.submit(1)
    leases = Leases(mine, settings.lease_seconds)
    leases.add(mine.claim("default", 1).images)
    bench.link.client.config_set("min-replicas-to-write", 1)
    try:
        wait_until(lambda: refusals, what="a renewal that is refused")
    finally:
        bench.link.client.config_set("min-replicas-to-write", 0)
    end = time.monotonic() + 2 * settings.lease_seconds
    while time.monotonic() < end:
        assert other.take_over("default", 8, []) == []
    leases.stop()


def test_only_ids_are_looked_up(bench: Bench) -> None:
    """The job's other keys are no jobs."""
    job = bench.submit(1)
    bench.settle(bench.one.claim("default", 1).images)
    for other in (f"{job.id}:seg:0", f"{job.id}:items", "", "*", job.id.upper()):
        with pytest.raises(JobNotFoundError):
            bench.store.get(other)


def test_consumers_of_ended_processes_are_forgotten(bench: Bench) -> None:
    """But never one that holds an entry: nobody could claim it again."""
    bench.submit(1)
    bench.two.claim("default", 1)
    bench.one.claim("default", 1)
    bench.link.client.xgroup_createconsumer("sl:lane:default:interactive", "workers", "gone")
    bench.submit(20)

    def names() -> set[str]:
        bench.link.client.delete("sl:tidied")
        bench.link.run("lanes/sweep", 20)
        return {one["name"] for one in bench.link.client.xinfo_consumers("sl:lane:default:interactive", "workers")}

    wait_until(lambda: names() == {"two"}, 10)


def test_a_ring_never_fails(settings: Settings) -> None:
    """Where nobody listens it is lost, and said; what is rung for is stored already."""
    nowhere = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    wakeups = CeleryWakeUps(RedisLink(nowhere.redis_url), create_celery(nowhere))
    wakeups.wake("default")


def test_wake_ups_do_not_pile_up(settings: Settings, link: RedisLink) -> None:
    """Where no worker takes them up, as many wait as there are models, whoever sends them, and each can have one."""
    wakeups = CeleryWakeUps(link, create_celery(settings))
    link.client.sadd("sl:models", "default", "other")
    for _ in range(50):
        wakeups.wake("default")
        link.client.delete("sl:ring:default")  # as its time to live does
    wakeups.wake("other")
    assert link.client.llen("detect") == 2
    link.client.lpop("detect")
    wakeups.wake("other")
    wakeups.wake("other")
    assert link.client.llen("detect") == 2
    wakeups.close()


def test_a_manifest_that_is_cut_short_is_not_retried_at_once(bench: Bench) -> None:
    """The duty stays, for after its lease; it does not spin."""
    job = bench.submit(100)
    path = bench.blobs._path(f"jobs/{job.id}/manifest.jsonl")
    bench.blobs._files.pipe_file(path, b"".join(bench.blobs._files.cat_file(path).splitlines(keepends=True)[:32]))
    bench.one.claim("default", 24)
    assert bench.duties.run_due() == 1
    assert bench.duties.run_due() == 0


def test_a_claim_passes_over_any_number_of_given_up_images(bench: Bench) -> None:
    """A few hundred at a time, since Redis does nothing else meanwhile; what lies behind them is claimed."""
    for _ in range(80):
        bench.store.cancel(bench.submit(8).id)
    live = bench.submit(1)
    stream = "sl:lane:default:interactive"
    answer = json.loads(bench.link.run("lanes/claim", "default", "one", 8, 8, 0, 32))
    assert (answer["items"], answer["more"]) == ([], True)
    assert 0 < bench.link.client.xlen(stream) < 641
    assert [one.job for one in bench.two.claim("default", 8).images] == [live.id]
    assert bench.link.client.xlen(stream) == 1


def test_what_is_taken_over_is_counted_in_rows(bench: Bench) -> None:
    """An image in tiles makes many: no more are taken than there is room for, but for the last one's."""
    files = [(f"{number}.jpg", io.BytesIO(b"x")) for number in range(6)]
    bench.intake.submit(Files(files), JobOptions("default", tiles="2x3"))
    assert [one.rows for one in bench.one.claim("default", 42).images] == [7] * 5
    taken = taken_over(bench, 16)
    assert len(taken) == 3


def test_upkeep_does_not_pile_up(settings: Settings, link: RedisLink) -> None:
    """Where the pool's processes are stuck, the sweep goes on and nobody takes its messages up."""
    wakeups = CeleryWakeUps(link, create_celery(settings))
    for _ in range(50):
        for task in (DUTIES_TASK, PROBE_TASK):
            wakeups.wake_for_upkeep(task, once_in=60.0)
            link.client.delete(f"sl:upkeep:{task}")  # as its time to live does
        wakeups.wake_for_duties()
    assert 1 <= link.client.llen(UPKEEP_QUEUE) <= 2
    wakeups.close()


def test_whoever_is_busy_sees_that_others_wait(bench: Bench) -> None:
    """Also where the other's wake-up is long over, and where so many wait that it cannot send another."""
    bench.submit(3)
    assert bench.link.run("lanes/others_waiting", "default", UPKEEP_QUEUE) == 0
    bench.intake.submit(Files([("a.jpg", io.BytesIO(b"x"))]), JobOptions("default", model_version=2))
    bench.link.client.delete("sl:ring:default@2")
    assert bench.link.run("lanes/others_waiting", "default", UPKEEP_QUEUE) == 1
    bench.one.claim("default@2", 1)
    assert bench.link.run("lanes/others_waiting", "default", UPKEEP_QUEUE) == 0


def sweep_to_the_end(bench: Bench, job: Job) -> None:
    """Nothing but sweeps and duties, until the job is over."""

    def over() -> bool:
        bench.link.run("lanes/sweep", int(bench.settings.lease_seconds * 1000))
        bench.duties.run_due()
        return bench.check(job.id).state.terminal

    wait_until(over, 10)


def test_a_job_that_is_over_ends_though_nobody_works_for_its_model(bench: Bench) -> None:
    """Its worker died, and the model is away for good: no pipeline takes over, so the sweep ends what was claimed."""
    job = bench.submit(3)
    bench.one.claim("default", 1)
    bench.store.cancel(job.id)
    assert bench.check(job.id).state == "canceling"

    sweep_to_the_end(bench, job)

    assert bench.check(job.id).canceled == 3


def test_what_a_worker_still_holds_of_a_canceled_job_is_left_to_it(bench: Bench) -> None:
    """A sweep within the lease ends nothing: the result may still come."""
    job = bench.submit(1)
    claimed = bench.one.claim("default", 1).images
    bench.store.cancel(job.id)
    bench.link.run("lanes/sweep", 3_600_000)
    bench.settle(claimed)
    bench.duties.run_due()
    assert bench.check(job.id).succeeded == 1


def test_a_sweep_right_after_a_restart_of_redis_ends_nothing(bench: Bench) -> None:
    """All leases look old then, and their holders may still come with results."""
    job = bench.submit(1)
    (one,) = bench.one.claim("default", 1).images
    bench.store.cancel(job.id)
    bench.link.client.xclaim(one.stream, "workers", "one", 0, [one.entry], idle=7_200_000)
    bench.link.run("lanes/sweep", 3_600_000)
    assert bench.check(job.id).running == 1


def test_nothing_is_left_of_jobs_for_a_version_that_nobody_serves(bench: Bench) -> None:
    """Neither lanes nor accounts nor a reason to wake anyone, once they are over; a late worker breaks nothing."""
    options = JobOptions("default", model_version=99)
    pinned = options.target
    files = [("0.jpg", io.BytesIO(b"0")), ("1.jpg", io.BytesIO(b"1"))]
    job = bench.intake.submit(Files(files), options)
    late = bench.one.claim(pinned, 1).images
    bench.store.cancel(job.id)
    sweep_to_the_end(bench, job)
    bench.link.client.delete("sl:tidied")  # as after a minute
    bench.link.run("lanes/sweep", 3_600_000)

    assert [key for key in bench.link.client.keys("*") if pinned in key and not key.startswith("sl:ring:")] == []
    assert not bench.link.client.sismember("sl:models", pinned)
    assert [field for field in bench.link.client.hgetall("sl:open") if pinned in field] == []
    held = [one.key for one in late]
    assert (bench.one.renew(held), bench.one.start(late)) == (set(held), set(held))
    bench.one.hand_back(late)
    bench.settle(late)
    assert (bench.one.take_over(pinned, 8, []), bench.one.claim(pinned, 8).images) == ([], [])
    assert bench.check(job.id).canceled == 2


def test_a_clock_that_was_set_back_makes_no_estimate_negative(bench: Bench) -> None:
    """The time since the last settle is then less than nothing, and counts as none."""
    ahead = int(time.time() * 1000) + 60_000
    bench.link.client.hset("sl:rate:default", mapping={"rows": "10", "ms": "1000", "at": ahead})
    bench.submit(1)
    bench.settle(bench.one.claim("default", 1).images)
    assert Capacity(bench.link).rate("default") == pytest.approx(11.0)
