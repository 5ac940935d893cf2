from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from exporter.graph import tensorflow
from serving.boxes.candidates import candidates
from serving.boxes.decode import constants, decode, prepare
from serving.contract import Contract, Label
from serving.conventions import (
    BoxesClassScores,
    BoxesScoresLabels,
    EndToEnd,
    Output,
    SsdRaw,
    TfObjectDetection,
    YoloRaw,
    YoloV8,
)
from serving.description import ConstantInput, Description, RawInput
from serving.errors import RowsRejectedError
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
    "ssd best": SsdRaw(convention="ssd_raw", tensor="x", best_class_only=True),
    "yolo": YoloRaw(convention="yolo_raw", tensor="x", box_units="pixels", best_class_only=False),
    "yolo best": YoloRaw(convention="yolo_v5", tensor="x", box_units="pixels"),
    "v8": YoloV8(convention="yolo_v8", tensor="x", best_class_only=False),
    "v8 best": YoloV8(convention="yolo_v8", tensor="x", boxes_axis=2),
    "v8 transposed": YoloV8(convention="yolo_v8", tensor="x", boxes_axis=1),
    "end to end": EndToEnd(convention="end_to_end", tensor="x"),
    "columns": BoxesClassScores(convention="boxes_class_scores"),
    "columns sigmoid": BoxesClassScores(convention="boxes_class_scores", activation="sigmoid", background="first"),
    "columns softmax": BoxesClassScores(
        convention="boxes_class_scores", activation="softmax", background="last", best_class_only=True
    ),
    "object detection": TfObjectDetection(convention="tf_object_detection"),
    "lists": BoxesScoresLabels(convention="boxes_scores_labels", box_order="xywh", label_offset=1),
}

SELECTIONS: dict[str, dict[str, Any]] = {
    "agnostic": {"nms": "agnostic"},
    "none": {"nms": "none"},
    "clipped after": {"clip": "after"},
    "agnostic, clipped after": {"nms": "agnostic", "clip": "after"},
    "thresholds": {"thresholds": {"rice": 0.6, "salt": 0.1}},
}


def selecting(how: str) -> Contract:
    """CONTRACT with other rules of selection; more detections than a row has, and fewer."""
    limit = 10 if how == "thresholds" else 40
    return CONTRACT.model_copy(update={"max_detections": limit, **SELECTIONS[how]})


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    """TensorFlow, imported when the first test runs."""
    tensorflow.prepare()


@pytest.fixture(scope="module")
def graphs() -> dict[tuple[str, str], Any]:
    """For each of OUTPUTS, `detections` as a function that TensorFlow traces once per precision."""
    import tensorflow as tf

    from exporter.graph.detection import detections

    def traced(description: Description) -> Any:
        return tf.function(lambda outputs: detections(outputs, description))

    every = {(kind, ""): (CONTRACT, output) for kind, output in OUTPUTS.items()}
    every |= {("v8", how): (selecting(how), OUTPUTS["v8"]) for how in SELECTIONS}
    return {key: traced(Description(contract=contract, output=output)) for key, (contract, output) in every.items()}


def raw(kind: str, rng: np.random.Generator) -> dict[str, Any]:
    """Raw outputs of two rows of 25 priors, some values not finite."""
    corner = rng.uniform(0, 0.7, (2, 25, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.05, 0.3, (2, 25, 2))], -1)
    scores = rng.uniform(size=(2, 25, 5)).round(2)
    if kind.startswith("ssd"):
        variances = np.full((2, 25, 4), [0.1, 0.1, 0.2, 0.2])
        outputs = {"x": np.concatenate([rng.normal(size=(2, 25, 4)), scores, boxes, variances], -1)}
    elif kind.startswith("yolo"):
        outputs = {"x": np.concatenate([boxes * 200, scores, scores[..., :1]], -1)}
    elif kind.startswith("v8"):
        outputs = {"x": np.concatenate([boxes * 1.3 - 0.1, scores], -1)}
    elif kind == "end to end":
        outputs = {"x": np.concatenate([boxes, scores[..., :1], rng.integers(-1, 6, (2, 25, 1))], -1)}
    elif kind.startswith("columns"):
        # All different, in float16 too: an exponential's last bit depends on where in the array its value is.
        logits = rng.permutation(np.linspace(-4, 4, 300)).reshape(2, 25, 6)
        outputs = {"boxes": boxes, "scores": scores if kind == "columns" else logits}
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
    if kind in {"v8", "v8 best"}:
        outputs["x"] = outputs["x"].swapaxes(1, 2)
    return {name: array.astype(np.float32) for name, array in outputs.items()}


def clear(boxes: NDArray[np.float32], *, clip: bool) -> bool:
    """Whether no two boxes overlap by the threshold itself, where the last bit of a product would decide."""
    finite = np.where(np.isfinite(boxes), boxes, 0)
    finite = finite.clip(0, 1) if clip else finite
    return all(abs(plain.iou(a, b) - 0.5) > 1e-6 for row in finite for a, b in itertools.combinations(row, 2))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("kind", OUTPUTS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_the_graph_and_numpy_keep_the_same(graphs: dict[Any, Any], kind: str, dtype: Any, seed: int) -> None:
    """The same detections in the same order, boxes and scores within 1e-6, for each convention and precision."""
    outputs = {name: array.astype(dtype) for name, array in raw(kind, np.random.default_rng(seed)).items()}
    assert_same(graphs[kind, ""], outputs, Description(contract=CONTRACT, output=OUTPUTS[kind]))


@pytest.mark.parametrize("how", SELECTIONS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_the_graph_and_numpy_select_alike(graphs: dict[Any, Any], how: str, seed: int) -> None:
    """By each rule of selection; boxes reach over the edge."""
    outputs = raw("v8", np.random.default_rng(seed))
    assert_same(graphs["v8", how], outputs, Description(contract=selecting(how), output=OUTPUTS["v8"]))


def assert_same(graph: Any, outputs: dict[str, Any], description: Description) -> None:
    """The graph keeps what NumPy keeps."""
    with np.errstate(all="ignore"):
        assume(clear(candidates(outputs, description).boxes, clip=description.contract.clip == "before"))

    answer = {name: tensor.numpy() for name, tensor in graph(outputs).items()}

    for row, expected in enumerate(decode(outputs, description)):
        count = int(answer["num_detections"][row])
        np.testing.assert_array_equal(expected.classes, answer["detection_classes"][row, :count])
        np.testing.assert_allclose(expected.scores, answer["detection_scores"][row, :count], atol=1e-6)
        np.testing.assert_allclose(expected.boxes, answer["detection_boxes"][row, :count], atol=1e-6)
        assert not answer["detection_classes"][row, count:].any()


@pytest.mark.parametrize(
    ("shape", "boxes_axis"), [((None, 9, None), 2), ((None, None, 25), 2), ((None, None, 9), 1), ((2, 25, None), 1)]
)
def test_the_axis_of_the_boxes_is_told_by_open_shapes(shape: tuple[int | None, ...], boxes_axis: int) -> None:
    """By the one size that a graph knows, as for one with closed shapes."""
    import tensorflow as tf

    from exporter.graph.detection import detections

    described = Description(contract=CONTRACT, output=OUTPUTS["v8"])
    traced = tf.function(lambda x: detections({"x": x}, described), input_signature=[tf.TensorSpec(shape, tf.float32)])
    outputs = raw("v8", np.random.default_rng(1))
    answer = traced(outputs["x"] if boxes_axis == 2 else outputs["x"].swapaxes(1, 2))

    assert answer["num_detections"].numpy().tolist() == [len(row) for row in decode(outputs, described)]


def test_open_shapes_that_do_not_tell_the_axis_are_refused() -> None:
    """With the field that tells it."""
    import tensorflow as tf

    from exporter.graph.detection import detections

    described = Description(contract=CONTRACT, output=OUTPUTS["v8"])
    with pytest.raises(RowsRejectedError, match="set boxes_axis in the contract"):
        tf.function(lambda x: detections({"x": x}, described)).get_concrete_function(
            tf.TensorSpec((None, None, None), tf.float32)
        )


@pytest.mark.parametrize(
    "raw_input",
    [
        RawInput(channels="bgr", mean=(103.939, 116.779, 123.68)),
        RawInput(dtype="uint8"),
        RawInput(channels="bgr", dtype="uint8"),
        RawInput(scale=(255, 255, 255)),
        RawInput(layout="nchw", channels="bgr", mean=(1, 2, 3), scale=(4, 5, 6)),
        RawInput(layout="nchw", dtype="uint8"),
    ],
)
def test_the_graph_and_numpy_prepare_alike(raw_input: RawInput) -> None:
    """Images as the model's raw input takes them, in either way."""
    import tensorflow as tf

    from exporter.graph.detection import TENSORFLOW

    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), np.uint8)

    in_graph = prepare(tf.constant(images), raw_input, TENSORFLOW).numpy()

    np.testing.assert_allclose(prepare(images, raw_input), in_graph, rtol=1e-6)


def test_the_graph_and_numpy_give_the_same_constants() -> None:
    """Once for each image, or as they are, each of its own type."""
    import tensorflow as tf

    from exporter.graph.inputs import model_inputs

    raw_input = RawInput(
        constants=(
            ConstantInput(tensor="sizes", dtype="int64", value=[640, 480], per_image=True),
            ConstantInput(tensor="training", dtype="bool", value=False),
        )
    )
    images = tf.zeros((3, 2, 2, 3))

    in_graph = tf.function(lambda images: model_inputs(raw_input, images))(images)

    assert in_graph["images"].shape == images.shape
    for name, array in constants(raw_input, 3).items():
        assert in_graph[name].dtype.as_numpy_dtype == array.dtype
        np.testing.assert_array_equal(in_graph[name].numpy(), array)
    assert (constants(raw_input, 3)["sizes"].shape, constants(raw_input, 3)["training"].shape) == ((3, 2), ())
