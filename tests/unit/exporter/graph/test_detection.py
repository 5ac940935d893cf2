from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from exporter.graph import tensorflow
from serving.boxes.decode import candidates, decode, prepare
from serving.contract import Contract, Label
from serving.description import (
    BoxesScoresLabels,
    Description,
    Output,
    RawInput,
    SsdRaw,
    TfObjectDetection,
    YoloRaw,
)
from tests.unit.exporter import plain

CONTRACT = Contract(
    name="shop",
    input_height=200,
    input_width=400,
    score_threshold=0.3,
    nms_iou=0.5,
    max_detections=10,
    labels=(Label(id=1, name="tea"), Label(id=2, name="rice"), Label(id=4, name="salt")),
    weights_sha256="0" * 64,
)
OUTPUTS: dict[str, Output] = {
    "ssd": SsdRaw(convention="ssd_raw", tensor="x"),
    "ssd legacy": SsdRaw(convention="ssd_raw", tensor="x", legacy_cy_width=True),
    "yolo": YoloRaw(convention="yolo_raw", tensor="x", box_units="pixels"),
    "object detection": TfObjectDetection(convention="tf_object_detection"),
    "lists": BoxesScoresLabels(convention="boxes_scores_labels", box_order="xywh", label_offset=1),
}


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    """TensorFlow, imported when the first test runs."""
    tensorflow.prepare()


@pytest.fixture(scope="module")
def graphs() -> dict[str, Any]:
    """For each of OUTPUTS, `detections` as a function that TensorFlow traces once per precision."""
    import tensorflow as tf

    from exporter.graph.detection import detections

    def traced(description: Description) -> Any:
        return tf.function(lambda outputs: detections(outputs, description))

    return {kind: traced(Description(contract=CONTRACT, output=output)) for kind, output in OUTPUTS.items()}


def raw(kind: str, rng: np.random.Generator) -> dict[str, Any]:
    """Raw outputs of two rows of 25 priors, some values not finite."""
    corner = rng.uniform(0, 0.7, (2, 25, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.05, 0.3, (2, 25, 2))], -1)
    scores = rng.uniform(size=(2, 25, 5)).round(2)
    if kind.startswith("ssd"):
        variances = np.full((2, 25, 4), [0.1, 0.1, 0.2, 0.2])
        outputs = {"x": np.concatenate([rng.normal(size=(2, 25, 4)), scores, boxes, variances], -1)}
    elif kind == "yolo":
        outputs = {"x": np.concatenate([boxes * 200, scores, scores[..., :1]], -1)}
    elif kind == "object detection":
        outputs = {"detection_boxes": boxes, "detection_scores": scores[..., 0]}
        outputs |= {"detection_classes": rng.integers(0, 6, (2, 25)), "num_detections": np.array([25, 7])}
    else:
        outputs = {"boxes": boxes, "scores": scores[..., 0], "labels": rng.integers(-1, 4, (2, 25))}
    for array in outputs.values():
        if array.ndim == 3:
            array[rng.integers(2), rng.integers(25), rng.integers(5) % array.shape[-1]] = rng.choice(
                [np.nan, np.inf, 1]
            )
    return {name: array.astype(np.float32) for name, array in outputs.items()}


def clear(boxes: NDArray[np.float32]) -> bool:
    """Whether no two boxes overlap by the threshold itself, where the last bit of a product would decide."""
    finite = np.where(np.isfinite(boxes), boxes, 0).clip(0, 1)
    return all(abs(plain.iou(a, b) - 0.5) > 1e-6 for row in finite for a, b in itertools.combinations(row, 2))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("kind", OUTPUTS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_graph_and_numpy_keep_the_same(graphs: dict[str, Any], kind: str, dtype: Any, seed: int) -> None:
    """The same detections in the same order, boxes and scores within 1e-5, for each convention and precision."""
    description = Description(contract=CONTRACT, output=OUTPUTS[kind])
    outputs = {name: array.astype(dtype) for name, array in raw(kind, np.random.default_rng(seed)).items()}
    with np.errstate(all="ignore"):
        assume(clear(candidates(outputs, description)[0]))

    answer = {name: tensor.numpy() for name, tensor in graphs[kind](outputs).items()}

    for row, one in enumerate(decode(outputs, description)):
        count = int(answer["num_detections"][row])
        np.testing.assert_array_equal(one.classes, answer["detection_classes"][row, :count])
        np.testing.assert_allclose(one.scores, answer["detection_scores"][row, :count], atol=1e-5)
        np.testing.assert_allclose(one.boxes, answer["detection_boxes"][row, :count], atol=1e-5)
        assert not answer["detection_classes"][row, count:].any()


@pytest.mark.parametrize(
    "raw_input",
    [
        RawInput(channels="bgr", mean=(103.939, 116.779, 123.68)),
        RawInput(dtype="uint8"),
        RawInput(channels="bgr", dtype="uint8"),
        RawInput(scale=(255, 255, 255)),
    ],
)
def test_the_graph_and_numpy_prepare_alike(raw_input: RawInput) -> None:
    """Images as the model's raw input takes them, in either way."""
    import tensorflow as tf

    from exporter.graph.detection import TENSORFLOW

    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), np.uint8)

    in_graph = prepare(tf.constant(images), raw_input, TENSORFLOW).numpy()

    np.testing.assert_allclose(prepare(images, raw_input), in_graph, rtol=1e-6)
