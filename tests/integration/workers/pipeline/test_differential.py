"""The same images in one order and in another, among bad ones, and alone: the same results."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.integration.workers.conftest import Worker
from tests.support.models import write_tiny_model
from tests.support.real_ssd import PHOTOS
from tests.support.servers.model_server import MARKER, ServerProcess
from workers.jobs.job import Job
from workers.jobs.options import JobOptions
from workers.sources.origins.simple import Files

pytestmark = pytest.mark.process

Upload = tuple[str, bytes]


def encoded(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def noise(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8))


def huge_png() -> bytes:
    """90 megapixels in a few hundred kilobytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 10_000, 9_000, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 10_001 * 9_000, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def bad_images() -> list[Upload]:
    """Twenty, each in its own way; the last one the model itself rejects, and with it every batch that it is in."""
    png, jpeg, webp, gif, tiff, bmp = (
        encoded(noise(1), kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")
    )
    broken = [
        b"",
        b"no image at all",
        b"<html><body>404</body></html>",
        b"%PDF-1.7\n",
        bytes(1000),
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        png[: len(png) // 2],
        png[:40],
        jpeg[:150],
        webp[: len(webp) // 2],
        gif[:20],
        tiff[:30],
        bmp[:50],
        png.replace(b"IDAT", b"IDOT"),
        png[:30] + bytes([png[30] ^ 255]) + png[31:],  # a checksum that is wrong
        b"RIFF\x10\0\0\0WEBPVP8 ",
        b"II*\0\x08\0\0\0\xff\xff",
        huge_png(),
        encoded(Image.new("RGB", (32, 32), MARKER), "PNG"),
    ]
    return [(f"bad-{number}", content) for number, content in enumerate(broken)]


def shuffled(images: Sequence[Upload], seed: int) -> list[Upload]:
    return [images[number] for number in np.random.default_rng(seed).permutation(len(images))]


def run(worker: Worker, *jobs: Sequence[Upload]) -> dict[str, str]:
    """Run the jobs together; each image's result by its name, as it was stored but for the index."""
    submitted: list[Job] = [
        worker.intake.submit(Files([(name, io.BytesIO(content)) for name, content in job]), JobOptions("default"))
        for job in jobs
    ]
    worker.detect_until(lambda: worker.store.get(submitted[-1].id).state.terminal)
    worker.detect_until(lambda: all(worker.store.get(job.id).state.terminal for job in submitted))
    by_name = {}
    for job in submitted:
        for result in worker.results(job):
            del result["index"]
            by_name[result["name"]] = json.dumps(result)
    return by_name


@pytest.fixture
def serve(tmp_path: Path, make_worker: Callable[..., Worker]) -> Iterator[Callable[[Path], Worker]]:
    """A worker on a real model server that serves what lies in the folder."""
    servers: list[ServerProcess] = []

    def begin(base: Path) -> Worker:
        servers.append(ServerProcess(base, tmp_path / "server.log").start())
        return make_worker(model_server=servers[-1].target, lease_seconds=30.0)

    yield begin
    for server in servers:
        server.end()


def test_a_batch_invariant_model_answers_byte_for_byte(serve: Callable[[Path], Worker], tmp_path: Path) -> None:
    """200 images, 20 of them bad: whatever stands beside an image changes nothing of its result."""
    write_tiny_model(tmp_path / "models", 1, fail_on=MARKER)
    worker = serve(tmp_path / "models")
    good = [(f"good-{number}", encoded(noise(number, 20 + number, 90), "PNG")) for number in range(180)]
    images = good + bad_images()
    images = shuffled(images, 1)
    together = run(worker, images)
    states = {name: json.loads(result)["state"] for name, result in together.items()}
    assert {name for name, state in states.items() if state == "succeeded"} == {name for name, _ in good}
    assert len({json.dumps(json.loads(together[name])["detections"]) for name, _ in good}) > 100  # they tell apart
    images = shuffled(images, 2)
    assert run(worker, images) == together
    assert run(worker, good) == {name: together[name] for name, _ in good}
    assert run(worker, images[:100], images[100:]) == together
    assert run(worker, *[[image] for image in images]) == together


@pytest.mark.usefixtures("shared_folder")
def test_a_real_model_answers_alike(serve: Callable[[Path], Worker], tmp_path: Path) -> None:
    """The same labels and count, scores and normalised boxes within 1e-4; what is near the threshold left aside."""
    from exporter.models.demo import demo_contract, export_demo

    export_demo(tmp_path / "models" / "default")
    worker = serve(tmp_path / "models" / "default")
    photos = [(path.name, path.read_bytes()) for path in sorted(PHOTOS.glob("*.jpg"))]
    images = photos + bad_images()[:-1]
    threshold = float(demo_contract("default").score_threshold)
    images = shuffled(images, 1)
    together = run(worker, images)
    images = shuffled(images, 2)
    for other in (run(worker, images), run(worker, *[[image] for image in photos])):
        for name, _ in photos:
            assert_alike(json.loads(together[name]), json.loads(other[name]), threshold)


def assert_alike(first: dict[str, Any], second: dict[str, Any], threshold: float) -> None:
    """Every detection that is clear of the threshold has its like on the other side, and they are as many."""
    mine, others = (
        [detection for detection in result["detections"] if detection["score"] > threshold + 1e-3]
        for result in (first, second)
    )
    assert len(mine) == len(others)
    left = list(others)
    for detection in mine:
        like = next((candidate for candidate in left if alike(detection, candidate)), None)
        assert like is not None, (first["name"], detection)
        left.remove(like)


def alike(first: dict[str, Any], second: dict[str, Any]) -> bool:
    boxes = [list(detection["box_normalized"].values()) for detection in (first, second)]
    return (
        first["label"] == second["label"]
        and abs(first["score"] - second["score"]) <= 1e-4
        and float(np.abs(np.subtract(boxes[0], boxes[1])).max()) <= 1e-4
    )
