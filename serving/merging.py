"""One answer out of those to a picture's tiles: what several tiles show is told once, whole where one saw it whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.detections import Detections
from serving.tiles import Tile

CUT_MARGIN: Final = 0.015  # of a tile's side: a box that ends so near to an inner edge is taken for one cut by it
SAME_VIEW: Final = 0.7  # boxes with such an IoU in what both tiles show are taken for one object

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

_MOST_STRIPS: Final = 256


def merge(found: Sequence[Detections], tiles: Sequence[Tile], height: int, width: int, *, nms_iou: float) -> Detections:
    """The detections of a picture from those of its tiles; the whole picture may be one of them.

    Args:
        found: what the model saw in each tile, boxes normalised to it.
        tiles: where the tiles lie, in pixels of the upright original.
        height: of the upright original, in pixels.
        width: likewise.
        nms_iou: of two boxes of a class with a higher intersection over union the one with the higher score stays.

    Boxes come back normalised to the upright original, best first. A box that an inner edge cut is a part of another of
    its class if, in what both their tiles show, they are alike: it is not enough that it lies in the other, or every
    product at an edge would vanish in the box of a whole shelf. Then the one that was not cut stays, whatever the
    scores, and of two cut ones the larger. All others compete on equal terms. Of equal scores the earlier tile's comes
    first.
    """
    boxes, views, is_cut = _in_picture(found, tiles, height, width)
    scores = np.concatenate([one.scores for one in found])
    classes = np.concatenate([one.classes for one in found])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    first, second, common = _touching(boxes, classes)

    stays = np.ones(len(scores), bool)
    parts = np.flatnonzero(is_cut[first] | is_cut[second])
    parts = parts[_same_in_both_views(boxes, views, first[parts], second[parts])]
    one, other = first[parts], second[parts]
    stays[one[is_cut[one] & ~is_cut[other]]] = False
    stays[other[is_cut[other] & ~is_cut[one]]] = False
    both = is_cut[one] & is_cut[other]
    stays = _keep(stays, -areas, one[both], other[both])
    alike = common > nms_iou * (areas[first] + areas[second] - common)
    stays = _keep(stays, -scores, first[alike], second[alike])

    best_first = np.argsort(-scores, kind="stable")
    kept = best_first[stays[best_first]]
    return Detections(boxes[kept], scores[kept], classes[kept])


def _in_picture(
    found: Sequence[Detections], tiles: Sequence[Tile], height: int, width: int
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """All boxes and what their tiles show, normalised to the picture, and whether an inner edge cut the box."""
    sizes = [len(one) for one in found]
    boxes = np.concatenate([one.boxes for one in found]).astype(np.float64)
    places = np.array([(one.top, one.left, one.height, one.width) for one in tiles], np.float64).repeat(sizes, axis=0)
    start, side = places[:, :2], places[:, 2:]
    picture = np.array((height, width), np.float64)
    at_start = (start > 0) & (boxes[:, :2] <= CUT_MARGIN)
    at_end = (start + side < picture) & (boxes[:, 2:] >= 1 - CUT_MARGIN)
    is_cut: NDArray[np.bool_] = np.any(at_start | at_end, axis=1)
    whole = np.concatenate([(start + boxes[:, half] * side) / picture for half in (slice(2), slice(2, 4))], axis=1)
    views = np.concatenate([start / picture, (start + side) / picture], axis=1)
    return whole.astype(np.float32), views.astype(np.float32), is_cut


def _same_in_both_views(boxes: Floats, views: Floats, first: Indices, second: Indices) -> NDArray[np.bool_]:
    """Of pairs that have an area in common, whether they are alike in what both tiles show."""
    low = np.maximum(views[first, :2], views[second, :2])
    high = np.minimum(views[first, 2:], views[second, 2:])
    tops = [np.maximum(boxes[one, :2], low) for one in (first, second)]
    ends = [np.minimum(boxes[one, 2:], high) for one in (first, second)]
    area_a, area_b = (np.prod(np.maximum(end - top, 0), axis=1) for top, end in zip(tops, ends, strict=True))
    common = np.prod(np.maximum(np.minimum(*ends) - np.maximum(*tops), 0), axis=1)
    return np.asarray(common > SAME_VIEW * (area_a + area_b - common))


def _touching(boxes: Floats, classes: NDArray[np.int64]) -> tuple[Indices, Indices, Floats]:
    """Every pair of boxes of one class with an area in common, the lower index first, and that area.

    The picture is cut into strips about as high as a box; in each the boxes of a class are swept from left to right. So
    a box is compared with those around it only: one class in 64 tiles of 100 boxes has 20 million pairs, few of which
    meet.
    """
    top, bottom = (np.clip(boxes[:, side].astype(np.float64), 0, 1) for side in (0, 2))
    strips = int(np.clip(len(boxes) / max(float((bottom - top).sum()), 1e-9), 1, _MOST_STRIPS))
    first, last = (np.minimum((side * strips).astype(np.int64), strips - 1) for side in (top, bottom))
    box = np.repeat(np.arange(len(boxes)), last - first + 1)
    strip = first[box] + _count_up(last - first + 1)
    # Each class in each strip has a stretch of the line to itself, so that one sweep is enough.
    shift = 2.0 * (np.unique(classes, return_inverse=True)[1][box] * strips + strip)
    start, end = boxes[box, 1] + shift, boxes[box, 3] + shift
    order = np.argsort(start, kind="stable")
    reach = np.searchsorted(start[order], end[order], side="left")
    meets = np.maximum(reach - np.arange(1, len(order) + 1), 0)
    one = np.repeat(np.arange(len(order)), meets)
    one, other = order[one], order[one + 1 + _count_up(meets)]
    once = strip[one] == np.maximum(first[box[one]], first[box[other]])  # not again in every strip that both are in
    one, other = box[one[once]], box[other[once]]
    sides = np.minimum(boxes[one, 2:], boxes[other, 2:]) - np.maximum(boxes[one, :2], boxes[other, :2])
    meet = (sides > 0).all(axis=1)
    return np.minimum(one, other)[meet], np.maximum(one, other)[meet], sides[meet].prod(axis=1)


def _count_up(counts: Indices) -> Indices:
    """0, 1, 2, ... below each count, one after the other."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _keep(stays: NDArray[np.bool_], rank: NDArray[Any], first: Indices, second: Indices) -> NDArray[np.bool_]:
    """Greedy suppression: of each pair that still stands the one with the lower rank stays, the lower index if equal.

    In each turn all those stay that no better one stands against; few turns settle everything.
    """
    swap = rank[second] < rank[first]
    better, worse = np.where(swap, second, first), np.where(swap, first, second)
    stays = stays.copy()
    settled = ~stays
    while True:
        open_pairs = ~settled[better] & ~settled[worse]
        better, worse = better[open_pairs], worse[open_pairs]
        if not len(better):
            return stays
        beaten = np.zeros(len(stays), bool)
        beaten[worse] = True
        settled |= ~beaten
        lost = worse[settled[better]]
        stays[lost] = False
        settled[lost] = True
