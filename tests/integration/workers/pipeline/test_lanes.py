"""Which images go with which Predict: two lanes, jobs side by side, single versions of a model."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from serving.contract import VersionStatus
from tests.integration.workers.conftest import Worker, complete
from tests.support.polling import wait_until
from tests.support.servers.scripted_server import ScriptedServer
from workers.errors import UnknownModelError
from workers.jobs.job import Job, JobState
from workers.store.capacity import Capacity
from workers.store.catalog import Catalog, Published

BULK, INTERACTIVE, OTHER = 50, 150, 250  # an image's grey value tells whose it is


def grey(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 32), (value, value, value)).save(out, "PNG")
    return out.getvalue()


class Batches:
    """The grey values of each batch that the model was asked for."""

    def __init__(self, server: ScriptedServer) -> None:
        self.seen: list[list[int]] = []
        server.fault = self._see

    def _see(self, images: NDArray[np.uint8]) -> None:
        self.seen.append([int(image[0, 0, 0]) for image in images])


@pytest.fixture
def batches(server: ScriptedServer) -> Batches:
    return Batches(server)


@pytest.fixture
def in_background(worker: Worker) -> Iterator[Callable[[], None]]:
    """Start the worker in a thread, where it works until the test ends."""
    ending = threading.Event()

    def work() -> None:
        while not ending.wait(0.01):
            worker.detect()

    thread = threading.Thread(target=work)
    yield thread.start
    ending.set()
    if thread.ident is not None:
        thread.join()


def all_prepared(worker: Worker) -> None:
    """Wait for what was given to the decoding threads: each of them has nothing left to do."""
    threads = worker.settings.decode_threads
    meeting = threading.Barrier(threads + 1)
    for _ in range(threads):
        worker.runtime._context.decode_threads.submit(meeting.wait, 30)
    meeting.wait(180)


def prepare_at_once(worker: Worker) -> None:
    """Prepare each image when it is claimed: which rows are ready for a batch then depends on no thread's speed."""

    def submit(function: Callable[..., object], *args: object) -> Future[object]:
        done: Future[object] = Future()
        done.set_result(function(*args))
        return done

    worker.runtime._context.decode_threads.submit = submit  # type: ignore[assignment, method-assign]


def running(worker: Worker, job: Job) -> bool:
    return worker.store.get(job.id).running == job.total


def test_an_image_that_comes_during_a_predict_goes_with_the_next(
    worker: Worker, server: ScriptedServer, batches: Batches, in_background: Callable[[], None]
) -> None:
    """It is claimed while the model works, and put in front of the bulk rows that are ready; these keep their share."""
    server.go.clear()
    bulk = worker.submit(*[grey(BULK)] * 60)
    in_background()
    wait_until(lambda: server.batches)
    single = worker.submit(grey(INTERACTIVE))
    wait_until(lambda: running(worker, single), what="the claim")
    all_prepared(worker)
    server.go.set()

    complete(worker, bulk)
    complete(worker, single)
    assert [INTERACTIVE in batch for batch in batches.seen[:3]] == [False, True, False]
    assert batches.seen[1] == [INTERACTIVE] + [BULK] * 7


def test_neither_lane_starves_the_other(worker: Worker, batches: Batches) -> None:
    """While both wait, each batch has a bulk row, and interactive rows have the most of it."""
    prepare_at_once(worker)
    bulk = worker.submit(*[grey(BULK)] * 20)
    singles = [worker.submit(grey(INTERACTIVE)) for _ in range(60)]
    worker.detect()

    for job in (bulk, *singles):
        complete(worker, job)
    for batch in batches.seen[:6]:
        assert 1 <= batch.count(BULK) < batch.count(INTERACTIVE)


def test_batches_of_one_row(make_worker: Callable[..., Worker], batches: Batches) -> None:
    """At least every eighth is bulk's."""
    worker = make_worker(batch_rows=1)
    prepare_at_once(worker)
    bulk = worker.submit(*[grey(BULK)] * 9)
    singles = [worker.submit(grey(INTERACTIVE)) for _ in range(20)]
    worker.detect()

    for job in (bulk, *singles):
        complete(worker, job)
    assert [BULK] in batches.seen[:8]
    assert [BULK] in batches.seen[8:16]


def test_a_small_job_can_wait_with_the_bulk(worker: Worker, batches: Batches) -> None:
    """And a large one be urgent: its priority says so."""
    prepare_at_once(worker)
    patient = worker.submit(*[grey(BULK)] * 8, priority="bulk")
    urgent = worker.submit(*[grey(INTERACTIVE)] * 30, priority="interactive")
    worker.detect()

    complete(worker, patient)
    complete(worker, urgent)
    assert batches.seen[0].count(BULK) < batches.seen[0].count(INTERACTIVE)


def test_a_second_job_does_not_wait_for_a_large_one(
    worker: Worker, server: ScriptedServer, batches: Batches, in_background: Callable[[], None]
) -> None:
    """At most a window of it stands in front, whatever its size: the second's first image goes within 10 batches."""
    large = worker.submit(*[grey(BULK)] * 600)
    in_background()
    wait_until(lambda: len(server.batches) >= 5)
    server.go.clear()  # else the large job may end while the second is submitted
    second = worker.submit(*[grey(OTHER)] * 20)
    before = len(server.batches)
    server.go.set()

    complete(worker, second)
    first = next(number for number, batch in enumerate(batches.seen) if OTHER in batch)
    assert first - before <= 10
    assert worker.store.get(large.id).state is JobState.RUNNING
    complete(worker, large)


def test_a_job_for_one_version(worker: Worker, server: ScriptedServer, batches: Batches) -> None:
    """It waits for that version, whatever else is served, and shares no batch with jobs for the newest."""
    pinned = worker.submit(grey(OTHER), model_version=2)
    newest = worker.submit(grey(BULK))
    worker.runtime.detect("default@2")
    worker.detect()

    complete(worker, newest)
    assert worker.store.get(pinned.id).state is JobState.QUEUED
    server.version = 2
    worker.runtime.detect("default@2")
    worker.detect()
    complete(worker, pinned)
    assert (worker.store.get(newest.id).model_versions, worker.store.get(pinned.id).model_versions) == ((1,), (2,))
    assert batches.seen == [[BULK], [OTHER]]


def test_a_version_that_is_not_served_is_refused(worker: Worker) -> None:
    """Where workers lately found others; where nobody knows, the job waits."""
    worker.submit(grey(BULK), model_version=7)
    versions = (VersionStatus(6, "AVAILABLE", ""), VersionStatus(7, "END", ""))
    Catalog(worker.link).publish(Published("default", "", 6, "{}", versions))
    worker.submit(grey(BULK), model_version=6)

    with pytest.raises(UnknownModelError, match="Version 7 of model 'default' is not served; choose from 6"):
        worker.submit(grey(BULK), model_version=7)


def test_the_sweep_forgets_single_versions(worker: Worker, server: ScriptedServer) -> None:
    """Once nobody waits for them; with images that wait they stay, and models stay in any case."""
    server.version = 2
    done = worker.submit(grey(BULK), model_version=2)
    worker.submit(grey(BULK), model_version=3)
    worker.runtime.detect("default@2")
    worker.detect()
    complete(worker, done)
    newest = worker.submit(grey(BULK))
    worker.detect()
    complete(worker, newest)
    worker.link.run("lanes/sweep", 1000)

    assert worker.link.client.smembers("sl:models") == {"default", "default@3"}


def test_the_rate_is_measured(worker: Worker) -> None:
    """From what the pipeline settles in the time it works, for all versions of a model together."""
    load = Capacity(worker.link)
    assert load.rate("default") is None
    job = worker.submit(*[grey(BULK)] * 50)
    worker.detect()
    complete(worker, job)

    rate = load.rate("default")
    assert rate is not None
    assert rate > 0
    assert load.rate("default@1") == rate
    assert load.seconds_for("default", 100) == pytest.approx(100 / rate)
