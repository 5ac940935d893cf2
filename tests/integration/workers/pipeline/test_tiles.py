"""Photos in tiles: rows of ordinary batches, decoded once, settled once, merged in the original's pixels."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.integration.workers.conftest import Worker, complete
from tests.support.servers import scripted_server
from tests.support.servers.scripted_server import ScriptedServer
from workers.jobs.job import JobState
from workers.pipeline import pipeline
from workers.sources.decoding import prepare
from workers.store.capacity import Capacity

SIDE = 32  # of the model's input


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def shelf(*boxes: tuple[int, int, int, int], height: int = 256, width: int = 256) -> bytes:
    """A black photo with white products, (top, left, bottom, right) in pixels."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for top, left, bottom, right in boxes:
        pixels[top:bottom, left:right] = 255
    return encoded(Image.fromarray(pixels))


def find_white(images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """A detector of one white rectangle a row: its bounding box, if there is any white."""
    boxes = np.zeros((len(images), 1, 4), np.float32)
    counts = np.zeros(len(images), np.float32)
    for number, image in enumerate(images):
        rows, columns = (np.flatnonzero((image[..., 0] > 127).any(axis=axis)) for axis in (1, 0))
        if len(rows):
            counts[number] = 1
            boxes[number, 0] = np.array((rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)) / SIDE
    scores = np.where(counts > 0, 0.9, 0).astype(np.float32)[:, None]
    classes = np.ones((len(images), 1), np.float32)
    return {
        "detection_boxes": boxes,
        "detection_scores": scores,
        "detection_classes": classes,
        "num_detections": counts,
    }


@pytest.fixture(autouse=True)
def white_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model server finds white."""
    monkeypatch.setattr(scripted_server, "_detections", find_white)


def boxes(result: dict[str, Any]) -> list[tuple[int, ...]]:
    return sorted(
        tuple(round(detection["box"][side]) for side in ("ymin", "xmin", "ymax", "xmax"))
        for detection in result["detections"]
    )


def test_products_that_vanish_in_the_whole_are_found_in_tiles(worker: Worker, server: ScriptedServer) -> None:
    """Each once, where it is, in the pixels of the original; the result says which grid was used."""
    products = [(16, 16, 28, 28), (16, 100, 28, 112), (200, 200, 212, 216)]
    photo = shelf(*products)
    whole, tiled = worker.submit(photo), worker.submit(photo, tiles="4x4")
    worker.detect()

    complete(worker, whole)
    complete(worker, tiled)
    (result,) = worker.results(tiled)
    assert result["tiles"] == "4x4"
    assert "tiles" not in worker.results(whole)[0]
    assert sum(server.batches) == 1 + 17
    small = [box for box in boxes(result) if box[2] - box[0] < 100]
    assert len(small) == 3
    np.testing.assert_allclose(small, sorted(products), atol=3)


def test_a_product_on_the_edge_of_tiles_is_told_once(worker: Worker) -> None:
    """Cut by one tile, whole in its neighbour or in the whole picture."""
    job = worker.submit(shelf((116, 116, 140, 140)), tiles="2x2", overlap=0.3)
    worker.detect()

    complete(worker, job)
    (box,) = boxes(worker.results(job)[0])
    np.testing.assert_allclose(box, (116, 116, 140, 140), atol=8)


@pytest.mark.parametrize(
    ("height", "width", "grid"), [(32, 32, None), (80, 80, None), (90, 160, "2x3"), (70, 600, "1x10")]
)
def test_auto_goes_by_the_size_of_the_photo(worker: Worker, height: int, width: int, grid: str | None) -> None:
    """Small photos have no tiles; large and panoramic ones as many as the scale wants."""
    job = worker.submit(shelf(height=height, width=width), tiles="auto", overlap=0.2)
    worker.detect()

    complete(worker, job)
    assert worker.results(job)[0].get("tiles") == grid


def test_a_turned_photo_has_its_boxes_upright(worker: Worker) -> None:
    """The tiles are those of the picture as it is looked at."""
    photo = Image.open(io.BytesIO(shelf((10, 200, 30, 220), height=128, width=256)))
    exif = photo.getexif()
    exif[0x0112] = 6  # to be turned right: what is at the top right comes to the bottom right
    out = io.BytesIO()
    photo.save(out, "PNG", exif=exif)
    job = worker.submit(out.getvalue(), tiles="4x2")
    worker.detect()

    complete(worker, job)
    (result,) = worker.results(job)
    assert (result["width"], result["height"]) == (128, 256)
    (upright,) = [box for box in boxes(result) if box[2] - box[0] < 60]
    np.testing.assert_allclose(upright, (200, 98, 220, 118), atol=4)


def test_rows_of_several_photos_share_batches(worker: Worker, server: ScriptedServer) -> None:
    """Tiles are rows like any other: batches are full, whosever they are, and each photo gets its own boxes."""
    jobs = [worker.submit(shelf((32 * n, 16, 32 * n + 48, 64)), tiles="2x2") for n in range(6)]
    worker.detect()

    for number, job in enumerate(jobs):
        complete(worker, job)
        (box,) = boxes(worker.results(job)[0])
        np.testing.assert_allclose(box, (32 * number, 16, 32 * number + 48, 64), atol=8)
    assert sum(server.batches) == 6 * 5
    assert max(server.batches) == 8


def test_a_tile_that_the_model_rejects_fails_its_photo_alone(worker: Worker, server: ScriptedServer) -> None:
    """Its other tiles are not asked for any more, and its neighbours are as if it had not been there."""
    grey = Image.new("RGB", (64, 64), (128, 128, 128))

    def rejects_grey(images: NDArray[np.uint8]) -> grpc.StatusCode | None:
        return grpc.StatusCode.INVALID_ARGUMENT if (images[:, 0, 0, 0] == 128).any() else None

    server.fault = rejects_grey
    good, bad = worker.submit(shelf((0, 0, 16, 16)), tiles="2x2"), worker.submit(encoded(grey), tiles="2x2")
    other = worker.submit(shelf((0, 0, 16, 16)), tiles="2x2")
    for _ in range(5):
        worker.link.client.delete("sl:breaker:default")  # do not wait for it
        worker.detect()

    complete(worker, good)
    complete(worker, other)
    assert worker.store.get(bad.id).state is JobState.FAILED
    assert worker.results(bad)[0]["error"]["code"] == "model_error"


def test_a_version_that_goes_in_the_middle_of_a_photo(worker: Worker, server: ScriptedServer) -> None:
    """All its tiles are asked for afresh: a photo's boxes are one version's."""
    batches = []

    def swap(images: NDArray[np.uint8]) -> None:
        batches.append(len(images))
        if len(batches) == 2:
            server.version = 2

    server.fault = swap
    job = worker.submit(shelf((0, 0, 16, 16)), tiles="4x4")
    worker.detect()

    complete(worker, job)
    assert worker.results(job)[0]["model_version"] == 2
    assert sum(batches) >= 16 + 17


def test_a_photo_is_decoded_once(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its tiles."""
    decoded = []

    def counted(*arguments: Any) -> Any:
        decoded.append(1)
        return prepare(*arguments)

    monkeypatch.setattr(pipeline, "prepare", counted)
    job = worker.submit(shelf((0, 0, 16, 16)), tiles="8x8")
    worker.detect()

    complete(worker, job)
    assert len(decoded) == 1


def test_rows_are_what_is_weighed(worker: Worker) -> None:
    """In limits, in what a claim takes at once, in the window, in estimates; in the end nothing is left on account."""
    job = worker.submit(*[shelf((0, 0, 16, 16))] * 20, tiles="3x3")
    account = worker.link.client.hgetall("sl:open")
    assert (account["images"], account["lane:default:bulk"]) == ("200", "200")
    assert int(worker.link.client.xlen("sl:lane:default:bulk")) == 4  # of a window of 32 rows
    for _ in range(3):
        worker.detect()

    complete(worker, job)
    assert worker.store.get(job.id).rows_each == 10
    assert worker.link.client.hgetall("sl:open")["images"] == "0"
    assert Capacity(worker.link).rate("default") is not None


def test_small_photos_with_auto_are_not_held_back(worker: Worker, server: ScriptedServer) -> None:
    """Once some were seen, as many are taken at a time as make a batch."""
    job = worker.submit(*[shelf((0, 0, 16, 16), height=40, width=40)] * 60, tiles="auto")
    for _ in range(3):
        worker.detect()

    complete(worker, job)
    assert worker.store.get(job.id).rows_each == 1
    assert server.batches.count(8) >= 3


@pytest.mark.process
def test_a_worker_that_dies_of_a_photo_in_tiles(make_worker: Callable[..., Worker]) -> None:
    """The whole photo is done again by another, three times; its neighbours succeed."""
    worker = make_worker(lease_seconds=0.6)
    white = encoded(Image.new("RGB", (256, 256), "white"))
    job = worker.submit(shelf((0, 0, 16, 16)), white, shelf((0, 0, 16, 16)), tiles="8x8")
    script = Path(scripted_server.__file__).parents[1] / "processes" / "crashing_worker.py"
    environment = {
        "REDIS_URL": worker.settings.redis_url,
        "BLOB_URL": worker.settings.blob_url,
        "PATH": "",
        "SHELFLINE_MODEL_SERVER": worker.settings.model_server,
        "SHELFLINE_LEASE_SECONDS": "0.6",
    }
    for _ in range(8):
        subprocess.run([sys.executable, str(script), job.id], env=environment, timeout=180, check=False)
        if worker.store.get(job.id).state.terminal:
            break

    stored = worker.store.get(job.id)
    assert (stored.state, stored.succeeded, stored.failed) == (JobState.PARTIAL, 2, 1)
    assert [result.get("error", {}).get("code") for result in worker.results(job)] == [None, "crashed_worker", None]
