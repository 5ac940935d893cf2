"""The convention of outputs of a known kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.inspecting.layouts import Layout, Outputs, tell_layout
from serving.description import UNKNOWN
from tests.unit.exporter.inspecting.test_boxes import HEIGHT, WIDTH, grid_boxes, in_order

SIZE = (HEIGHT, WIDTH)
STRIDES = (8, 16, 32)


def heads(anchors: int = 1) -> NDArray[np.float32]:
    """Boxes [cx, cy, w, h] in pixels of three grids."""
    return np.concatenate([grid_boxes(anchors, stride) for stride in STRIDES], 1).astype(np.float32)


def scores(boxes: NDArray[Any], columns: int, low: float = 0.0, high: float = 1.0) -> NDArray[np.float32]:
    """Random scores of boxes."""
    return np.random.default_rng(1).uniform(low, high, (*boxes.shape[:2], columns)).astype(np.float32)


def yolo(columns: int, anchors: int = 1) -> NDArray[np.float32]:
    """Boxes and scores in one tensor."""
    boxes = heads(anchors)
    return np.concatenate([boxes, scores(boxes, columns)], -1)


def ssd() -> NDArray[np.float32]:
    """Offsets, 4 scores, priors and variances."""
    boxes = heads()
    offsets, conf = scores(boxes, 4, -2, 2), scores(boxes, 4)
    fixed = np.concatenate([in_order(grid_boxes(1, stride), "xyxy")[:1] for stride in STRIDES], 1) / WIDTH
    variances = np.broadcast_to([0.1, 0.1, 0.2, 0.2], fixed.shape)
    priors = np.concatenate([fixed, variances], -1)
    return np.concatenate([offsets, conf, np.repeat(priors, 2, 0)], -1).astype(np.float32)


def selected(count: int = 20) -> NDArray[np.float32]:
    """Corners, score and class of selected detections, with padding."""
    boxes = in_order(grid_boxes(), "xyxy")[:, :count]
    rows = np.zeros((2, 300, 6), np.float32)
    rows[:, :count] = np.concatenate([boxes, scores(boxes, 1), np.floor(scores(boxes, 1, 0, 5))], -1)
    return rows


def with_background(columns: int, place: int, *, logits: bool) -> NDArray[np.float32]:
    """Scores of queries of which nearly all are background."""
    values = scores(heads(), columns, -3, 3)
    values[..., place] += 9
    powers = np.exp(values)
    return values if logits else (powers / powers.sum(-1, keepdims=True)).astype(np.float32)


def detections(lowest: int) -> Outputs:
    """The outputs of the TF Object Detection API."""
    rows = selected()
    return {
        "detection_boxes": rows[..., :4] / WIDTH,
        "detection_scores": rows[..., 4],
        "detection_classes": rows[..., 5] + lowest,
        "num_detections": np.full(2, 20.0, np.float32),
        "raw_detection_scores": rows,
    }


def keys(layout: Layout) -> dict[str, Any]:
    """The keys of `[output]`."""
    return {finding.key: finding.value for finding in layout.keys}


CASES: list[tuple[Callable[[], Outputs], int | None, dict[str, Any], int | None]] = [
    (lambda: {"o": yolo(8, 3)}, None, {"convention": "yolo_v5", "box_order": "cxcywh", "box_units": "pixels"}, 7),
    (lambda: {"o": yolo(8)}, 7, {"convention": "yolo_v5", "tensor": "o"}, 7),
    (lambda: {"o": yolo(8)}, 8, {"convention": "yolo_v8", "boxes_axis": 1, "box_order": "cxcywh"}, 8),
    (lambda: {"o": yolo(8)}, None, {"convention": UNKNOWN}, None),
    (lambda: {"o": yolo(8).swapaxes(1, 2)}, None, {"convention": "yolo_v8", "boxes_axis": 2, "box_units": "pixels"}, 8),
    (lambda: {"o": yolo(1).swapaxes(1, 2)}, None, {"convention": "yolo_v8", "boxes_axis": 2}, 1),
    (lambda: {"concat_3:0": ssd()}, None, {"convention": "ssd_raw", "tensor": "concat_3:0"}, 3),
    (lambda: {"o": selected()}, None, {"convention": "end_to_end", "box_order": "xyxy", "label_offset": 0}, None),
    (lambda: {"o": selected(0)}, None, {"convention": "end_to_end", "box_units": UNKNOWN}, None),
    (lambda: detections(1), None, {"convention": "tf_object_detection"}, None),
    (lambda: detections(0), None, {"convention": "tf_object_detection", "label_offset": 0}, None),
    (
        lambda: {"pred": in_order(heads(), "xyxy"), "s": scores(heads(), 5)},
        None,
        {
            "convention": "boxes_class_scores",
            "boxes": "pred",
            "scores": "s",
            "activation": "none",
            "background": "none",
        },
        5,
    ),
    (
        lambda: {"boxes": heads(), "logits": scores(heads(), 4, -5, 5)},
        4,
        {"convention": "boxes_class_scores", "boxes": "boxes", "activation": "sigmoid", "background": "none"},
        4,
    ),
    (
        lambda: {"b": heads(), "logits": with_background(6, 5, logits=True)},
        5,
        {"convention": "boxes_class_scores", "activation": "softmax", "background": "last"},
        5,
    ),
    (
        lambda: {"b": heads(), "p": with_background(6, 0, logits=False)},
        None,
        {"convention": "boxes_class_scores", "activation": "none", "background": "first"},
        5,
    ),
    (
        lambda: {"b": heads(), "logits": scores(heads(), 6, -5, 5)},
        None,
        {"convention": "boxes_class_scores", "activation": UNKNOWN, "background": UNKNOWN},
        None,
    ),
    (
        lambda: {"b": heads(), "first": scores(heads(), 1)[..., 0], "second": np.floor(heads()[..., 0])},
        None,
        {"convention": "boxes_scores_labels", "boxes": "b", "scores": "first", "labels": "second"},
        None,
    ),
    (
        lambda: {"b": selected(0)[..., :4], "s": selected(0)[..., 4], "labels": selected(0)[..., 5]},
        None,
        {"convention": "boxes_scores_labels", "scores": "s", "labels": "labels", "box_units": UNKNOWN},
        None,
    ),
]


@pytest.mark.parametrize(("outputs", "labels", "expected", "classes"), CASES)
def test_what_outputs_are(
    outputs: Callable[[], Outputs], labels: int | None, expected: dict[str, Any], classes: int | None
) -> None:
    """By names, shapes and values; what they do not tell is unknown, and never guessed."""
    layout = tell_layout(outputs(), SIZE, labels)

    assert expected.items() <= keys(layout).items()
    assert layout.classes == classes
    is_selected = layout.convention in {"end_to_end", "tf_object_detection"}
    assert ("nms" in {finding.key for finding in layout.top}) == is_selected


@pytest.mark.parametrize(
    ("outputs", "why"),
    [
        (lambda: {"o": np.zeros((2, 10))}, "one output of 2 dimensions"),
        (lambda: {"o": np.zeros((2, 7, 7))}, "o is square"),
        (lambda: {"o": np.zeros((2, 700, 3))}, "3 columns, fewer than a box and a score"),
        (lambda: {"o": 9 * yolo(8)}, "no scores: they go from"),
        (lambda: {"a": np.zeros((2, 7, 3)), "b": np.zeros((2, 7))}, "has the shape .N, P, 4. of boxes"),
        (lambda: {"a": heads(), "b": np.zeros((2, 9, 3))}, "no other outputs that fit"),
        (lambda: {"bbox_regression": heads(), "cls_logits": scores(heads(), 3)}, "deltas to anchors"),
        (lambda: {"b": heads(), "x": np.zeros(heads().shape[:2]), "y": np.zeros(heads().shape[:2])}, "which of x, y"),
    ],
)
def test_outputs_of_no_convention(outputs: Callable[[], Outputs], why: str) -> None:
    """The reason says what was found."""
    layout = tell_layout(outputs(), SIZE, None)

    assert keys(layout) == {}
    assert layout.convention == ""
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(layout.why)
