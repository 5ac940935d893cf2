"""What becomes of jobs: canceled, expired, deleted, retried, sealed, refused, asked for twice."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.workers.queue.conftest import Bench, outcome
from tests.support.polling import wait_until
from workers.errors import (
    IdempotencyInFlightError,
    IdempotencyMismatchError,
    ImageMissingError,
    JobGoneError,
    JobNotFoundError,
    JobStateError,
    QueueFullError,
    TooManyImagesError,
)
from workers.io.redis_link import RedisLink
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.job import Job, JobState, new_id
from workers.jobs.options import JobOptions
from workers.jobs.submission import Submission
from workers.settings import Settings
from workers.sources.origins.simple import Files

OPTIONS = JobOptions("default")


@pytest.fixture
def make_bench(link: RedisLink, settings: Settings) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**overrides: object) -> Bench:
        made.append(Bench(link, settings.model_copy(update=overrides)))
        return made[-1]

    yield make
    for bench in made:
        bench.store.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()


def settle(bench: Bench, claimed: list[ClaimedImage], state: str = "succeeded") -> None:
    texts = [json.dumps({"index": image.index, "name": image.name, "state": state}) for image in claimed]
    bench.store.settle([outcome(image, text, state) for image, text in zip(claimed, texts, strict=True)], 0.01)


def work_off(bench: Bench, state: str = "succeeded") -> None:
    """Settle everything that waits, and do what is due."""
    while claimed := bench.queue.claim("default", 32).images:
        settle(bench, claimed, state)
        bench.duties.run_due()
    bench.duties.run_due()


def states(bench: Bench, job: Job) -> list[str]:
    lines = [json.loads(line) for line in bench.store.results(job.id)]
    assert [line["index"] for line in lines] == list(range(len(lines)))
    return [line["state"] for line in lines]


def open_images(bench: Bench) -> int:
    return int(bench.link.client.hget("sl:open", "images") or 0)


def left_of(bench: Bench, job: Job) -> list[str]:
    """The keys and duties that name a job, but for the note that it was there."""
    client = bench.link.client
    keys = [key for key in client.keys("*") if job.id in key]
    return keys + [duty for duty in client.zrange("sl:due", 0, -1) if job.id in duty]


def test_a_cancel_keeps_what_is_done_and_gives_up_the_rest(bench: Bench) -> None:
    """Waiting images are given up at once; one that is processed may finish; the others get a line that says so."""
    job = bench.submit(50)
    first, second, third = bench.queue.claim("default", 3).images
    settle(bench, [first])
    canceling = bench.store.cancel(job.id)
    assert (canceling.state, canceling.canceled, canceling.running) == (JobState.CANCELING, 47, 2)
    assert bench.store.cancel(job.id).state is JobState.CANCELING
    settle(bench, [third])
    assert bench.queue.start([second]) == {second.key}
    bench.duties.run_due()
    done = bench.check(job.id)
    assert (done.state, done.succeeded, done.canceled) == (JobState.CANCELED, 2, 48)
    assert states(bench, job) == ["succeeded", "canceled", "succeeded"] + ["canceled"] * 47
    settle(bench, [second])
    assert states(bench, job)[1] == "canceled"
    assert bench.queue.claim("default", 99).images == []
    assert bench.store.cancel(job.id).state is JobState.CANCELED
    assert open_images(bench) == 0


@pytest.mark.parametrize("how", ["hand_back", "take_over"])
def test_a_canceled_image_that_comes_back_is_not_done_again(bench: Bench, how: str) -> None:
    """Whether its worker hands it back or dies."""
    job = bench.submit(2)
    claimed = bench.queue.claim("default", 8).images
    bench.queue.start(claimed)
    bench.store.cancel(job.id)
    if how == "hand_back":
        bench.queue.hand_back(claimed)
    else:
        wait_until(lambda: bench.other_queue.take_over("default", 8, []) == [] and not bench.check(job.id).running)
    bench.duties.run_due()
    assert bench.check(job.id).state is JobState.CANCELED
    assert states(bench, job) == ["canceled", "canceled"]
    assert bench.link.client.xlen("sl:lane:default:interactive") == 0


def test_a_cancel_that_comes_too_late_is_a_conflict(bench: Bench) -> None:
    """A job that is over stays what it is; one of which everything was done when the cancel came has succeeded."""
    job = bench.submit(2)
    claimed = bench.queue.claim("default", 8).images
    assert bench.store.cancel(job.id).state is JobState.CANCELING
    settle(bench, claimed)
    bench.duties.run_due()
    assert bench.check(job.id).state is JobState.SUCCEEDED
    with pytest.raises(JobStateError, match="succeeded"):
        bench.store.cancel(job.id)
    for unknown in (new_id("job"), "x", f"{job.id}:items"):
        with pytest.raises(JobNotFoundError):
            bench.store.cancel(unknown)


def test_what_is_unfinished_at_the_deadline_fails(bench: Bench) -> None:
    """The rest of the job fails with `deadline_exceeded`, and the job says that it expired."""
    files = [(f"{i}.jpg", io.BytesIO(b"x")) for i in range(40)]
    job = bench.intake.submit(Files(files), OPTIONS, Submission(deadline_seconds=0.3))
    assert job.deadline_at == pytest.approx(job.created_at + 0.3, abs=0.01)
    first = bench.queue.claim("default", 2).images
    settle(bench, first)
    wait_until(lambda: bench.duties.run_due() and bench.check(job.id).state.terminal)
    done = bench.check(job.id)
    assert (done.state, done.succeeded, done.failed) == (JobState.EXPIRED, 2, 38)
    last = json.loads(list(bench.store.results(job.id))[-1])
    assert (last["name"], last["error"]["code"]) == ("39.jpg", "deadline_exceeded")


def test_a_job_that_ends_in_time_does_not_expire(bench: Bench) -> None:
    """Its deadline is no duty any more."""
    job = bench.intake.submit(Files([("a", io.BytesIO(b"x"))]), OPTIONS, Submission(deadline_seconds=60))
    work_off(bench)
    assert bench.check(job.id).state is JobState.SUCCEEDED
    assert [duty.partition(":")[0] for duty in bench.link.client.zrange("sl:due", 0, -1)] == ["retire"]


def test_everything_of_a_job_goes_after_its_retention(make_bench: Callable[..., Bench]) -> None:
    """Its keys, its blobs, its duties; what remains is a note that it was there."""
    bench = make_bench(retention_seconds=0.2)
    job = bench.submit(3)
    work_off(bench)
    stored = bench.check(job.id)
    assert stored.expires_at == pytest.approx((stored.finished_at or 0) + 0.2, abs=0.01)
    wait_until(lambda: bench.duties.run_due() and not left_of(bench, job))
    with pytest.raises(JobGoneError):
        bench.store.get(job.id)
    assert list(Path(bench.settings.blob_url).rglob("*.*")) == []
    assert (open_images(bench), bench.link.client.hget("sl:open", "bytes")) == (0, "0")


def test_a_job_that_is_over_can_be_deleted_once_or_twice(bench: Bench) -> None:
    """Not before; whoever settles late afterwards changes nothing."""
    job = bench.submit(2)
    claimed = bench.queue.claim("default", 8).images
    with pytest.raises(JobStateError, match="running"):
        bench.store.delete(job.id)
    settle(bench, claimed)
    bench.store.delete(job.id)
    bench.store.delete(job.id)
    settle(bench, claimed)
    bench.duties.run_due()
    assert left_of(bench, job) == []
    for ask in (bench.store.get, bench.store.cancel, bench.store.results, bench.intake.retry):
        with pytest.raises(JobGoneError):
            ask(job.id)
    with pytest.raises(JobNotFoundError):
        bench.store.delete(new_id("job"))


def test_a_job_whose_end_is_under_way_cannot_be_deleted(bench: Bench) -> None:
    """Results of what was given up are still to be written."""
    job = bench.submit(2)
    bench.store.cancel(job.id)
    with pytest.raises(JobStateError, match="finishing"):
        bench.store.delete(job.id)
    bench.duties.run_due()
    bench.store.delete(job.id)
    assert left_of(bench, job) != []
    bench.duties.run_due()
    assert left_of(bench, job) == []


def test_full_segments_leave_redis_and_read_the_same(bench: Bench) -> None:
    """While the job runs, from any start, and after its end; a late settle of a sealed image changes nothing."""
    job = bench.submit(2100)
    seen: list[ClaimedImage] = []
    while len(seen) < 1500:
        claimed = bench.queue.claim("default", 25).images
        settle(bench, claimed)
        seen += claimed
        bench.duties.run_due()
    assert bench.link.client.exists(f"sl:job:{job.id}:seg:0") == 0
    settle(bench, seen[:25], "failed")
    assert states(bench, job) == ["succeeded"] * 1500
    assert [json.loads(line)["index"] for line in bench.store.results(job.id, 990)][:20] == list(range(990, 1010))
    reader = bench.store.results(job.id)
    assert json.loads(next(reader))["index"] == 0
    work_off(bench)
    assert len(list(reader)) == 2099
    assert states(bench, job) == ["succeeded"] * 2100
    assert bench.link.client.keys(f"sl:job:{job.id}:*") == []
    assert bench.check(job.id).succeeded == 2100


def test_a_large_job_that_is_canceled_has_a_line_for_each_image(bench: Bench) -> None:
    """Also in segments that were never begun."""
    job = bench.submit(2100)
    settle(bench, bench.queue.claim("default", 25).images)
    bench.store.cancel(job.id)
    bench.duties.run_due()
    assert states(bench, job) == ["succeeded"] * 25 + ["canceled"] * 2075
    assert bench.link.client.keys(f"sl:job:{job.id}:*") == []


def test_a_segment_written_for_a_job_that_is_gone_goes_too(bench: Bench) -> None:
    """A sealer that was paused meanwhile leaves nothing behind."""
    job_id = new_id("job")
    bench.store._segments._seal(job_id, 0, {"0": "{}"})
    assert bench.blobs.read(f"jobs/{job_id}/results/000000.jsonl.gz", 99)
    bench.duties.run_due()
    with pytest.raises(ImageMissingError):
        bench.blobs.read(f"jobs/{job_id}/results/000000.jsonl.gz", 99)


def test_a_retry_is_a_new_job_of_the_failed_images(bench: Bench) -> None:
    """Their bytes are its own; asked again it is the same job, also when the first answer was lost."""
    job = bench.submit(5)
    with pytest.raises(JobStateError, match="queued"):
        bench.intake.retry(job.id)
    claimed = bench.queue.claim("default", 8).images
    settle(bench, [claimed[0], claimed[2], claimed[4]])
    settle(bench, [claimed[1], claimed[3]], "failed")
    bench.duties.run_due()
    again = bench.intake.retry(job.id)
    assert (again.total, again.retry_of, bench.check(job.id).retried_as) == (2, job.id, again.id)
    assert bench.intake.retry(job.id).id == again.id
    bench.store.delete(job.id)
    bench.duties.run_due()
    tried = bench.queue.claim("default", 8).images
    assert [(image.index, image.name) for image in tried] == [(0, "1.jpg"), (1, "3.jpg")]
    assert [bench.blobs.read(image.ref[5:], 9) for image in tried] == [b"1", b"3"]
    settle(bench, tried)
    bench.duties.run_due()
    with pytest.raises(JobStateError, match="No image"):
        bench.intake.retry(again.id)


def test_two_retries_at_once_make_one_job(bench: Bench) -> None:
    """The second finds that the first was faster, and what it stored in vain is deleted in time."""
    job = bench.submit(1)
    settle(bench, bench.queue.claim("default", 8).images, "failed")
    bench.duties.run_due()
    first = bench.intake.retry(job.id)
    bench.link.client.hdel(f"sl:job:{job.id}", "retried_as")
    second = bench.intake._new(OPTIONS, Submission(), retry_of=job.id)
    bench.link.client.hset(f"sl:job:{job.id}", "retried_as", first.id)
    assert bench.store.create(second, [], 0)[0].id == first.id
    assert f"draft:jobs/{second.id}" in bench.link.client.zrange("sl:due", 0, -1)


def test_the_same_request_with_the_same_key_is_one_job(bench: Bench) -> None:
    """The same parts and options give the first job, anything else under the key is an error, of each owner alone."""
    terms = Submission(idempotency_key="k", owner="o")

    def submit(content: bytes = b"x", options: JobOptions = OPTIONS, terms: Submission = terms) -> Job:
        return bench.intake.submit(Files([("a.jpg", io.BytesIO(content))]), options, terms)

    first = submit()
    assert submit().id == first.id
    for other in (lambda: submit(b"y"), lambda: submit(options=JobOptions("default", 0.5))):
        with pytest.raises(IdempotencyMismatchError):
            other()
    assert submit(terms=Submission(idempotency_key="k", owner="p")).id != first.id
    assert bench.link.client.zcard("sl:jobs") == 2
    assert open_images(bench) == 2


def test_a_key_is_free_again_when_its_request_failed(bench: Bench) -> None:
    """While the first is under way the second is told so; a failed one keeps nobody out."""
    terms = Submission(idempotency_key="k")

    def broken() -> Iterator[tuple[str, io.BytesIO]]:
        yield "a.jpg", io.BytesIO(b"x")
        with pytest.raises(IdempotencyInFlightError):
            bench.intake.submit(Files([("a.jpg", io.BytesIO(b"x"))]), OPTIONS, terms)
        raise OSError("the caller hung up")

    with pytest.raises(OSError, match="hung up"):
        bench.intake.submit(Files(broken()), OPTIONS, terms)
    assert bench.intake.submit(Files([("a.jpg", io.BytesIO(b"x"))]), OPTIONS, terms).total == 1


def test_a_reservation_that_was_lost_makes_no_job(bench: Bench) -> None:
    """A request that was paused longer than its lease finds that another has the key."""
    terms = Submission(idempotency_key="k")

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if not other:
                (key,) = bench.link.client.keys("sl:idempotency:*")
                bench.link.client.delete(key)
                other.append(bench.intake.submit(Files([("a.jpg", io.BytesIO(b"x"))]), OPTIONS, terms))
            return super().read(size)

    other: list[Job] = []
    with pytest.raises(IdempotencyInFlightError):
        bench.intake.submit(Files([("a.jpg", Slow(b"x"))]), OPTIONS, terms)
    assert bench.intake.submit(Files([("a.jpg", io.BytesIO(b"x"))]), OPTIONS, terms).id == other[0].id
    assert bench.link.client.zcard("sl:jobs") == 1


def test_more_than_may_wait_is_refused_whole(make_bench: Callable[..., Bench]) -> None:
    """With a time to come back that is made of the measured rate; what is done makes room."""
    bench = make_bench(max_waiting_images=10, max_waiting_images_per_key=4)
    bench.submit(8)
    with pytest.raises(QueueFullError, match="8 images wait, at most 10 may") as refused:
        bench.submit(3)
    assert refused.value.retry_after == 60
    with pytest.raises(TooManyImagesError, match="several jobs"):
        bench.submit(11)
    bench.intake.submit(Files([("a", io.BytesIO(b"x"))] * 2), OPTIONS, Submission("o"))
    with pytest.raises(QueueFullError):
        bench.intake.submit(Files([("a", io.BytesIO(b"x"))]), OPTIONS, Submission("p"))
    claimed = bench.queue.claim("default", 10).images
    bench.store.settle([outcome(claimed[0], "{}")], 20.0)  # one image in 20 s
    with pytest.raises(QueueFullError) as refused:
        bench.submit(3)
    assert refused.value.retry_after == 40
    settle(bench, claimed[1:6])
    bench.submit(3)
    with pytest.raises(QueueFullError):
        bench.intake.submit(Files([("a", io.BytesIO(b"x"))] * 3), OPTIONS, Submission("o"))


def test_bytes_are_limited_until_they_are_deleted(make_bench: Callable[..., Bench]) -> None:
    """Not only until the job is done: the images are still there."""
    bench = make_bench(max_blob_bytes=10, retention_seconds=0.2)
    job = bench.intake.submit(Files([("a", io.BytesIO(b"12345678"))]), OPTIONS)
    work_off(bench)
    with pytest.raises(QueueFullError, match="8 bytes"):
        bench.intake.submit(Files([("a", io.BytesIO(b"123"))]), OPTIONS)
    wait_until(lambda: bench.duties.run_due() and not left_of(bench, job))
    bench.intake.submit(Files([("a", io.BytesIO(b"123"))]), OPTIONS)


def test_estimates_come_from_what_was_measured(bench: Bench) -> None:
    """Unknown before anything was measured; then what waits over the rate; nothing for a job that is over."""
    first, second = bench.submit(20), bench.submit(30)
    load = bench.store._capacity
    assert (load.estimate(second).queue_position, load.estimate(second).eta_seconds) == (1, None)
    claimed = bench.queue.claim("default", 10).images
    bench.store.settle([outcome(image, "{}") for image in claimed], 2.0)  # 5 images a second
    assert load.rate("default") == pytest.approx(5.0, rel=0.01)
    assert load.estimate(bench.check(first.id)).eta_seconds == pytest.approx(4.0, rel=0.01)
    assert load.estimate(bench.check(second.id)).eta_seconds == pytest.approx(8.0, rel=0.01)
    assert load.wait_seconds("default") == 0
    work_off(bench)
    assert load.estimate(bench.check(first.id)).eta_seconds == 0
    assert load.estimate(bench.check(first.id)).queue_position is None
