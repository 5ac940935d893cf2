"""One answer out of those to a picture's tiles: what several tiles show is told once, whole where one saw it whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.boxes.detections import Detections
from serving.boxes.tiles import Tile

Floats = NDArray[np.float32]

Flags = NDArray[np.bool_]

Indices = NDArray[np.int64]

_MOST_STRIPS: Final = 256


@dataclass(frozen=True)
class Pairs:
    """Pairs of boxes with an area in `common`, float32 (m,); `first`, the lower index, and `second`, int64 (m,)."""

    first: Indices
    second: Indices
    common: Floats

    def where(self, flags: NDArray[Any]) -> Pairs:
        """Those of them for which a flag (m,) is set."""
        these = np.flatnonzero(flags)
        return Pairs(self.first[these], self.second[these], self.common[these])


def touching(sides: Floats, classes: Indices) -> Pairs:
    """Every pair of boxes of one class with an area in common.

    `sides` (4, n): ymin, xmin, ymax, xmax, normalised to the picture. It is cut into strips about as high as a box; in
    each the boxes of a class are swept from left to right. So a box is compared with those around it only: one class in
    64 tiles of 100 boxes has 20 million pairs, few of which meet.
    """
    top, left, bottom, right = sides
    strips = int(np.clip(len(top) / max(float((bottom - top).sum()), 1e-9), 1, _MOST_STRIPS))
    first, last = (np.clip((side * strips).astype(np.int64), 0, strips - 1) for side in (top, bottom))
    box = np.repeat(np.arange(len(top)), last - first + 1)
    strip = first[box] + _count_up(last - first + 1)
    # Each class in each strip has a stretch of the line to itself, so that one sweep is enough.
    shift = 2.0 * (np.unique(classes, return_inverse=True)[1][box] * strips + strip)
    start = left[box] + shift
    order = np.argsort(start, kind="stable")
    box, strip, shift, start = box[order], strip[order], shift[order], start[order]
    meets = np.maximum(np.searchsorted(start, right[box] + shift) - np.arange(1, len(box) + 1), 0)
    other = np.repeat(np.arange(1, len(box) + 1), meets) + _count_up(meets)

    top, left, bottom, right, first = top[box], left[box], bottom[box], right[box], first[box]
    tall = np.minimum(np.repeat(bottom, meets), bottom[other]) - np.maximum(np.repeat(top, meets), top[other])
    once = np.maximum(np.repeat(first, meets), first[other]) == np.repeat(strip, meets)  # of all strips both are in
    wide = np.minimum(np.repeat(right, meets), right[other]) - left[other]
    meet = np.flatnonzero((tall > 0) & (wide > 0) & once)
    one, other = np.repeat(box, meets)[meet], box[other[meet]]
    return Pairs(np.minimum(one, other), np.maximum(one, other), tall[meet] * wide[meet])


def _count_up(counts: Indices) -> Indices:
    """0, 1, 2, ... below each count, one after the other."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


# Chosen on composites of photos, see decision 15.
CUT_MARGIN: Final = 0.015  # of a tile's side: a box that ends so near to an inner edge is taken for one cut by it
SAME: Final = 0.7  # with such an IoU in what both tiles show, two boxes are taken for one thing, where one was cut
PART: Final = 0.8  # of the smaller of these that lies in the other
TOLD: Final = 0.6  # with such an IoU in what both tiles show, one tile tells what the other does
INSIDE: Final = 0.9  # a box with so much of it in another lies in it
READING: Final = 0.2  # of another's area: a box in it that is larger is taken for the same thing, else for one of many


def merge(found: Sequence[Detections], tiles: Sequence[Tile], height: int, width: int, *, nms_iou: float) -> Detections:
    """The detections of a picture from those of its tiles; the whole picture may be one of them.

    Args:
        found: what the model saw in each tile, boxes normalised to it, in [0, 1].
        tiles: where the tiles lie, in pixels of the upright original.
        height: of the upright original, in pixels.
        width: likewise.
        nms_iou: of two boxes of a class with a higher intersection over union the one with the higher score stays.

    Boxes come back normalised to the upright original, best first. Only boxes of one class bear on each other:

    1. A box that an inner edge cut is a part of another if, in what both their tiles show, they are alike, and the
       smaller lies in the other for the most part. The one that was not cut stays, whatever the scores; of two cut ones
       the larger. It is not enough that a cut box lies in another, or every product at an edge would vanish in the box
       of a whole shelf.
    2. The others compete on equal terms: of two that overlap by more than `nms_iou` the one with the higher score
       stays. So it is of two of which one lies in the other and is not much smaller, where each one's tile shows that
       place and does not tell the other's: they are two readings of one thing.
    3. A box with two or more in it that disagree with it in that way, whatever their sizes, is one of a group: it goes.

    A detector that tells everything a tile shows, clipped to it, disagrees with itself nowhere: its boxes come back as
    they are. Of equal scores the earlier tile's comes first.
    """
    scores = np.concatenate([one.scores for one in found])
    classes = np.concatenate([one.classes for one in found])
    tile = np.repeat(np.arange(len(found)), [len(one) for one in found])
    sides, views, is_cut = _in_picture(found, tile, tiles, height, width)
    areas = (sides[2] - sides[0]) * (sides[3] - sides[1])
    pairs = touching(sides, classes)
    smaller = np.minimum(areas[pairs.first], areas[pairs.second])
    alike = _alike(pairs, sides, views, tile)

    stays = _without_parts(pairs.where((alike > SAME) & (pairs.common > PART * smaller)), areas, is_cut)
    disagree = _disagree(pairs, smaller, alike > TOLD, tile, len(tiles))
    union = areas[pairs.first] + areas[pairs.second] - pairs.common
    larger = np.maximum(areas[pairs.first], areas[pairs.second])
    compete = pairs.where((pairs.common > nms_iou * union) | (disagree & (smaller > READING * larger)))
    stays = _keep(stays, -scores, compete)
    stays &= ~_groups(pairs.where(disagree), areas, stays)

    best_first = np.argsort(-scores, kind="stable")
    kept = best_first[stays[best_first]]
    return Detections(np.ascontiguousarray(sides[:, kept].T), scores[kept], classes[kept])


def _in_picture(
    found: Sequence[Detections], tile: Indices, tiles: Sequence[Tile], height: int, width: int
) -> tuple[Floats, Floats, Flags]:
    """Sides of all boxes (4, n), of what each tile shows (4, tiles), both of the picture; which boxes an edge cut."""
    picture = np.array((height, width) * 2, np.float64)
    places = np.array([(one.top, one.left, one.top + one.height, one.left + one.width) for one in tiles]).T
    views = places / picture[:, None]
    boxes = np.concatenate([one.boxes for one in found]).T.astype(np.float64)
    inner = np.array((places[:2] > 0, places[2:] < picture[:2, None])).reshape(4, -1)
    near = np.concatenate([boxes[:2] <= CUT_MARGIN, boxes[2:] >= 1 - CUT_MARGIN])
    is_cut: Flags = (inner[:, tile] & near).any(axis=0)
    start, side = np.tile(views[:2], (2, 1)), np.tile(views[2:] - views[:2], (2, 1))
    return (start[:, tile] + boxes * side[:, tile]).astype(np.float32), views.astype(np.float32), is_cut


def _alike(pairs: Pairs, sides: Floats, views: Floats, tile: Indices) -> Floats:
    """The IoU of each pair in what both tiles show. All that a pair has in common is shown by both."""
    first, second = pairs.first, pairs.second
    shown = _shown(sides, views, first, tile[second]) + _shown(sides, views, second, tile[first])
    return np.asarray(pairs.common / np.maximum(shown - pairs.common, np.float32(1e-12)))


def _shown(sides: Floats, views: Floats, box: Indices, tile: Indices) -> Floats:
    """Of each box, the area that a tile shows."""
    tall, wide = (
        np.minimum(sides[side + 2][box], views[side + 2][tile]) - np.maximum(sides[side][box], views[side][tile])
        for side in (0, 1)
    )
    return np.asarray(np.maximum(tall, 0) * np.maximum(wide, 0))


def _without_parts(pairs: Pairs, areas: Floats, is_cut: Flags) -> Flags:
    """What stays when every cut box that is a part of another, of those `pairs`, gives way to it."""
    cut_first, cut_second = is_cut[pairs.first], is_cut[pairs.second]
    stays = np.ones(len(areas), bool)
    stays[pairs.first[cut_first & ~cut_second]] = False
    stays[pairs.second[cut_second & ~cut_first]] = False
    return _keep(stays, -areas, pairs.where(cut_first & cut_second))


def _disagree(pairs: Pairs, smaller: Floats, same: Flags, tile: Indices, tiles: int) -> Flags:
    """Of which pairs one lies in the other, and neither one's tile tells what the other's does."""
    first, second = pairs.first, pairs.second
    told = np.zeros((len(tile), tiles), bool)
    told[np.arange(len(tile)), tile] = True
    told[first[same], tile[second[same]]] = True
    told[second[same], tile[first[same]]] = True
    inside = pairs.common >= INSIDE * smaller
    return np.asarray(inside & ~told[first, tile[second]] & ~told[second, tile[first]])


def _groups(pairs: Pairs, areas: Floats, stays: Flags) -> Flags:
    """Which boxes have two or more in them, of those `pairs` that stay."""
    pairs = pairs.where(stays[pairs.first] & stays[pairs.second])
    outer = np.where(areas[pairs.first] > areas[pairs.second], pairs.first, pairs.second)
    return np.bincount(outer, minlength=len(areas)) > 1


def _keep(stays: Flags, rank: NDArray[Any], pairs: Pairs) -> Flags:
    """Greedy suppression: of each pair that still stands the one with the lower rank stays, the lower index if equal.

    In each turn all those stay that no better one stands against; few turns settle everything.
    """
    swap = rank[pairs.second] < rank[pairs.first]
    better, worse = np.where(swap, pairs.second, pairs.first), np.where(swap, pairs.first, pairs.second)
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
