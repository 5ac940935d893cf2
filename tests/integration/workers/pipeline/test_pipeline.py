"""The pipeline on a real Redis and a model server whose faults are scripted."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import structlog
from numpy.typing import NDArray
from PIL import Image

import tests.support.models
from serving.errors import ModelUnavailableError, RowsRejectedError
from serving.wire.status import ERROR_OF
from tests.integration.workers.conftest import Worker, photo
from tests.support.models import tiny_contract
from tests.support.polling import wait_until
from tests.support.servers.scripted_server import ScriptedServer
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.job import JobState
from workers.jobs.options import JobOptions
from workers.jobs.result import Outcome
from workers.pipeline import pipeline
from workers.sources import decoding as images
from workers.sources.origins.named import NamedSource
from workers.store.catalog import Catalog

ROW_FAULTS = [code.name for code, error in ERROR_OF.items() if error is RowsRejectedError]
OUTAGES = [code.name for code, error in ERROR_OF.items() if error is ModelUnavailableError]


def labels(results: list[dict[str, Any]]) -> list[object]:
    return [
        result["detections"][0]["label"] if result["state"] == "succeeded" else result["error"]["code"]
        for result in results
    ]


def test_images_of_many_jobs_share_batches(worker: Worker, server: ScriptedServer) -> None:
    """Ten jobs of two images go in three calls, and each image gets its own answer, in input order."""
    photos = [photo(number) for number in range(20)]
    jobs = [worker.submit(*photos[number : number + 2]) for number in range(0, 20, 2)]
    worker.detect()
    assert all(worker.store.get(job.id).state is JobState.SUCCEEDED for job in jobs)
    assert sum(server.batches) == 20
    assert len(server.batches) <= 4
    together = [label for job in jobs for label in labels(worker.results(job))]
    alone = [labels(worker_alone(worker, content))[0] for content in photos]
    assert together == alone


def worker_alone(worker: Worker, content: bytes) -> list[dict[str, object]]:
    job = worker.submit(content)
    worker.detect()
    return worker.results(job)


def test_a_large_job_goes_through_its_window(worker: Worker, server: ScriptedServer) -> None:
    """More images than stand in a lane at once come through, in full batches, results in input order."""
    job = worker.submit(*[photo(number) for number in range(150)])
    worker.detect_until(lambda: worker.store.get(job.id).state.terminal)
    assert [result["index"] for result in worker.results(job)] == list(range(150))
    assert max(server.batches) == 8
    assert len(server.batches) <= 22


def test_a_bad_image_fails_alone(worker: Worker) -> None:
    """Text and a cut picture get their own errors; the others' answers are what they are without them."""
    good = [photo(number) for number in range(6)]
    job = worker.submit(good[0], b"no image", *good[1:5], good[5][:60], good[5])
    plain = worker.submit(*good)
    worker.detect()
    results = worker.results(job)
    assert labels(results)[1] == "unsupported_format"
    assert labels(results)[6] == "image_decode_failed"
    assert worker.store.get(job.id).state is JobState.PARTIAL
    assert [label for label in labels(results) if str(label).startswith("product")] == labels(worker.results(plain))


@pytest.mark.parametrize("code", ROW_FAULTS)
def test_a_row_that_the_model_rejects_fails_alone(worker: Worker, server: ScriptedServer, code: str) -> None:
    """A code that can be one row's fault is split down to that row."""
    white = photo_of(255)
    server.fault = lambda images: grpc.StatusCode[code] if has_white(images) else None
    job = worker.submit(*[photo(number) for number in range(5)], white, photo(6), photo(7))
    worker.detect()
    outcomes = labels(worker.results(job))
    assert outcomes[5] == "model_error"
    assert all(str(label).startswith("product") for index, label in enumerate(outcomes) if index != 5)
    assert len(server.batches) <= 8


def test_a_batch_that_does_not_fit_into_memory(worker: Worker, server: ScriptedServer) -> None:
    """It comes in halves, whose size is remembered; a row that does not fit alone fails alone, and says so."""
    server.fault_message = "OOM when allocating tensor with shape[8,32,32,3] and type float"
    too_large = grpc.StatusCode.RESOURCE_EXHAUSTED
    server.fault = lambda images: too_large if len(images) > 3 or has_white(images) else None
    job = worker.submit(*[photo(number) for number in range(9)], photo_of(255))
    worker.detect()
    results = worker.results(job)

    assert labels(results)[9] == "model_out_of_memory"
    assert "OOM when allocating" in results[9]["error"]["detail"]
    assert all(str(label).startswith("product") for label in labels(results)[:9])
    assert server.batches == [8, 4, 2, 2, 2, 2, 2, 1, 1]


def test_waiting_is_logged_once_a_minute(worker: Worker, server: ScriptedServer) -> None:
    """However often the sweep tries; and again once it had worked in between."""
    job = worker.submit(photo(1))
    with structlog.testing.capture_logs() as lines:
        server.describe_fault = grpc.StatusCode.INTERNAL
        for _ in range(3):
            worker.detect()
        assert [line["code"] for line in lines if line["event"] == "work waits"] == ["contract_invalid"]
        server.describe_fault = None
        worker.detect()
        assert worker.store.get(job.id).state is JobState.SUCCEEDED
        worker.runtime._context.models._cached.clear()
        server.describe_fault = grpc.StatusCode.INTERNAL
        worker.detect()
    assert [line["event"] for line in lines].count("work waits") == 2


def photo_of(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 32), (value, value, value)).save(out, "PNG")
    return out.getvalue()


def has_white(images: NDArray[np.uint8]) -> bool:
    return bool((images.reshape(len(images), -1).min(axis=1) == 255).any())


@pytest.mark.parametrize("code", OUTAGES)
def test_an_outage_loses_nothing_and_blames_nobody(worker: Worker, server: ScriptedServer, code: str) -> None:
    """Images go back to the lane, as often as it takes, and succeed once the server answers."""
    job = worker.submit(*[photo(number) for number in range(8)])
    server.fault = lambda _images: grpc.StatusCode[code]
    for _ in range(2):
        worker.detect()
        assert worker.store.get(job.id).queued == 8
    server.fault = lambda _images: None
    worker.detect()
    assert worker.store.get(job.id).state is JobState.SUCCEEDED


def test_a_server_that_is_down_at_submit(worker: Worker, server: ScriptedServer) -> None:
    """The job waits, nothing is claimed, and it finishes once the server is up."""
    server.stop()
    job = worker.submit(photo(1))
    worker.detect()
    assert worker.store.get(job.id).state is JobState.QUEUED
    server.start()
    worker.detect_until(lambda: worker.store.get(job.id).state is JobState.SUCCEEDED)


def test_a_model_that_rejects_everything_is_tried_three_times(worker: Worker, server: ScriptedServer) -> None:
    """If all rows fail alike it is the model: the breaker opens, longer each time, before the images are failed."""
    server.fault = lambda _images: grpc.StatusCode.INTERNAL
    began = time.monotonic()
    job = worker.submit(photo(1), photo(2))
    worker.detect_until(lambda: worker.store.get(job.id).state.terminal)
    assert labels(worker.results(job)) == ["model_error", "model_error"]
    assert worker.store.get(job.id).state is JobState.FAILED
    assert time.monotonic() - began > 2.9  # two openings, of one and of two seconds
    assert server.batches == [2, 1, 1] * 3


def test_a_file_that_cannot_be_read_fails_alone(worker: Worker, tmp_path: Path) -> None:
    """Links in a circle, a folder, a file that is gone: an error each, and the neighbours are done."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("1.png", "5.png"):
        (folder / name).write_bytes(photo(1))
    (folder / "2.png").symlink_to("2.png")
    (folder / "3.png").symlink_to("/etc/passwd")
    (folder / "4.png").write_bytes(b"x")
    job = worker.intake.submit(NamedSource("folder", str(folder)), JobOptions("default"))
    worker.listed()
    (folder / "4.png").unlink()
    worker.detect()
    outcomes = labels(worker.results(job))
    assert outcomes[1:4] == ["image_missing"] * 3
    assert str(outcomes[0]).startswith("product")
    assert outcomes[0] == outcomes[4]


def test_a_blob_that_cannot_be_read_fails_alone(worker: Worker) -> None:
    """An outage is waited for; where only this blob cannot be read, time after time, the image fails."""
    job = worker.submit(photo(1), photo(2))
    other = worker.submit(photo(3))
    ref = worker.link.client.xrange("sl:lane:default:interactive")[0][1]["ref"]
    path = Path(worker.blobs._path(ref.removeprefix("blob:")))
    path.unlink()
    path.mkdir()
    worker.detect_until(lambda: worker.store.get(job.id).state.terminal)
    worker.detect_until(lambda: worker.store.get(other.id).state.terminal)
    assert labels(worker.results(job))[0] == "image_missing"
    assert worker.store.get(job.id).state is JobState.PARTIAL
    assert worker.store.get(other.id).state is JobState.SUCCEEDED


def test_what_nobody_foresaw_fails_alone(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any exception of one image's processing is that image's."""

    def odd(content: bytes, *rest: object) -> object:
        if content == photo(2):
            raise KeyError("nobody foresaw this")
        return images.prepare(content, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "prepare", odd)
    job = worker.submit(photo(1), photo(2), photo(3))
    worker.detect()
    outcomes = labels(worker.results(job))
    assert outcomes[1] == "image_decode_failed"
    assert worker.store.get(job.id).succeeded == 2


def test_a_model_that_cannot_describe_itself(worker: Worker, server: ScriptedServer) -> None:
    """It is said, and the images wait."""
    job = worker.submit(photo(1))
    server.describe_fault = grpc.StatusCode.INTERNAL
    worker.detect()
    worker.runtime.probe()
    assert worker.store.get(job.id).state is JobState.QUEUED
    published = Catalog(worker.link).look_up("default")
    assert published is not None
    assert "cannot describe itself" in published.error
    server.describe_fault = None
    worker.detect()
    assert worker.store.get(job.id).state is JobState.SUCCEEDED


def test_a_version_that_goes_away_is_replaced(worker: Worker, server: ScriptedServer) -> None:
    """The batch is done again with the new version, whose labels it then carries."""
    worker.submit(photo(1))
    worker.detect()
    server.version = 2
    job = worker.submit(*[photo(number) for number in range(12)])
    worker.detect()
    assert worker.store.get(job.id).model_versions == (2,)
    assert {result["model_version"] for result in worker.results(job)} == {2}


def test_a_version_of_another_input_size(worker: Worker, server: ScriptedServer) -> None:
    """What was prepared for the old version is prepared again for the new one."""
    worker.submit(photo(1))
    worker.detect()
    server.version, server.contract = 2, tiny_contract(height=48, width=64)
    job = worker.submit(*[photo(number) for number in range(12)])
    worker.detect_until(lambda: worker.store.get(job.id).state.terminal)
    assert worker.store.get(job.id).state is JobState.SUCCEEDED
    assert {result["model_version"] for result in worker.results(job)} == {2}


def test_a_version_of_smaller_batches(worker: Worker, server: ScriptedServer) -> None:
    """No batch that was made up for the old version goes to the new one."""
    worker.submit(photo(1))
    worker.detect()
    server.version, server.contract = 2, tiny_contract().model_copy(update={"max_batch_rows": 3})
    job = worker.submit(*[photo(number) for number in range(20)])
    worker.detect_until(lambda: worker.store.get(job.id).state.terminal)

    assert (worker.store.get(job.id).state, worker.store.get(job.id).succeeded) == (JobState.SUCCEEDED, 20)
    assert max(server.batches) == 3


def test_a_worker_that_is_told_to_stop(worker: Worker, server: ScriptedServer) -> None:
    """The batch in flight is settled, the rest is handed back at once, and another worker finishes."""
    job = worker.submit(*[photo(number) for number in range(30)])
    server.go.clear()
    run = threading.Thread(target=worker.runtime.detect, args=("default",))
    run.start()
    wait_until(lambda: server.batches)
    worker.runtime.stop()
    server.go.set()
    run.join(10)
    now = worker.store.get(job.id)
    assert (now.succeeded, now.running, now.queued) == (8, 0, 22)
    other = worker.another()

    def over() -> bool:
        other.detect("default")
        other.do_duties()
        return worker.store.get(job.id).state.terminal

    wait_until(over)
    assert worker.store.get(job.id).state is JobState.SUCCEEDED


def test_a_slow_model_is_not_mistaken_for_a_death(worker: Worker, server: ScriptedServer) -> None:
    """A Predict of several leases keeps its images: they are renewed, and another worker takes none of them."""
    job = worker.submit(*[photo(number) for number in range(8)])
    server.go.clear()
    run = threading.Thread(target=worker.runtime.detect, args=("default",))
    run.start()
    wait_until(lambda: server.batches)
    other = worker.another()
    looked = threading.Event()
    threading.Timer(4 * worker.settings.lease_seconds, looked.set).start()
    while not looked.is_set():
        other.detect("default")
    server.go.set()
    run.join(10)
    assert server.batches == [8]
    assert worker.store.get(job.id).succeeded == 8


@pytest.mark.process
@pytest.mark.parametrize("poison", [{2}, {0, 3, 7}, set(range(8))])
def test_an_image_that_kills_its_worker_fails_at_the_third_death(worker: Worker, poison: set[int]) -> None:
    """One, three and eight such images in a batch: each fails after its third death, and no neighbour fails."""
    job = worker.submit(*[photo_of(255) if index in poison else photo(index) for index in range(8)])
    settings = worker.settings
    environment = os.environ | {
        "REDIS_URL": settings.redis_url,
        "BLOB_URL": settings.blob_url,
        "SHELFLINE_MODEL_SERVER": settings.model_server,
        "SHELFLINE_LEASE_SECONDS": str(settings.lease_seconds),
    }
    deaths = 0
    command = [
        sys.executable,
        str(Path(tests.support.models.__file__).parent / "processes" / "crashing_worker.py"),
        job.id,
    ]
    while subprocess.run(command, env=environment, timeout=180, check=False).returncode == -signal.SIGKILL:
        deaths += 1
    outcomes = labels(worker.results(job))
    assert {index for index, label in enumerate(outcomes) if label == "crashed_worker"} == poison
    assert sum(str(label).startswith("product") for label in outcomes) == 8 - len(poison)
    assert 2 * len(poison) < deaths <= 3 * len(poison)


def test_the_callers_limits_apply(worker: Worker) -> None:
    """min_score and max_detections narrow what the model answers."""
    strict = worker.submit(photo(1), min_score=0.95)
    none = worker.submit(photo(1), max_detections=0)
    worker.detect()
    assert [result["detections"] for job in (strict, none) for result in worker.results(job)] == [[], []]


def test_boxes_are_in_pixels_of_the_original(worker: Worker) -> None:
    """The scripted box is (0.1, 0.2, 0.5, 0.6) of a 32 x 32 photo."""
    job = worker.submit(photo(1))
    worker.detect()
    (result,) = worker.results(job)
    assert (result["width"], result["height"], result["name"]) == (32, 32, "0.png")
    assert result["detections"][0]["box"] == {"ymin": 3.2, "xmin": 6.4, "ymax": 16.0, "xmax": 19.2}
    assert result["detections"][0]["box_normalized"] == {"ymin": 0.1, "xmin": 0.2, "ymax": 0.5, "xmax": 0.6}


def test_suspects_run_one_after_the_other(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one begins when the result of the one before is stored: its death would count against that one."""
    job = worker.submit(*[photo(number) for number in range(3)])
    worker.link.client.hset(f"sl:job:{job.id}:items", mapping={f"starts:{number}": 1 for number in range(3)})
    happened: list[str] = []
    context = worker.runtime._context
    start, settle = context.queue.start, context.store.settle

    def started(claimed: Sequence[ClaimedImage]) -> set[tuple[str, str]]:
        happened.extend(f"start {image.index}" for image in claimed)
        return start(claimed)

    def settled(outcomes: Sequence[Outcome], busy_seconds: float) -> bool:
        happened.extend(f"settle {outcome.image.index}" for outcome in outcomes)
        return settle(outcomes, busy_seconds)

    monkeypatch.setattr(context.queue, "start", started)
    monkeypatch.setattr(context.store, "settle", settled)
    worker.detect()
    assert happened == [f"{what} {number}" for number in range(3) for what in ("start", "settle")]


def test_suspects_that_the_model_rejects(worker: Worker, server: ScriptedServer) -> None:
    """Each is handed back and waits for the breaker; none holds up those after it."""
    job = worker.submit(*[photo(number) for number in range(3)])
    worker.link.client.hset(f"sl:job:{job.id}:items", mapping={f"starts:{number}": 1 for number in range(3)})
    server.fault = lambda _images: grpc.StatusCode.INTERNAL
    worker.detect()
    now = worker.store.get(job.id)
    assert (server.batches, now.queued, now.running) == ([1, 1, 1], 3, 0)
