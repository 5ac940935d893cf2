"""A process that stops after any one Redis command of a job: another ends the job, with nothing lost or doubled."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.polling import wait_until
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.jobs.job import Job, JobState
from workers.jobs.options import JobOptions
from workers.jobs.output import Output
from workers.jobs.submission import Submission
from workers.runtime import Runtime
from workers.sources.intake import Intake
from workers.sources.origins.named import NamedSource
from workers.sources.origins.simple import Files
from workers.store.job_store import JobStore

from .conftest import NoWakeUps, Worker, photo
from .mortal import Mortal, StoppedError

IMAGES = 8  # of which one is no image; with B = 1 the window is 4, and a segment is 5 images here


def images() -> list[bytes]:
    return [b"no image" if number == 3 else photo(number) for number in range(IMAGES)]


def live(runtime: Runtime, store: JobStore, job: Job) -> None:
    """Work until the job has ended, or the process is stopped."""
    try:
        for _ in range(20):  # how many it takes depends on when its own threads fill the lane up
            runtime.do_duties()
            runtime._context.long_duties_thread.submit(lambda: None).result()
            runtime.detect("default")
            if store.get(job.id).state.terminal:
                break
    except StoppedError:
        return


def finish(worker: Worker, job: Job) -> None:
    """Let another process end the job, woken by nothing but the sweep."""
    other = worker.another()
    lease = int(worker.settings.lease_seconds * 1000)

    def step() -> bool:
        models, overdue = worker.link.run("lanes/sweep", lease)
        if models:
            other.detect("default")
        if overdue:
            other.do_duties()
        return worker.store.get(job.id).state.terminal and idle(worker)

    wait_until(step, what="the end of the job")


def check(worker: Worker, job: Job) -> None:
    stored = worker.store.get(job.id)
    assert (stored.state, stored.succeeded, stored.failed) == (JobState.PARTIAL, IMAGES - 1, 1)
    lines = [json.loads(line) for line in worker.store.results(job.id)]
    assert [(line["index"], line["state"]) for line in lines] == [
        (number, "failed" if number == 3 else "succeeded") for number in range(IMAGES)
    ]
    client = worker.link.client
    assert client.xlen("sl:lane:default:bulk") == 0
    assert client.hgetall("sl:open")["images"] == "0"
    assert client.keys(f"sl:job:{job.id}:*") == []  # sealed, all of it


@pytest.mark.process
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # its threads stop as well
@pytest.mark.usefixtures("small_segments")
def test_a_worker_that_stops_after_any_command(make_worker: Callable[..., Worker], tmp_path: Path) -> None:
    """Each in turn, from listing a folder to writing the output, until a worker lives long enough for all of it."""
    place, folder = tmp_path / "out", tmp_path / "photos"
    worker = make_worker(batch_rows=1, lease_seconds=0.5, output_prefixes=(str(place),))
    folder.mkdir()
    for number, content in enumerate(images()):
        (folder / f"{number:02}.png").write_bytes(content)
    life = 0
    while True:
        worker.link.client.flushall()
        job = worker.intake.submit(
            NamedSource("folder", str(folder)), JobOptions("default"), Submission(output=Output(str(place), ("csv",)))
        )
        runtime = worker.another()
        mortal = Mortal(runtime._link, life)
        live(runtime, worker.store, job)
        if not mortal.stopped:
            break
        finish(worker, job)
        check(worker, job)
        summary = json.loads((place / job.id / "summary.json").read_text())
        assert summary["images"] == {"total": IMAGES, "succeeded": IMAGES - 1, "failed": 1, "canceled": 0}
        life += 1
    assert worker.store.get(job.id).state.terminal
    print(f"{life} lives")  # noqa: T201  for whoever asks how long it is
    assert life > 40  # it was a whole life


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_of_a_small_job_that_stops_after_any_command(make_worker: Callable[..., Worker]) -> None:
    """A job of one segment ends with its last result, without a duty: there is nothing between the two."""
    worker = make_worker(batch_rows=1, lease_seconds=0.5)
    life, stopped = 0, True
    while stopped:
        worker.link.client.flushall()
        job = worker.submit(photo(0), b"no image", photo(2))
        runtime = worker.another()
        mortal = Mortal(runtime._link, life)
        live(runtime, worker.store, job)
        stopped = mortal.stopped
        finish(worker, job)
        stored = worker.store.get(job.id)
        assert (stored.state, stored.succeeded, stored.failed) == (JobState.PARTIAL, 2, 1)
        assert [line["state"] for line in worker.results(job)] == ["succeeded", "failed", "succeeded"]
        client = worker.link.client
        assert client.xlen("sl:lane:default:interactive") == 0
        assert client.hgetall("sl:open")["images"] == "0"
        assert client.keys(f"sl:job:{job.id}:*") == [f"sl:job:{job.id}:seg:0"]
        assert client.zrange("sl:due", 0, -1) == [f"retire:{job.id}"]
        life += 1
    assert life > 8  # it was a whole life


def test_a_front_end_that_stops_after_any_command(make_worker: Callable[..., Worker]) -> None:
    """Either the job is there and is done, or it is not, and then nothing of it stays."""
    worker = make_worker(upload_grace_seconds=0.5)
    folder = Path(worker.settings.blob_url)
    upload = ("a.png", photo(1))
    worker.submit(upload[1])  # Redis knows the script from here on
    life, accepted, stopped = 0, 0, True
    while stopped:
        worker.link.client.flushall()
        shutil.rmtree(folder, ignore_errors=True)
        link = RedisLink(worker.settings.redis_url)
        mortal = Mortal(link, life)
        blobs = BlobStore(worker.settings.blob_url)
        intake = Intake(link, JobStore(link, blobs, worker.settings), blobs, NoWakeUps(), worker.settings)
        with suppress(StoppedError):
            intake.submit(
                Files([(upload[0], io.BytesIO(upload[1]))]), JobOptions("default"), Submission(idempotency_key="key")
            )
        stopped = mortal.stopped
        jobs = worker.link.client.zrange("sl:jobs", 0, -1)
        wait_until(lambda: nothing_left(worker), what="the end of what the front end began")
        assert [worker.store.get(job).state for job in jobs] == [JobState.SUCCEEDED] * len(jobs)
        left = {path.name for path in folder.rglob("*") if path.is_file()} - {"check"}
        assert left == ({"0", "manifest.jsonl"} if jobs else set())
        accepted += len(jobs)
        life += 1
        link.close()
    assert accepted == 1  # the last life: the command that accepts a job answers with it, and none follows


def nothing_left(worker: Worker) -> bool:
    """Do what is to be done; says whether nothing is left but the retention of what is over."""
    worker.detect()
    return idle(worker)


def idle(worker: Worker) -> bool:
    """Whether nothing is due, now or later, but the retention of what is over."""
    return all(duty.startswith("retire:") for duty in worker.link.client.zrange("sl:due", 0, -1))
