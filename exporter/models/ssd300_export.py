"""Export SSD300 with trained weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from exporter.errors import ExportError
from exporter.graph import tensorflow
from exporter.models.ssd300_priors import SIZE
from exporter.versions.contracts import make_contract
from exporter.versions.folders import require_free
from exporter.versions.origin import Origin
from exporter.weights.filling import fill, ssd300_classes
from exporter.weights.labels import read_labels
from exporter.weights.other_formats import refuse_other_formats
from exporter.weights.stored_weights import StoredWeights, digest, open_weights
from serving.contract import Contract
from serving.conventions import SsdRaw
from serving.description import Description, RawInput

if TYPE_CHECKING:
    from exporter.graph.signatures import Signature
    from exporter.graph.wrapping import RawModel
    from exporter.models.ssd300 import SSD300

OUTPUT = "concat_3:0"
MEAN_BGR = (103.939, 116.779, 123.68)


@dataclass(frozen=True)
class Ssd300Options:
    """The options that the weight file does not contain. The defaults are those of rykov8/ssd_keras."""

    labels: Path
    classes: int | None = None
    score_threshold: float = 0.01
    nms_iou: float = 0.45
    top_k: int = 200
    resize: Literal["bilinear", "nearest"] = "bilinear"
    legacy_cy_width: bool = False


def export_ssd300(
    weights: Path, model: Path, options: Ssd300Options, *, version: int | None = None, dry_run: bool = False
) -> Path:
    """Export SSD300 as a version in the folder `model`; the folder's name names the model.

    Checks that need no TensorFlow come first. Without `version`, the version gets the next free number. Returns the
    folder of the version. Raises ExportError; no files are left then.
    """
    require_free(model, version)
    refuse_other_formats(weights, "ssd300")
    with open_weights(weights) as stored:
        classes = _classes(stored, options.classes, weights)
        contract = make_contract(
            name=model.name,
            input_height=SIZE,
            input_width=SIZE,
            resize=options.resize,
            score_threshold=options.score_threshold,
            nms_iou=options.nms_iou,
            max_detections=options.top_k,
            labels=read_labels(options.labels, classes=classes),
            weights_sha256=digest(weights),
            provenance=f"SSD300 (Liu et al. 2016) with the weights {weights.name}.",
        )
        network = _build(stored, classes)
    from exporter.graph.variables import write_archive  # noqa: PLC0415 - TensorFlow takes seconds, wrong labels should not
    from exporter.versions.publication import publish_model  # noqa: PLC0415 - it imports TensorFlow

    described = description(contract, legacy_cy_width=options.legacy_cy_width)
    all_signatures = _signatures(network, described)
    return publish_model(
        model,
        contract,
        lambda folder: write_archive(folder, all_signatures),
        origin=Origin(kind="ssd300", description=described),
        version=version,
        dry_run=dry_run,
    )


def load_ssd300(weights: Path) -> RawModel:
    """Load SSD300 with trained weights, for the inputs of `serving_default`. Raises ExportError if they do not fit."""
    with open_weights(weights) as stored:
        network = _build(stored, ssd300_classes(stored))
    import tensorflow as tf  # noqa: PLC0415 - TensorFlow takes seconds to import

    from exporter.graph.wrapping import RawModel  # noqa: PLC0415 - it imports TensorFlow

    return RawModel(
        call=lambda images: {OUTPUT: network.model(images)},
        shape=(None, SIZE, SIZE, 3),
        dtype=tf.float32,
        weight_bytes=4 * network.model.count_params(),
    )


def _classes(stored: StoredWeights, requested: int | None, weights: Path) -> int:
    """Return the class count of the weights, background included, or `requested` if the weights do not tell it.

    In that case `fill` reports which layers differ. Raises ExportError if `requested` contradicts the weights.
    """
    try:
        stored_classes = ssd300_classes(stored)
    except ExportError:
        if requested is None:
            raise
        return requested
    if requested not in {None, stored_classes}:
        raise ExportError(f"{weights} has {stored_classes} classes, background included, not {requested}.")
    return stored_classes


def _build(stored: StoredWeights, classes: int) -> SSD300:
    tensorflow.prepare()
    from exporter.models import ssd300  # noqa: PLC0415 - it imports TensorFlow

    network = ssd300.build(classes)
    fill(network.model, stored)
    return network


def description(contract: Contract, *, legacy_cy_width: bool = False) -> Description:
    """Return the description of the signature `serving_default` of an exported SSD300, as the course defined it."""
    return Description(
        contract=contract,
        input=RawInput(channels="bgr", mean=MEAN_BGR),
        output=SsdRaw(convention="ssd_raw", tensor=OUTPUT, legacy_cy_width=legacy_cy_width),
    )


def _signatures(network: SSD300, described: Description) -> list[Signature]:
    """Return the signatures of SSD300: `serving_default` as the course's `simple_save` wrote it, `detect`, `describe`.

    - `serving_default`: `images` float32 (N, 300, 300, 3), BGR, minus the mean -> the output of `SSD300.model`.
    - `detect`: `images` uint8 (N, 300, 300, 3), RGB -> see `detection.detections`.
    - `describe`: see `describe_signature`.
    """
    import tensorflow as tf  # noqa: PLC0415 - TensorFlow takes seconds to import

    from exporter.graph.detection import detections  # noqa: PLC0415 - it imports TensorFlow
    from exporter.graph.signatures import Signature, describe_signature  # noqa: PLC0415 - it imports TensorFlow

    rgb = network.rgb()

    def raw(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT: network.model(images)}

    def detect(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return detections({OUTPUT: rgb(tf.cast(images, tf.float32) - MEAN_BGR[::-1])}, described)

    shape = (None, SIZE, SIZE, 3)
    return [
        Signature("serving_default", "images", shape, tf.float32, raw),
        Signature("detect", "images", shape, tf.uint8, detect),
        describe_signature(described.contract),
    ]
