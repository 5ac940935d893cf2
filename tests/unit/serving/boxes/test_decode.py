from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from serving.boxes.candidates import ssd_boxes
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
    max_detections=20,
    labels=(Label(id=1, name="tea"), Label(id=2, name="rice"), Label(id=4, name="salt")),
    weights_sha256="0" * 64,
)
BOX = [0.1, 0.2, 0.5, 0.4]  # ymin, xmin, ymax, xmax


def described(output: Output) -> Description:
    """A model that answers so."""
    return Description(contract=CONTRACT, output=output)


def found(outputs: dict[str, Any], output: Output) -> list[list[tuple[int, float, list[float]]]]:
    """Class id, score and box of each detection of each row."""
    answer = decode({name: np.array(value, np.float32) for name, value in outputs.items()}, described(output))
    return [
        [
            (int(c), round(float(s), 5), np.round(b.astype(float), 5).tolist())
            for c, s, b in zip(one.classes, one.scores, one.boxes, strict=True)
        ]
        for one in answer
    ]


def ssd_raw(rng: np.random.Generator, *, rows: int, priors: int) -> NDArray[np.float32]:
    """A raw SSD output of five classes, background included."""
    corner = rng.uniform(0, 0.7, (priors, 2))
    prior = np.concatenate([corner, corner + rng.uniform(0.05, 0.3, (priors, 2))], -1)
    prior = np.broadcast_to(np.concatenate([prior, np.full((priors, 4), [0.1, 0.1, 0.2, 0.2])], -1), (rows, priors, 8))
    offsets, logits = rng.normal(size=(rows, priors, 4)), rng.normal(size=(rows, priors, 5)) * 3
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return np.concatenate([offsets, scores, prior], -1).astype(np.float32)


@given(seed=st.integers(0, 2**32 - 1), legacy=st.booleans(), broken=st.booleans())
@settings(max_examples=60, deadline=None)
def test_an_ssd_is_decoded_as_the_document_says(seed: int, *, legacy: bool, broken: bool) -> None:
    """By a slow decoder written plainly from it: the same boxes, and scores within 1e-5."""
    rng = np.random.default_rng(seed)
    raw = ssd_raw(rng, rows=2, priors=30)
    if broken:
        raw[0, 3, 2], raw[0, 4, 6], raw[1, 5, 3] = np.nan, np.inf, 1e9

    answer = decode({"x": raw}, described(SsdRaw(convention="ssd_raw", tensor="x", legacy_cy_width=legacy)))

    for row, one in zip(raw, answer, strict=True):
        boxes = np.array([plain.ssd_box(prior, legacy_cy_width=legacy) for prior in row])
        kept = plain.suppress(boxes, row[:, [5, 6, 8]], threshold=0.3, nms_iou=0.5, limit=20)
        assert [[1, 2, 4][k.class_column] for k in kept] == one.classes.tolist()
        np.testing.assert_allclose(one.scores, [k.score for k in kept], atol=1e-5)
        np.testing.assert_allclose(one.boxes, np.array([k.box for k in kept]).reshape(-1, 4), atol=1e-5)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_encoding_is_undone(seed: int) -> None:
    """Offsets that a trainer makes of a box, by the paper's formula, decode to that box."""
    rng = np.random.default_rng(seed)
    raw = ssd_raw(rng, rows=1, priors=20).astype(np.float64)
    corner = rng.uniform(0, 0.7, (20, 2))
    box = np.concatenate([corner, corner + rng.uniform(0.05, 0.3, (20, 2))], -1)  # xmin, ymin, xmax, ymax
    prior, variance = raw[0, :, -8:-4], raw[0, :, -4:]
    size, prior_size = box[:, 2:] - box[:, :2], prior[:, 2:] - prior[:, :2]
    centre = (box[:, :2] + box[:, 2:] - prior[:, :2] - prior[:, 2:]) / 2 / prior_size
    raw[0, :, :4] = np.concatenate([centre, np.log(size / prior_size)], -1) / variance

    decoded = np.stack(ssd_boxes(raw), -1)[0]

    np.testing.assert_allclose(decoded, box[:, [1, 0, 3, 2]], atol=1e-9)


def test_the_legacy_defect_moves_only_the_centre_s_y() -> None:
    """By the prior's width instead of its height: 0.1 * (0.4 - 0.2) for an offset of 1 on this prior."""
    raw = np.array([[[1, 1, 0, 0, 0, 0, 0, 0, 0, 0.2, 0.3, 0.6, 0.5, 0.1, 0.1, 0.2, 0.2]]])

    right, legacy = (np.stack(ssd_boxes(raw, legacy_cy_width=legacy), -1)[0, 0] for legacy in (False, True))

    np.testing.assert_allclose(right, [0.32, 0.24, 0.52, 0.64])
    np.testing.assert_allclose(legacy - right, [0.02, 0, 0.02, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("order", "units", "box"),
    [
        ("yxyx", "normalised", BOX),
        ("xyxy", "normalised", [0.2, 0.1, 0.4, 0.5]),
        ("cxcywh", "normalised", [0.3, 0.3, 0.2, 0.4]),
        ("xywh", "normalised", [0.2, 0.1, 0.2, 0.4]),
        ("yxyx", "pixels", [20, 80, 100, 160]),
        ("cxcywh", "pixels", [120, 60, 80, 80]),
    ],
)
def test_every_order_and_unit_of_boxes(order: Any, units: Any, box: list[float]) -> None:
    """One box, said in many ways, by each convention that leaves it open."""
    told: dict[str, Any] = {"box_order": order, "box_units": units}
    listed = BoxesScoresLabels(convention="boxes_scores_labels", **told)
    columns = BoxesClassScores(convention="boxes_class_scores", label_offset=1, **told)
    v5 = YoloRaw(convention="yolo_v5", tensor="x", label_offset=1, **told)
    v8 = YoloV8(convention="yolo_v8", tensor="x", label_offset=1, boxes_axis=1, **told)
    end_to_end = EndToEnd(convention="end_to_end", tensor="x", label_offset=1, **told)

    answers = [
        found({"boxes": [[box]], "scores": [[0.75]], "labels": [[2]]}, listed),
        found({"boxes": [[box]], "scores": [[[0.1, 0.75, 0, 0]]]}, columns),
        found({"x": [[[*box, 0.75, 0.1, 1, 0, 0]]]}, v5),
        found({"x": [[[*box, 0.1, 0.75, 0, 0]]]}, v8),
        found({"x": [[[*box, 0.75, 1]]]}, end_to_end),
    ]

    assert answers == [[[(2, 0.75, BOX)]]] * 5


FAR = [0.6, 0.6, 0.9, 0.9]
SCORES = [[0.1, 0.6, 0.5, 0.1], [0.4, 0.1, 0.7, 0.1]]  # two boxes of four classes; the contract has not the third


def class_scores(convention: str, *, best_class_only: bool) -> tuple[dict[str, Any], Output]:
    """SCORES as each convention that has a column for each class answers them."""
    boxes, scores = np.array([[BOX, FAR]]), np.array([SCORES])
    best: dict[str, Any] = {"best_class_only": best_class_only}
    if convention == "ssd_raw":
        priors = np.concatenate([boxes[..., [1, 0, 3, 2]], np.full((1, 2, 4), 0.1)], -1)
        return {"x": np.concatenate([np.zeros((1, 2, 4)), np.full((1, 2, 1), 0.9), scores, priors], -1)}, SsdRaw(
            convention="ssd_raw", tensor="x", **best
        )
    if convention == "boxes_class_scores":
        return {"boxes": boxes, "scores": scores}, BoxesClassScores(
            convention="boxes_class_scores", label_offset=1, **best
        )
    told: dict[str, Any] = {"tensor": "x", "box_order": "yxyx", "label_offset": 1, **best}
    if convention == "yolo_v8":
        return {"x": np.concatenate([boxes, scores], -1).swapaxes(1, 2)}, YoloV8(convention="yolo_v8", **told)
    with_objectness = np.concatenate([boxes, np.ones((1, 2, 1)), scores], -1)
    return {"x": with_objectness}, YoloRaw(convention="yolo_v5", **told)


@pytest.mark.parametrize("convention", ["ssd_raw", "boxes_class_scores", "yolo_v5", "yolo_v8"])
def test_a_box_counts_for_its_best_class_or_for_each(convention: str) -> None:
    """The best of all that the model knows: a box whose best class the contract has not is no detection."""
    best = found(*class_scores(convention, best_class_only=True))
    each = found(*class_scores(convention, best_class_only=False))

    assert best == [[(2, 0.6, BOX)]]
    assert each == [[(2, 0.6, BOX), (1, 0.4, FAR)]]


def test_yolo_keeps_the_best_class_unless_told_otherwise() -> None:
    """As Ultralytics and YOLOv5 do; the others keep each."""
    assert YoloRaw(convention="yolo_raw", tensor="x").best_class_only
    assert YoloV8(convention="yolo_v8", tensor="x").best_class_only
    assert not SsdRaw(convention="ssd_raw", tensor="x").best_class_only
    assert not BoxesClassScores(convention="boxes_class_scores").best_class_only


@pytest.mark.parametrize("priors", [1, 7, 9, 40])
@pytest.mark.parametrize("axis", [1, 2])
def test_the_axis_of_the_boxes_is_told_by_the_shape(priors: int, axis: int) -> None:
    """Of 4 + 4 columns; named, it is the same."""
    raw = np.random.default_rng(0).uniform(0.4, 0.6, (2, priors, 8))
    outputs = {"x": raw if axis == 1 else raw.swapaxes(1, 2)}

    told, named = (
        found(outputs, YoloV8(convention="yolo_v8", tensor="x", label_offset=1, boxes_axis=boxes_axis))
        for boxes_axis in (None, axis)
    )

    assert told == named
    assert all(told)


@pytest.mark.parametrize(
    ("shape", "axis", "complaint"),
    [
        ((1, 8, 8), None, "does not tell where its 8 columns are: set boxes_axis"),
        ((1, 9, 40), None, r"\(1, 9, 40\); 3 dimensions were expected, one of them of 8"),
        ((1, 40, 8), 2, r"\(1, 40, 8\); 3 dimensions were expected, one of them of 8"),
        ((8, 40), None, "3 dimensions were expected"),
    ],
)
def test_a_yolo_of_other_classes_is_refused(shape: tuple[int, ...], axis: Any, complaint: str) -> None:
    """A class more or less would shift what a column means."""
    output = YoloV8(convention="yolo_v8", tensor="x", label_offset=1, boxes_axis=axis)

    with pytest.raises(RowsRejectedError, match=complaint):
        found({"x": np.zeros(shape)}, output)


@pytest.mark.parametrize("background", ["none", "first", "last"])
@pytest.mark.parametrize("activation", ["none", "sigmoid", "softmax"])
def test_scores_are_made_of_logits(activation: Any, background: Any) -> None:
    """By the formula of each; the background has its part in the softmax, and is no detection."""
    logits = np.array([0.3, 2.0, -1.0, 0.1, 0.2])
    known = logits[:-1] if background == "none" else logits  # four classes, with the background five columns
    probabilities = {
        "none": known / 10 + 0.41,
        "sigmoid": np.array([1 / (1 + math.exp(-x)) for x in known]),
        "softmax": np.array([math.exp(x) / sum(math.exp(y) for y in known) for x in known]),
    }[activation]
    classes = probabilities[1:] if background == "first" else probabilities[:4]
    output = BoxesClassScores(
        convention="boxes_class_scores", activation=activation, background=background, label_offset=1
    )
    answered = probabilities if activation == "none" else known

    answer = found({"boxes": [[BOX]], "scores": [[answered]]}, output)

    expected = {label: classes[label - 1] for label in (1, 2, 4) if classes[label - 1] > 0.3}
    assert {label: round(score, 4) for label, score in expected.items()} == {c: round(s, 4) for c, s, _ in answer[0]}


@pytest.mark.parametrize("outputs", ["boxes_scores_labels", "boxes_class_scores", "tf_object_detection"])
def test_outputs_that_do_not_belong_together_are_refused(outputs: str) -> None:
    """Boxes of one head and scores of another."""
    arrays, output = answer_with(outputs, 0.5)
    name = "detection_boxes" if outputs == "tf_object_detection" else "boxes"
    arrays[name] = arrays[name][:, :1]

    with pytest.raises(RowsRejectedError, match="different numbers of boxes"):
        decode(arrays, described(output))


def test_a_label_has_its_own_threshold() -> None:
    """Above or below the contract's."""
    contract = CONTRACT.model_copy(update={"thresholds": {"tea": 0.45, "salt": 0.05}})
    outputs, output = class_scores("boxes_class_scores", best_class_only=False)

    (row,) = decode(outputs, Description(contract=contract, output=output))

    assert row.classes.tolist() == [2, 4, 4]


OVERLAPPING = [[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.45], [-0.5, -0.5, 0.2, 0.2], [-0.9, -0.1, 0.2, 0.2]]


@pytest.mark.parametrize(
    ("nms", "clip", "kept"),
    [
        ("per_class", "before", [0, 1, 2]),  # clipped, the last two are one box of one class
        ("per_class", "after", [0, 1, 2, 3]),
        ("agnostic", "before", [0, 2]),
        ("agnostic", "after", [0, 2, 3]),
        ("none", "before", [0, 1, 2, 3]),
        ("none", "after", [0, 1, 2, 3]),
    ],
)
def test_overlaps_are_suppressed_as_the_contract_says(nms: str, clip: str, kept: list[int]) -> None:
    """Two classes in one place, and two boxes of one class that are alike within the input."""
    contract = CONTRACT.model_copy(update={"nms": nms, "clip": clip})
    outputs = {
        "boxes": np.array([OVERLAPPING], np.float32),
        "scores": np.array([[0.9, 0.8, 0.7, 0.6]], np.float32),
        "labels": np.array([[1, 2, 1, 1]], np.float32),
    }

    (row,) = decode(outputs, Description(contract=contract, output=BoxesScoresLabels(convention="boxes_scores_labels")))

    np.testing.assert_allclose(row.scores, [0.9 - 0.1 * number for number in kept], rtol=1e-6)
    np.testing.assert_allclose(row.boxes, np.clip(np.array(OVERLAPPING)[kept], 0, 1), rtol=1e-6)


def test_padding_and_strange_labels_are_left_out() -> None:
    """Labels that the contract has not (-1 is keras-retinanet's padding), and scores of nothing."""
    listed = BoxesScoresLabels(convention="boxes_scores_labels", label_offset=1)
    far = [[BOX, [0.6, 0.6, 0.9, 0.9], BOX, BOX]]

    answer = found({"boxes": far, "scores": [[0.5, 0.9, -1, 0.8]], "labels": [[0, 3, -1, 2]]}, listed)

    assert answer == [[(4, 0.9, [0.6, 0.6, 0.9, 0.9]), (1, 0.5, BOX)]]


def test_object_detection_counts_its_detections() -> None:
    """What stands past `num_detections` is padding, whatever it looks like."""
    outputs = {
        "detection_boxes": [[BOX, BOX], [BOX, BOX]],
        "detection_scores": [[0.5, 0.9], [0.5, 0.9]],
        "detection_classes": [[1, 2], [1, 2]],
        "num_detections": [1, 2],
    }

    expected = [[(1, 0.5, BOX)], [(2, 0.9, BOX), (1, 0.5, BOX)]]
    assert expected == found(outputs, TfObjectDetection(convention="tf_object_detection"))


@pytest.mark.parametrize(
    ("outputs", "complaint"),
    [
        ({"y": np.zeros((1, 2, 17))}, "answers no x, only y"),
        ({"x": np.zeros((1, 2, 16))}, "the last of them of 17"),
        ({"x": np.zeros((2, 17))}, "3 dimensions"),
    ],
)
def test_another_model_s_output_is_refused(outputs: dict[str, NDArray[Any]], complaint: str) -> None:
    """By name and by shape: a class more or less would shift every label."""
    with pytest.raises(RowsRejectedError, match=complaint):
        decode(outputs, described(SsdRaw(convention="ssd_raw", tensor="x")))


def answer_with(
    convention: str, score: float, *, at: str = "score", labels: tuple[int, int] = (1, 2)
) -> tuple[dict[str, NDArray[Any]], Output]:
    """Two rows of two priors with a box each: the second row's second prior has `score`, or that value elsewhere."""
    boxes, scores = np.tile(np.array(BOX, np.float32), (2, 2, 1)), np.full((2, 2), 0.5, np.float32)
    boxes[:, 1] = [0.6, 0.6, 0.9, 0.9]
    (boxes[1, 1, :1] if at == "box" else scores[1, 1:])[:] = score
    classes = np.tile(np.array(labels, np.float32), (2, 1))
    if convention in {"boxes_scores_labels", "tf_object_detection"}:
        return as_lists(convention, boxes, scores, classes)
    parts: list[NDArray[Any]] = [boxes, scores[..., None], np.zeros((2, 2, 3))]
    told: dict[str, Any] = {"tensor": "x", "box_order": "yxyx", "label_offset": 1}
    output: Output
    if convention == "ssd_raw":
        output = SsdRaw(convention="ssd_raw", tensor="x")
        priors = boxes[..., [1, 0, 3, 2]]
        parts = [np.zeros((2, 2, 5)), scores[..., None], np.zeros((2, 2, 3)), priors, np.full((2, 2, 4), 0.1)]
    elif convention == "yolo_raw":
        output = YoloRaw(convention="yolo_raw", **told)
        parts.insert(1, np.ones((2, 2, 1)))
    elif convention == "yolo_v8":
        output = YoloV8(convention="yolo_v8", boxes_axis=1, **told)
    elif convention == "end_to_end":
        output = EndToEnd(convention="end_to_end", **told | {"label_offset": 0})
        parts = [boxes, scores[..., None], classes[..., None]]
    else:
        columns = np.concatenate(parts[1:], -1).astype(np.float32)
        return {"boxes": boxes, "scores": columns}, BoxesClassScores(convention="boxes_class_scores", label_offset=1)
    return {"x": np.concatenate(parts, -1).astype(np.float32)}, output


def as_lists(
    convention: str, boxes: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any]
) -> tuple[dict[str, NDArray[Any]], Output]:
    """The same boxes in the conventions that answer a label for each box."""
    if convention == "boxes_scores_labels":
        listed = BoxesScoresLabels(convention="boxes_scores_labels")
        return {"boxes": boxes, "scores": scores, "labels": classes}, listed
    outputs = {"detection_boxes": boxes, "detection_scores": scores, "detection_classes": classes}
    count = {"num_detections": np.array([2, 2], np.float32)}
    return outputs | count, TfObjectDetection(convention="tf_object_detection")


CONVENTIONS = [
    "ssd_raw",
    "yolo_raw",
    "yolo_v8",
    "end_to_end",
    "boxes_scores_labels",
    "boxes_class_scores",
    "tf_object_detection",
]


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("score", [7.5, 1.01, -0.5, -3.0])
def test_a_score_that_is_no_probability_is_refused(convention: str, score: float) -> None:
    """With the words of the signature `detect`, whichever convention the model has; the other row alone is fine."""
    outputs, output = answer_with(convention, score)

    with pytest.raises(RowsRejectedError, match=r"not within 0..1: the model must answer probabilities, not logits"):
        decode(outputs, described(output))
    assert [len(row) for row in decode({name: array[:1] for name, array in outputs.items()}, described(output))] != [0]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_score_that_rounding_put_past_one_is_clipped(convention: str) -> None:
    """A sigmoid's float32 may be 1.0000001."""
    outputs, output = answer_with(convention, 1.0000002)

    assert decode(outputs, described(output))[1].scores[0] == 1.0


def test_an_objectness_that_is_a_logit_is_refused() -> None:
    """Also where the product with the class's score looks like a probability."""
    outputs, output = answer_with("yolo_raw", 0.1)
    outputs["x"][1, 1, 4] = 7.5

    with pytest.raises(RowsRejectedError, match=r"not within 0..1"):
        decode(outputs, described(output))


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("at", ["score", "box"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_priors_that_are_not_finite_are_left_out_and_counted(convention: str, at: str, value: float) -> None:
    """One of the second row; the other prior stays, and the first row has both."""
    outputs, output = answer_with(convention, value, at=at)

    first, second = decode(outputs, described(output))

    assert (first.not_finite, second.not_finite, len(second)) == (0, 1, 1)


@pytest.mark.parametrize("score", [-1.0, np.nan, 7.5])
def test_padding_is_neither_refused_nor_counted(score: float) -> None:
    """By a label that the contract does not have, by `num_detections`, or by the score -1."""
    listed, output = answer_with("boxes_scores_labels", score, labels=(1, -1))
    counted, object_detection = answer_with("tf_object_detection", score)
    counted["num_detections"][:] = 1

    for answered, convention in ((listed, output), (counted, object_detection)):
        assert [(len(row), row.not_finite) for row in decode(answered, described(convention))] == [(1, 0), (1, 0)]
    filled, output = answer_with("boxes_scores_labels", -1.0)
    assert [len(row) for row in decode(filled, described(output))] == [2, 1]


@pytest.mark.parametrize("count", [np.nan, -1, 3])
def test_a_count_that_cannot_be_is_refused(count: float) -> None:
    """With the words of the signature `detect`."""
    outputs, output = answer_with("tf_object_detection", 0.5)
    outputs["num_detections"][1] = count

    with pytest.raises(RowsRejectedError, match=r"num_detections is not within 0..2"):
        decode(outputs, described(output))


def test_images_are_prepared_as_the_course_does() -> None:
    """RGB to BGR, minus the mean, no scaling; or left as they are; or scaled."""
    images = np.array([[[[10, 20, 30]]]], np.uint8)

    caffe = prepare(images, RawInput(channels="bgr", mean=(103.939, 116.779, 123.68)))
    plain_bytes = prepare(images, RawInput(dtype="uint8"))
    scaled = prepare(images, RawInput(mean=(10, 10, 10), scale=(2, 2, 5)))

    np.testing.assert_allclose(caffe[0, 0, 0], [30 - 103.939, 20 - 116.779, 10 - 123.68], rtol=1e-6)
    assert plain_bytes is images
    assert scaled[0, 0, 0].tolist() == [0, 5, 4]


def test_images_may_have_their_channels_first() -> None:
    """After all else: mean and scale go by channel."""
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    raw_input = {"channels": "bgr", "mean": (1, 2, 3), "scale": (4, 5, 6)}

    first, last = (prepare(images, RawInput.model_validate({**raw_input, "layout": x})) for x in ("nchw", "nhwc"))

    assert first.shape == (2, 3, 4, 5)
    np.testing.assert_array_equal(first, np.moveaxis(last, -1, 1))


def test_constants_are_repeated_for_each_image_if_the_contract_says_so() -> None:
    """Each of its own type."""
    sizes = ConstantInput(tensor="sizes", dtype="int64", value=[640, 480], per_image=True)
    raw_input = RawInput(constants=(sizes, ConstantInput(tensor="training", dtype="bool", value=False)))

    made = constants(raw_input, 2)

    assert (made["sizes"].tolist(), made["sizes"].dtype) == ([[640, 480]] * 2, np.dtype(np.int64))
    assert (made["training"].tolist(), made["training"].dtype) == (False, np.dtype(np.bool_))
