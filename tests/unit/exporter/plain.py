"""Slow and plain answers to hold the real ones against, written from the documents and not from the code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Kept:
    """One detection: where it came from, and what it says."""

    prior: int
    class_column: int
    score: float
    box: tuple[float, float, float, float]


def ssd_box(row: NDArray[Any], *, legacy_cy_width: bool = False) -> list[float]:
    """(ymin, xmin, ymax, xmax) of one prior's raw SSD row [4 offsets | scores | prior | variances], in double."""
    offsets, prior, variance = row[:4].astype(float), row[-8:-4].astype(float), row[-4:].astype(float)
    prior_w, prior_h = prior[2] - prior[0], prior[3] - prior[1]
    prior_cx, prior_cy = (prior[0] + prior[2]) / 2, (prior[1] + prior[3]) / 2
    cx = offsets[0] * prior_w * variance[0] + prior_cx
    cy = offsets[1] * (prior_w if legacy_cy_width else prior_h) * variance[1] + prior_cy
    with np.errstate(over="ignore", invalid="ignore"):
        w, h = prior_w * np.exp(offsets[2] * variance[2]), prior_h * np.exp(offsets[3] * variance[3])
        return [cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2]


def iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Intersection over union of two boxes (ymin, xmin, ymax, xmax); 0 where one has no area."""
    area_a, area_b = [max(box[2] - box[0], np.float32(0)) * max(box[3] - box[1], np.float32(0)) for box in (a, b)]
    if area_a <= 0 or area_b <= 0:
        return 0.0
    height = max(min(a[2], b[2]) - max(a[0], b[0]), np.float32(0))
    width = max(min(a[3], b[3]) - max(a[1], b[1]), np.float32(0))
    return float(height * width / (area_a + area_b - height * width))


def suppress(boxes: NDArray[Any], scores: NDArray[Any], *, threshold: float, nms_iou: float, limit: int) -> list[Kept]:
    """Per-class NMS of one image: boxes (P, 4), scores (P, C). Class by class, then the best of all."""
    detections: list[Kept] = []
    finite = np.isfinite(boxes).all(-1) & np.isfinite(scores).all(-1)
    finite &= (boxes[:, 2] >= boxes[:, 0]) & (boxes[:, 3] >= boxes[:, 1])
    clipped = np.clip(np.where(finite[:, None], boxes, 0), 0, 1).astype(np.float32)
    for column in range(scores.shape[1]):
        candidates = [p for p in range(len(boxes)) if finite[p] and scores[p, column] > np.float32(threshold)]
        candidates.sort(key=lambda p: (-scores[p, column], p))
        kept: list[int] = []
        for prior in candidates:
            if all(iou(clipped[prior], clipped[other]) <= np.float32(nms_iou) for other in kept):
                kept.append(prior)
        detections += [Kept(p, column, float(scores[p, column]), tuple(clipped[p].tolist())) for p in kept]
    detections.sort(key=lambda kept: (-kept.score, kept.prior, kept.class_column))
    return detections[:limit]
