"""Raw answers of small detectors, one for each convention, and what decoding finds in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.boxes.decode import decode
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
from serving.description import Description

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
FAR = [0.6, 0.6, 0.9, 0.9]
SCORES = [[0.1, 0.6, 0.5, 0.1], [0.4, 0.1, 0.7, 0.1]]  # two boxes of four classes; the contract has not the third
CONVENTIONS = [
    "ssd_raw",
    "yolo_raw",
    "yolo_v8",
    "end_to_end",
    "boxes_scores_labels",
    "boxes_class_scores",
    "tf_object_detection",
]


def described(output: Output) -> Description:
    """A model that answers so."""
    return Description(contract=CONTRACT, output=output)


def decoded_rows(outputs: dict[str, Any], output: Output) -> list[list[tuple[int, float, list[float]]]]:
    """Class id, score and box of each detection of each row."""
    answer = decode({name: np.array(value, np.float32) for name, value in outputs.items()}, described(output))
    return [
        [
            (int(c), round(float(s), 5), np.round(b.astype(float), 5).tolist())
            for c, s, b in zip(row.classes, row.scores, row.boxes, strict=True)
        ]
        for row in answer
    ]


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
    fields: dict[str, Any] = {"tensor": "x", "box_order": "yxyx", "label_offset": 1, **best}
    if convention == "yolo_v8":
        return {"x": np.concatenate([boxes, scores], -1).swapaxes(1, 2)}, YoloV8(convention="yolo_v8", **fields)
    with_objectness = np.concatenate([boxes, np.ones((1, 2, 1)), scores], -1)
    return {"x": with_objectness}, YoloRaw(convention="yolo_v5", **fields)


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
    fields: dict[str, Any] = {"tensor": "x", "box_order": "yxyx", "label_offset": 1}
    output: Output
    if convention == "ssd_raw":
        output = SsdRaw(convention="ssd_raw", tensor="x")
        priors = boxes[..., [1, 0, 3, 2]]
        parts = [np.zeros((2, 2, 5)), scores[..., None], np.zeros((2, 2, 3)), priors, np.full((2, 2, 4), 0.1)]
    elif convention == "yolo_raw":
        output = YoloRaw(convention="yolo_raw", **fields)
        parts.insert(1, np.ones((2, 2, 1)))
    elif convention == "yolo_v8":
        output = YoloV8(convention="yolo_v8", boxes_axis=1, **fields)
    elif convention == "end_to_end":
        output = EndToEnd(convention="end_to_end", **fields | {"label_offset": 0})
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
