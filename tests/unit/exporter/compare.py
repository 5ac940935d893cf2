"""Compares detections as the design's invariants allow for float32, whose sums differ from machine to machine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.boxes.detections import Detections


def rows(answer: dict[str, NDArray[Any]]) -> list[Detections]:
    """What `detect` answers, a row of the batch each."""
    boxes, scores, classes = (answer[f"detection_{name}"] for name in ("boxes", "scores", "classes"))
    return [
        Detections(boxes[n, :count], scores[n, :count], classes[n, :count])
        for n, count in enumerate(answer["num_detections"])
    ]


def assert_same(ones: list[Detections], others: list[Detections], *, threshold: float, atol: float = 1e-4) -> None:
    """Each detection of either has its like in the other: the same class, score and box edges within `atol`.

    Left aside are those within 1e-3 of the score threshold, or of the last score where the limit cut them off.
    """
    assert len(ones) == len(others)
    for first, second in zip(ones, others, strict=True):
        cut = max([threshold, *(float(some.scores.min()) for some in (first, second) if len(some) >= 100)])
        assert abs(int((first.scores > cut + 1e-3).sum()) - int((second.scores > cut + 1e-3).sum())) <= 1
        for some, like in ((first, second), (second, first)):
            for box, score, label in zip(some.boxes, some.scores, some.classes, strict=True):
                near = np.abs(like.scores - score) <= atol
                near &= (np.abs(like.boxes - box) <= atol).all(-1) & (like.classes == label)
                assert near.any() or score <= cut + 1e-3, (label, score, box)
