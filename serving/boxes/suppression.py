"""Per-class non-maximum suppression in NumPy, for a whole batch at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.boxes.detections import Detections


def suppress(
    boxes: NDArray[Any], scores: NDArray[Any], *, score_threshold: float, nms_iou: float, max_detections: int
) -> list[Detections]:
    """The best `max_detections` of each row, best first, whose `classes` are column numbers.

    Args:
        boxes: float32 (N, P, 4), (ymin, xmin, ymax, xmax) normalised; clipped to [0, 1] before they are compared.
        scores: float32 (N, P, C), a column a class. A prior with a box or a score that is not finite, or with an edge
            beyond its opposite one, is left out.
        score_threshold: what a score must be above.
        nms_iou: of two boxes of one class with a higher intersection over union the better stays.
        max_detections: the limit of a row, all classes together.

    Of equal scores the lower prior comes first, then the lower class.
    """
    boxes, scores = boxes.astype(np.float32, copy=False), scores.astype(np.float32, copy=False)
    valid = np.isfinite(boxes).all(-1) & np.isfinite(scores).all(-1) & (boxes[..., 2:] >= boxes[..., :2]).all(-1)
    row, prior, column = np.nonzero(valid[..., None] & (scores > np.float32(score_threshold)) & (scores > 0))
    value = scores[row, prior, column]
    # Row after row, class after class, the best first: each group's candidates in the order in which they are tried.
    order = np.lexsort((prior, -value, column, row))
    row, prior, column, value = row[order], prior[order], column[order], value[order]
    corners = np.clip(boxes[row, prior], 0, 1)
    kept = _keep(corners, row * scores.shape[2] + column, np.float32(nms_iou), max_detections)
    kept = kept[np.lexsort((column[kept], prior[kept], -value[kept], row[kept]))]
    ends = np.searchsorted(row[kept], np.arange(len(scores) + 1))
    found = [kept[ends[n] : ends[n + 1]][:max_detections] for n in range(len(scores))]
    return [Detections(corners[one], value[one], column[one].astype(np.int64)) for one in found]


def _keep(corners: NDArray[np.float32], group: NDArray[np.int64], nms_iou: np.float32, most: int) -> NDArray[np.int64]:
    """The indices that greedy suppression keeps; in each turn, every group's best is kept and strikes out its own.

    No group needs more turns than detections are wanted, so the turns are few and each is one pass over what is left.
    """
    left = np.arange(len(group))
    kept: list[NDArray[np.int64]] = []
    while len(left) and len(kept) < most:
        groups = group[left]
        heads = np.flatnonzero(np.diff(groups, prepend=-1))
        kept.append(left[heads])
        counts = np.diff(heads, append=len(left))
        overlap = _iou(corners[np.repeat(left[heads], counts)], corners[left])
        stays = overlap <= nms_iou
        stays[heads] = False
        left = left[stays]
    return np.concatenate(kept) if kept else left


def _iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of each pair (M, 4); 0 where one has no area."""
    area_a, area_b = ((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) for box in (a, b))
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    common = np.prod(np.maximum(sides, 0), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((area_a > 0) & (area_b > 0), common / (area_a + area_b - common), np.float32(0))
