"""Images per second of exported versions over the models' own runtime at its best batch, boxes to boxes.

The rates are per second of processor time, which other work on the cores does not change, and per second.

The models take batches of one size only, or are of TensorFlow 1, which is what costs something:

- NanoDet-g as a SavedModel of a fixed batch of 1, which the exporter opens; also with its batch kept, as a large model.
- What the TF2 Object Detection API exports, in its form: the exporter cannot open it.
- The real SSD MobileNet of TensorFlow 1 in `../shared`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from exporter.graph import wrapping
from exporter.models import nanodet
from exporter.models.demo import demo_contract
from exporter.models.described_export import export_described
from exporter.versions.verify import SessionModel
from serving.boxes.decode import decode, prepare
from serving.contract import Contract
from serving.description import Description, read_description
from tests.bench.throughput import ROOT, say
from tests.support.raw_models import ZOO_CONTRACT, write_zoo_model
from tests.support.real_ssd import MODEL, contract_toml
from workers.sources.decoding import prepare as decode_photo

IMAGES = 16
ROUNDS = 7
OWN_BATCHES = (1, 2, 4, 8, 16)

NANODET_CONTRACT = """
name = "nanodet"
input_height = 416
input_width = 416
score_threshold = 0.35
nms_iou = 0.6
max_detections = 100
labels = "labels.txt"

[output]
convention = "boxes_class_scores"
"""

Detect = Callable[[NDArray[np.uint8]], Any]


def write_nanodet(folder: Path) -> None:
    """Write NanoDet-g as its owner might: one image a call, boxes and scores as outputs, and its contract beside it."""
    network = nanodet.build(nanodet.read_weights())
    mean = np.array(nanodet.MEAN_BGR[::-1], np.float32)

    def answer(images: tf.Tensor) -> dict[str, tf.Tensor]:
        boxes, scores = nanodet.decode(*network.rgb(images - mean))
        return {"boxes": tf.reshape(boxes, (1, -1, 4)), "scores": tf.reshape(scores, (1, boxes.shape[1], -1))}

    traced = tf.function(answer).get_concrete_function(tf.TensorSpec((1, 416, 416, 3), tf.float32, "images"))
    module = tf.Module()
    module.weights = [weight.value for weight in network.rgb.weights]  # what is saved is what a module has
    tf.saved_model.save(module, str(folder / "nanodet"), {"serving_default": traced})
    names = [label.name for label in demo_contract("nanodet").labels]
    (folder / "labels.txt").write_text("\n".join(names))
    (folder / "nanodet.toml").write_text(NANODET_CONTRACT)


def photos(contract: Contract) -> NDArray[np.uint8]:
    """The sample photos, again and again."""
    files = sorted((ROOT / "samples").glob("*.jpg"))
    rows = [decode_photo(path.read_bytes(), contract, 10**8).rows[0] for path in files]
    return np.stack([rows[number % len(rows)] for number in range(IMAGES)])


def own_runtime(folder: Path, description: Description) -> Detect:
    """The model as its owner runs it, with TensorFlow, and NumPy before and after it."""
    function = tf.saved_model.load(str(folder)).signatures["serving_default"]

    def detect(images: NDArray[np.uint8]) -> Any:
        outputs: Mapping[str, tf.Tensor] = function(
            **{description.input.tensor: tf.constant(prepare(images, description.input))}
        )
        return decode({name: tensor.numpy() for name, tensor in outputs.items()}, description)

    return detect


def rates(detect: Detect, images: NDArray[np.uint8], batch: int) -> NDArray[np.float64]:
    """Images per second of processor time, and per second, in batches of this size."""
    began = np.array((time.process_time(), time.monotonic()))
    for start in range(0, len(images), batch):
        detect(images[start : start + batch])
    taken: NDArray[np.float64] = len(images) / (np.array((time.process_time(), time.monotonic())) - began)
    return taken


def compare(title: str, own: Path, contract: Path, models: Path) -> None:
    """Export the model, find the best batch of its own runtime, and measure both in turns."""
    folder = export_described("savedmodel", own, contract, models, images=ROOT / "samples")
    description = read_description(contract)
    images, by_owner = photos(description.contract), own_runtime(own, description)
    with SessionModel(folder) as model:
        described = model.predict("describe", np.zeros(1, np.int32))["contract"][0]
        rows = Contract.from_json(described).max_batch_rows
        exported = partial(model.predict, "detect")
        best = max(possible(by_owner, images), key=lambda batch: rates(by_owner, images, batch)[0])
        rates(exported, images, rows)
        pairs = [rates(exported, images, rows) / rates(by_owner, images, best) for _ in range(ROUNDS)]
    of_processor, of_time = np.sort(pairs, 0).T
    say(
        f"{title}: exported, {rows} images a call, over its own runtime, {best} a call: {_spread(of_processor)} "
        f"by processor time, {_spread(of_time)} by time"
    )


def _spread(ratios: NDArray[np.float64]) -> str:
    return f"{np.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def possible(detect: Detect, images: NDArray[np.uint8]) -> Iterator[int]:
    """Yield the sizes of batches that the model takes."""
    for batch in OWN_BATCHES:
        try:
            answers = detect(images[:batch])
        except (tf.errors.InvalidArgumentError, TypeError, ValueError):
            continue
        if len(answers) == batch:  # TensorFlow takes several images where a shape says 1, and mixes their boxes
            yield batch


def main() -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        write_nanodet(work)
        compare("NanoDet-g of a fixed batch, opened", work / "nanodet", work / "nanodet.toml", work / "models")
        with mock.patch.object(wrapping, "open_batch", return_value=None):
            compare("NanoDet-g of a fixed batch, kept", work / "nanodet", work / "nanodet.toml", work / "models")
        write_zoo_model(work / "zoo", side=320, channels=512)
        zoo = ZOO_CONTRACT.replace("input_height = 64", "input_height = 320")
        (work / "zoo.toml").write_text(zoo.replace("input_width = 64", "input_width = 320"))
        compare("TF2 zoo's form", work / "zoo", work / "zoo.toml", work / "models")
        (work / "ssd.toml").write_text(contract_toml())
        compare("SSD MobileNet of TF1", MODEL / "1", work / "ssd.toml", work / "models")


if __name__ == "__main__":
    main()
