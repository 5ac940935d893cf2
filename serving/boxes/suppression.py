"""Non-maximum suppression (NMS) in NumPy, for a whole batch at once."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.boxes.detections import Detections


def suppress(
    boxes: NDArray[Any],
    scores: NDArray[Any],
    *,
    score_threshold: float | NDArray[np.float32],
    nms_iou: float,
    max_detections: int,
    nms: Literal["per_class", "agnostic", "none"] = "per_class",
    clip: Literal["before", "after"] = "before",
) -> list[Detections]:
    """Select the detections of each row by score thresholds and NMS.

    Args:
        boxes: float32 (N, P, 4), [ymin, xmin, ymax, xmax], normalised.
        scores: float32 (N, P, C), one column per class. A prior is left out if its box or one of its scores is not
            finite, or if ymax < ymin or xmax < xmin.
        score_threshold: a detection's score is above it (and above 0): one for all columns, or one for each (C,).
        nms_iou: if two boxes have a higher IoU, only the box with the higher score stays.
        max_detections: the most detections of a row, over all classes.
        nms: compare the boxes of each class, those of all classes (`agnostic`), or none.
        clip: clip boxes to [0, 1] before or after they are compared.

    Returns:
        N Detections, best first; `classes` are column numbers. For equal scores the lower prior comes first, then the
        lower class.
    """
    boxes, scores = boxes.astype(np.float32, copy=False), scores.astype(np.float32, copy=False)
    valid = np.isfinite(boxes).all(-1) & np.isfinite(scores).all(-1) & (boxes[..., 2:] >= boxes[..., :2]).all(-1)
    row, prior, column = np.nonzero(valid[..., None] & (scores > np.float32(score_threshold)) & (scores > 0))
    value = scores[row, prior, column]
    # Boxes are compared within a group: those of a row, or those of a class in a row.
    group = row * scores.shape[2] + column if nms == "per_class" else row
    order = np.lexsort((column, prior, -value, group))  # best first in each group, as NMS goes
    row, prior, column, value, group = row[order], prior[order], column[order], value[order], group[order]
    corners = boxes[row, prior]
    if clip == "before":
        corners = np.clip(corners, 0, 1)
    kept = np.arange(len(row)) if nms == "none" else _keep(corners, group, np.float32(nms_iou), max_detections)
    kept = kept[np.lexsort((column[kept], prior[kept], -value[kept], row[kept]))]
    corners = np.clip(corners, 0, 1)
    ends = np.searchsorted(row[kept], np.arange(len(scores) + 1))
    rows = [kept[ends[n] : ends[n + 1]][:max_detections] for n in range(len(scores))]
    return [
        Detections(corners[row_indices], value[row_indices], column[row_indices].astype(np.int64))
        for row_indices in rows
    ]


def _keep(
    corners: NDArray[np.float32], group: NDArray[np.int64], nms_iou: np.float32, max_iterations: int
) -> NDArray[np.int64]:
    """Return the indices of the boxes that greedy NMS keeps.

    `corners` (M, 4) are sorted by `group` (M,), best first. In each iteration the best box of every group is kept, and
    the boxes that overlap it are dropped. There are at most `max_iterations` iterations, and each passes once over the
    remaining boxes.
    """
    remaining = np.arange(len(group))
    kept: list[NDArray[np.int64]] = []
    while len(remaining) and len(kept) < max_iterations:
        groups = group[remaining]
        heads = np.flatnonzero(np.diff(groups, prepend=-1))
        kept.append(remaining[heads])
        counts = np.diff(heads, append=len(remaining))
        overlap = _iou(corners[np.repeat(remaining[heads], counts)], corners[remaining])
        stays = overlap <= nms_iou
        stays[heads] = False
        remaining = remaining[stays]
    return np.concatenate(kept) if kept else remaining


def _iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the IoU (M,) of each pair of boxes (M, 4); 0 if one of the two has no area."""
    area_a, area_b = ((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) for box in (a, b))
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    common = np.prod(np.maximum(sides, 0), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((area_a > 0) & (area_b > 0), common / (area_a + area_b - common), np.float32(0))
