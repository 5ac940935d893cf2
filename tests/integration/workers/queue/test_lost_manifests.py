"""Lists of images that are gone from the blob store, or damaged there, under a job that still needs them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.integration.workers.queue.conftest import Bench, outcome
from workers.errors import ItemNotFoundError, JobStateError, StoreUnavailableError
from workers.io.blobs import BlobStore
from workers.jobs.job import Job, JobState, manifest_path
from workers.sources.original_images import OriginalImages

IMAGES = 100
WINDOW = 32


def deleted(content: bytes) -> bytes | None:  # noqa: ARG001  as the others
    return None


def cut_short(content: bytes) -> bytes | None:
    return b"".join(content.splitlines(keepends=True)[:WINDOW])


def cut_within_a_line(content: bytes) -> bytes | None:
    return content[: len(content) // 2]


def garbage(content: bytes) -> bytes | None:
    return b"\xff\n" * len(content)


def other_json(content: bytes) -> bytes | None:
    return b"7\n" * len(content)


HARM = [deleted, cut_short, cut_within_a_line, garbage, other_json]


def harm(bench: Bench, job: Job, how: Callable[[bytes], bytes | None]) -> None:
    path = bench.blobs._path(manifest_path(job.id))
    content = how(bench.blobs._files.cat_file(path))
    bench.blobs._files.rm(path)
    if content is not None:
        bench.blobs._files.pipe_file(path, content)


def process(bench: Bench, job: Job) -> Job:
    """Do all that a worker would, until nothing is left to do."""
    while images := bench.queue.claim("default", 24).images:
        texts = [json.dumps({"index": image.index, "state": "succeeded"}) for image in images]
        bench.store.settle([outcome(image, text) for image, text in zip(images, texts, strict=True)], 0.01)
        while bench.duties.run_due():
            pass
    return bench.check(job.id)


@pytest.mark.parametrize("how", HARM)
def test_a_job_whose_list_is_lost_ends_and_says_so(bench: Bench, how: Callable[[bytes], bytes | None]) -> None:
    """At the next top-up. What was queued is done, the rest is given up, and every image has its result."""
    job = bench.submit(IMAGES)
    harm(bench, job, how)
    ended = process(bench, job)
    assert ended.state is JobState.FAILED
    assert ended.error["code"] == "manifest_lost"
    assert manifest_path(job.id) in ended.error["detail"]
    assert ended.succeeded >= WINDOW // 2
    lines = [json.loads(line) for line in bench.store.results(job.id)]
    assert [line["index"] for line in lines] == list(range(IMAGES))
    assert sum(line["state"] == "canceled" for line in lines) == ended.canceled == IMAGES - ended.succeeded


def test_a_store_that_is_down_loses_no_list(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The top-up waits: a folder that is not mounted has no files either."""
    job = bench.submit(IMAGES)
    path = bench.blobs._path(manifest_path(job.id))
    content = bench.blobs._files.cat_file(path)
    bench.blobs._files.rm(path)

    def down(_store: BlobStore) -> None:
        raise StoreUnavailableError("It is down.")

    with monkeypatch.context() as patched:
        patched.setattr(BlobStore, "check", down)
        bench.settle(bench.queue.claim("default", 24).images)
        bench.duties.run_due()
    assert bench.check(job.id).state is JobState.RUNNING
    bench.blobs._files.pipe_file(path, content)
    bench.link.client.zadd("sl:due", {f"topup:{job.id}": 0})
    assert process(bench, job).state is JobState.SUCCEEDED


@pytest.mark.parametrize("how", HARM)
def test_a_canceled_job_ends_without_its_list(bench: Bench, how: Callable[[bytes], bytes | None]) -> None:
    """Its images have results, with numbers in place of names that are lost."""
    job = bench.submit(IMAGES)
    bench.store.cancel(job.id)
    harm(bench, job, how)
    bench.duties.run_due()
    assert bench.check(job.id).state is JobState.CANCELED
    names = [json.loads(line)["name"] for line in bench.store.results(job.id)]
    assert len(names) == IMAGES
    assert names[-1] == "image 99"


def test_what_else_needs_the_list_says_what_is_wrong(bench: Bench) -> None:
    """To show an image, and to retry a job."""
    job = bench.submit(1)
    (image,) = bench.queue.claim("default", 1).images
    bench.store.settle([outcome(image, json.dumps({"state": "failed", "error": {"code": "x"}}), "failed")], 0.01)
    harm(bench, job, deleted)
    with pytest.raises(ItemNotFoundError, match="no longer in the blob store"):
        OriginalImages(bench.store, bench.blobs, bench.settings).source(job.id, 0)
    with pytest.raises(JobStateError, match="Submit the failed images again"):
        bench.intake.retry(job.id)
