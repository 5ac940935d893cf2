"""What the signature `detect` saves over `serving_default`, and how soon a new version answers.

On the real SSD MobileNet of `../shared`, wrapped by the exporter: it has both signatures.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc
import numpy as np

from api.client.client import ShelflineClient
from api.commands.stack.session import local_stack
from api.commands.stack.state import StackState
from exporter.versions.catalogue import roll_back
from serving.boxes.decode import prepare
from serving.client import ModelClient, ServedModel
from serving.description import Description, read_description
from serving.wire.responses import DETECT_OUTPUTS
from serving.wire.tensors import encode_request
from tests.bench.throughput import ROOT, make_photos, say
from tests.support.real_ssd import MODEL, contract_toml
from workers.sources.decoding import prepare as decode_photo

BATCH = 16
ROUNDS = 7
CALLS = 100
CALLS_AFTER = 10


def wire_bytes(target: str, served: ServedModel, described: Description, images: np.ndarray) -> None:
    """Bytes of the request and of the answer an image, of both signatures."""
    raw = prepare(images, described.input)
    requests = {
        "serving_default": encode_request("default", "serving_default", {"images": raw}, version=served.version),
        "detect": encode_request(
            "default", "detect", {"images": images}, version=served.version, outputs=DETECT_OUTPUTS
        ),
    }
    with grpc.insecure_channel(target, [("grpc.max_receive_message_length", -1)]) as channel:
        call = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict", request_serializer=None, response_deserializer=None
        )
        for name, request in requests.items():
            answer = call(request, timeout=120)
            sizes = [len(message) / len(images) for message in (request, answer)]
            say(f"{name}: {sizes[0]:,.0f} bytes in, {sizes[1]:,.0f} bytes out an image")


def speeds(client: ModelClient, ways: dict[str, ServedModel], images: np.ndarray) -> None:
    """Images per second of both ways, in turns: boxes to boxes, client-side work included."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, served in ways.items():
            began = time.monotonic()
            client.detect(served, images, timeout=120)
            rates[name].append(len(images) / (time.monotonic() - began))
    ratios = sorted(a / b for a, b in zip(rates["detect"][1:], rates["serving_default"][1:], strict=True))
    for name, values in rates.items():
        say(f"{name} at batch {BATCH}: {statistics.median(values[1:]):.1f} images/s")
    say(f"detect over serving_default: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def swap(url: str, models: Path, photo: Path) -> None:
    """Version 2 goes live and is rolled back while single images come: how soon, and at what cost to them."""
    shutil.copytree(models / "default" / "1", models / "default" / "copying")
    with ShelflineClient(url) as client:

        def detect_image() -> tuple[float, list[int]]:
            began = time.monotonic()
            *_, job = client.wait(client.submit_folder(str(photo)).id)
            assert job.state == "succeeded", job
            return time.monotonic() - began, job.model_versions

        def until(version: int) -> tuple[float, float, float]:
            """Seconds to the version's first result; p95 and slowest of the images from now to some after it."""
            began, first, answered, during = time.monotonic(), 0.0, 0, list[float]()
            while answered < CALLS_AFTER:
                seconds, versions = detect_image()
                during.append(seconds)
                if versions == [version]:
                    answered += 1
                    first = first or time.monotonic() - began
            return first, _p95(during), max(during)

        before = [detect_image()[0] for _ in range(CALLS)]
        say(f"a single image: p95 {_p95(before) * 1000:.0f} ms, the slowest {max(before) * 1000:.0f} ms")
        (models / "default" / "copying").rename(models / "default" / "2")
        times = {"the swap": until(2)}
        roll_back(models / "default", 1)
        times["the roll-back"] = until(1)
    for name, (first, p95, slowest) in times.items():
        say(f"{name}: {first:.1f} s from the rename to the first result of the other version")
        ratio = p95 / _p95(before)
        say(f"{name}: p95 of a single image over before it {ratio:.2f}, the slowest {slowest * 1000:.0f} ms")


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def main() -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        contract = work / "contract.toml"
        contract.write_text(contract_toml())
        models = work / "models"
        models.mkdir()
        command = [sys.executable, "-m", "exporter", "savedmodel", str(MODEL / "1"), "--contract", str(contract)]
        subprocess.run([*command, "--models", str(models)], cwd=ROOT, check=True)
        (work / "one").mkdir()
        make_photos(work / "one", 1)
        (work / "photos").mkdir()
        make_photos(work / "photos", BATCH)
        described = read_description(contract)
        photos = sorted((work / "photos").iterdir())
        images = np.stack([decode_photo(photo.read_bytes(), described.contract, 10**8).rows[0] for photo in photos])
        with local_stack(StackState(work / "var"), models, [work / "one"], say) as stack:
            target = _model_server(work / "var")
            client = ModelClient(target, timeout=120)
            served = client.describe("default")
            ways = {"detect": served, "serving_default": ServedModel("default", 1, described.contract, described)}
            wire_bytes(target, served, described, images)
            speeds(client, ways, images)
            client.close()
            swap(stack.url, models, work / "one")


def _model_server(var: Path) -> str:
    """Where the stack's model server listens: it says so in the log."""
    (line,) = [text for text in (var / "stack.log").read_text().splitlines() if "serving gRPC on" in text]
    return line.rpartition(" ")[2]


if __name__ == "__main__":
    main()
