from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.boxes.decode import decode
from serving.conventions import BoxesClassScores, BoxesScoresLabels, EndToEnd, SsdRaw, YoloRaw, YoloV8
from serving.errors import RowsRejectedError
from tests.support.raw_answers import BOX, CONVENTIONS, FAR, answer_with, class_scores, decoded_rows, described


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
    fields: dict[str, Any] = {"box_order": order, "box_units": units}
    listed = BoxesScoresLabels(convention="boxes_scores_labels", **fields)
    columns = BoxesClassScores(convention="boxes_class_scores", label_offset=1, **fields)
    v5 = YoloRaw(convention="yolo_v5", tensor="x", label_offset=1, **fields)
    v8 = YoloV8(convention="yolo_v8", tensor="x", label_offset=1, boxes_axis=1, **fields)
    end_to_end = EndToEnd(convention="end_to_end", tensor="x", label_offset=1, **fields)

    answers = [
        decoded_rows({"boxes": [[box]], "scores": [[0.75]], "labels": [[2]]}, listed),
        decoded_rows({"boxes": [[box]], "scores": [[[0.1, 0.75, 0, 0]]]}, columns),
        decoded_rows({"x": [[[*box, 0.75, 0.1, 1, 0, 0]]]}, v5),
        decoded_rows({"x": [[[*box, 0.1, 0.75, 0, 0]]]}, v8),
        decoded_rows({"x": [[[*box, 0.75, 1]]]}, end_to_end),
    ]

    assert answers == [[[(2, 0.75, BOX)]]] * 5


@pytest.mark.parametrize("convention", ["ssd_raw", "boxes_class_scores", "yolo_v5", "yolo_v8"])
def test_a_box_counts_for_its_best_class_or_for_each(convention: str) -> None:
    """The best of all that the model knows: a box whose best class the contract has not is no detection."""
    best = decoded_rows(*class_scores(convention, best_class_only=True))
    each = decoded_rows(*class_scores(convention, best_class_only=False))

    assert best == [[(2, 0.6, BOX)]]
    assert each == [[(2, 0.6, BOX), (1, 0.4, FAR)]]


def test_yolo_keeps_the_best_class_unless_told_otherwise() -> None:
    """As Ultralytics and YOLOv5 do; the others keep each."""
    assert YoloRaw(convention="yolo_raw", tensor="x").best_class_only
    assert YoloV8(convention="yolo_v8", tensor="x").best_class_only
    assert not SsdRaw(convention="ssd_raw", tensor="x").best_class_only
    assert not BoxesClassScores(convention="boxes_class_scores").best_class_only


@pytest.mark.parametrize("outputs", ["boxes_scores_labels", "boxes_class_scores", "tf_object_detection"])
def test_outputs_that_do_not_belong_together_are_refused(outputs: str) -> None:
    """Boxes of one head and scores of another."""
    arrays, output = answer_with(outputs, 0.5)
    name = "detection_boxes" if outputs == "tf_object_detection" else "boxes"
    arrays[name] = arrays[name][:, :1]

    with pytest.raises(RowsRejectedError, match="different numbers of boxes"):
        decode(arrays, described(output))


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
