"""Images that are never read or never decoded: they fail alone, and what is beside them goes on."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.workers.conftest import Worker, photo, plain
from tests.support.machine import SLOWNESS
from tests.support.polling import wait_until
from tests.support.servers.scripted_server import ScriptedServer
from workers.errors import StoreUnavailableError
from workers.io.blobs import BlobStore
from workers.jobs.job import Job, JobState
from workers.jobs.options import JobOptions
from workers.pipeline import pipeline
from workers.queue import time_limits
from workers.queue.work_queue import MAX_STARTS
from workers.sources import decoding, references
from workers.sources.memory.budget import budget_bytes, decoding_share
from workers.sources.origins.named import NamedSource
from workers.sources.origins.simple import Files

SECONDS = 1.0 * SLOWNESS  # the limit of an image
LONG = 600.0 * SLOWNESS
WHITE = plain(255)
HANGS = 2  # the index of the image that does
IMAGES = 10


class Hang:
    """Makes threads hang until the test is over."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.threads = 0

    def __call__(self) -> None:
        self.threads += 1
        self.over.wait(LONG)


@pytest.fixture
def hang() -> Iterator[Hang]:
    made = Hang()
    yield made
    made.over.set()


@pytest.fixture
def submit() -> Callable[[Worker], Job]:
    """Submits a job, one of whose images hangs."""

    def submitted(worker: Worker) -> Job:
        return worker.submit(*[WHITE if index == HANGS else photo(index) for index in range(IMAGES)])

    return submitted


def in_decoder(hang: Hang, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(content: bytes, *rest: Any) -> decoding.Prepared:
        if content == WHITE:
            hang()
        return decoding.prepare(content, *rest)

    monkeypatch.setattr(pipeline, "prepare", prepare)


def with_all_memory(hang: Hang, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(content: bytes, contract: Any, max_pixels: int, *rest: Any) -> decoding.Prepared:
        if content == WHITE:
            with decoding_share(max_pixels) as share:
                share.take(budget_bytes(max_pixels))
                hang()
        return decoding.prepare(content, contract, max_pixels, *rest)

    monkeypatch.setattr(pipeline, "prepare", prepare)


def in_read(hang: Hang, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(ref: str, *rest: Any) -> bytes:
        content = references.fetch(ref, *rest)
        if content == WHITE:
            hang()
        return content

    monkeypatch.setattr(pipeline, "fetch", fetch)


def starts(worker: Worker, job: Job) -> dict[str, str]:
    stored: dict[str, str] = worker.link.client.hgetall(f"sl:job:{job.id}:items")
    return {name: value for name, value in stored.items() if name.startswith("starts:") and value != "0"}


@pytest.mark.parametrize("where", [in_decoder, with_all_memory, in_read])
def test_an_image_that_hangs_fails_alone_at_the_third_time(
    make_worker: Callable[..., Worker],
    submit: Callable[[Worker], Job],
    hang: Hang,
    monkeypatch: pytest.MonkeyPatch,
    where: Callable[[Hang, pytest.MonkeyPatch], None],
) -> None:
    """Its process stops each time, and another goes on; no neighbour is blamed, also none that waits for its memory."""
    where(hang, monkeypatch)
    worker = make_worker(image_seconds=SECONDS)
    job = submit(worker)
    for death in range(1, MAX_STARTS + 1):
        runtime = worker.another()

        def detected(runtime: Any = runtime) -> bool:
            runtime.detect("default")
            return bool(runtime.is_stuck)

        wait_until(detected, what="the process that is stuck")
        assert hang.threads == death
        assert worker.store.get(job.id).running == 0  # handed back: no lease is renewed any more
        assert starts(worker, job) == ({f"starts:{HANGS}": str(death)} if death < MAX_STARTS else {})
        runtime.detect("default")  # and claims nothing
        assert hang.threads == death
        hang.over.set()  # the process ends, and what it holds with it
        hang.over = threading.Event()
    worker.detect_until(lambda: worker.store.get(job.id).state.terminal)
    failed = [result for result in worker.results(job) if result["state"] != "succeeded"]
    assert [(result["index"], result["error"]["code"]) for result in failed] == [(HANGS, "image_timeout")]


def test_a_blob_store_that_hangs_fails_no_image(
    make_worker: Callable[..., Worker],
    submit: Callable[[Worker], Job],
    hang: Hang,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An outage counts against no image, however often it is tried; afterwards the job ends."""
    in_read(hang, monkeypatch)
    check = BlobStore.check

    def down(_store: BlobStore) -> None:
        raise StoreUnavailableError("It does not answer.")

    monkeypatch.setattr(BlobStore, "check", down)
    worker = make_worker(image_seconds=0.2 * SLOWNESS)
    job = submit(worker)
    for _ in range(MAX_STARTS + 1):
        runtime = worker.another()

        def detected(runtime: Any = runtime) -> bool:
            worker.link.client.delete("sl:breaker:default")
            runtime.detect("default")
            return bool(runtime.is_stuck)

        wait_until(detected, what="the process that is stuck")
        assert starts(worker, job) == {}
        assert worker.store.get(job.id).failed == 0
        hang.over.set()
        hang.over = threading.Event()
    monkeypatch.setattr(BlobStore, "check", check)
    monkeypatch.setattr(pipeline, "fetch", references.fetch)
    worker.link.client.delete("sl:breaker:default")
    other = make_worker()
    other.detect_until(lambda: other.store.get(job.id).succeeded == IMAGES)


def test_what_is_beside_an_image_that_hangs_goes_on(
    make_worker: Callable[..., Worker],
    submit: Callable[[Worker], Job],
    hang: Hang,
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Long before its time is over its neighbours are done, another folder is listed and done, and a canceled job ends.

    The only process does it all, and is asked for nothing but the images of one model.
    """
    in_decoder(hang, monkeypatch)
    (tmp_path / "1.png").write_bytes(photo(1))
    worker = make_worker(image_seconds=LONG, folder_roots=(tmp_path,), more_models=("other",))
    job = submit(worker)
    run = threading.Thread(target=worker.runtime.detect, args=["default"])
    run.start()
    wait_until(lambda: worker.store.get(job.id).succeeded == IMAGES - 1, what="the other images")
    assert sum(server.batches) == IMAGES - 1
    named = NamedSource("folder", str(tmp_path))
    listed = worker.intake.submit(named, JobOptions("default"))
    wait_until(lambda: worker.store.get(listed.id).state is JobState.SUCCEEDED, what="the job of the folder")
    canceled = worker.intake.submit(Files([("1.png", io.BytesIO(photo(1)))]), JobOptions("other"))
    worker.store.cancel(canceled.id)
    wait_until(lambda: worker.store.get(canceled.id).state.terminal, what="the end of the canceled job")
    assert run.is_alive()
    hang.over.set()
    run.join(LONG)


def test_beside_a_suspect_that_hangs_no_other_suspect_begins(
    make_worker: Callable[..., Worker], hang: Hang, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that were never begun are done beside it. If it kills the worker, no image was there at two deaths."""
    in_decoder(hang, monkeypatch)
    worker = make_worker(image_seconds=LONG)
    suspects = worker.submit(WHITE, photo(1), priority="interactive")
    key = f"sl:job:{suspects.id}:items"
    worker.link.client.hset(key, mapping={"starts:0": 1, "starts:1": 1})
    run = threading.Thread(target=worker.runtime.detect, args=["default"])
    run.start()
    wait_until(lambda: hang.threads == 1, what="the suspect that hangs")
    others = worker.submit(*[photo(number) for number in range(IMAGES)])
    wait_until(lambda: worker.store.get(others.id).state is JobState.SUCCEEDED, what="the other job")
    assert worker.link.client.hgetall(key) == {"starts:0": "2", "starts:1": "1"}
    hang.over.set()
    run.join(LONG)
    assert worker.store.get(suspects.id).state is JobState.SUCCEEDED


def test_a_duty_that_hangs_keeps_no_other(
    make_worker: Callable[..., Worker], hang: Hang, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """While one folder is not answered, another is listed; then the process stops, and another lists the first."""
    for name in ("hangs", "answers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(photo(1))
    monkeypatch.setattr(time_limits, "_SLOW_SECONDS", 0.1)
    worker = make_worker(image_seconds=LONG, lease_seconds=2 * SECONDS, folder_roots=(tmp_path,))
    opened = NamedSource.opened

    def slow(source: NamedSource, *rest: Any) -> Any:
        if source.where.endswith("hangs") and not hang.threads:
            hang()
        return opened(source, *rest)

    monkeypatch.setattr(NamedSource, "opened", slow)
    first = worker.intake.submit(NamedSource("folder", str(tmp_path / "hangs")), JobOptions("default"))
    worker.runtime.do_duties()
    wait_until(lambda: hang.threads == 1)
    second = worker.intake.submit(NamedSource("folder", str(tmp_path / "answers")), JobOptions("default"))

    def done() -> bool:
        worker.runtime.do_duties()
        return worker.store.get(second.id).total == 1

    wait_until(done, what="the list of the folder that answers")
    for activity in worker.runtime._limits._current():
        activity.limit = 0.0  # as if its time were over
    wait_until(lambda: worker.runtime.is_stuck, what="the process that is stuck")
    other = worker.another()

    def listed() -> bool:
        other.do_duties()
        return worker.store.get(first.id).total == 1

    wait_until(listed, what="the list of the other folder")
