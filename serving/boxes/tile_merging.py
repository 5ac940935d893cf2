"""Merge the detections of an image's tiles: an object in several tiles is reported once, uncut if possible."""

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

# Chosen on composites of photos, see decision 15. "Shared IoU": the IoU of two boxes, both clipped to the area that
# both of their tiles show.
CUT_MARGIN: Final = 0.015  # fraction of a tile's side: a box that ends within it of an inner edge counts as cut
SAME: Final = 0.7  # above this shared IoU, a cut box and another box are the same object
PART: Final = 0.8  # and above this fraction of the smaller box inside the larger one
REPORTED: Final = 0.6  # above this shared IoU, both tiles report the same object
INSIDE: Final = 0.9  # a box lies inside another if at least this fraction of its area does
READING: Final = 0.2  # a box inside another is the same object if larger than this fraction of it, else one of a group
_MAX_STRIPS: Final = 256


@dataclass(frozen=True)
class Pairs:
    """M pairs of overlapping boxes.

    `first` and `second` int64 (M,): indices of the boxes, `first` is the lower one. `common` float32 (M,): the area of
    their intersection.
    """

    first: Indices
    second: Indices
    common: Floats

    def where(self, flags: NDArray[Any]) -> Pairs:
        """Return the pairs whose flag (M,) is set."""
        these = np.flatnonzero(flags)
        return Pairs(self.first[these], self.second[these], self.common[these])


def merge(
    tile_detections: Sequence[Detections],
    tiles: Sequence[Tile],
    height: int,
    width: int,
    *,
    nms_iou: float,
    among_classes: bool = False,
) -> Detections:
    """Merge the detections of an image's tiles; the whole image may be one of the tiles.

    Args:
        tile_detections: the detections of each tile. Boxes are [ymin, xmin, ymax, xmax], in [0, 1], normalised to the
            tile.
        tiles: the tiles, in pixels of the upright original.
        height: the height of the upright original, in pixels.
        width: the width of the upright original, in pixels.
        nms_iou: if two boxes of one class have a higher IoU, the box with the lower score is dropped.
        among_classes: compare boxes of different classes as if they were of one.

    Returns:
        Detections of the image, best first. Boxes are normalised to the upright original. For equal scores the
        detection of the earlier tile comes first.

    Only boxes of one class are compared, in three steps:

    1. Parts. A box that an inner edge of its tile cuts is a part of another box if two conditions hold: their IoU in
       the area that both tiles show is above SAME, and more than PART of the smaller box lies in the larger one. The
       uncut box stays, whatever the scores. If both are cut, the larger box stays. The IoU is needed because a product
       at an edge also lies inside the box of a whole shelf.
    2. NMS. If two boxes have an IoU above `nms_iou`, the box with the higher score stays. The same happens if one box
       lies inside another, has more than READING of its area, and the two tiles disagree: neither tile reports the box
       of the other tile, although it shows that place. The two boxes are then two detections of one object.
    3. Groups. A box is dropped if two or more boxes of any size lie inside it and disagree with it in that way: it
       covers a group of objects.

    If a detector reports every object that a tile shows, clipped to the tile, its tiles never disagree.
    """
    scores = np.concatenate([detections.scores for detections in tile_detections])
    classes = np.concatenate([detections.classes for detections in tile_detections])
    tile_of_box = np.repeat(np.arange(len(tiles)), [len(detections) for detections in tile_detections])
    sides, views, is_cut = _in_image(tile_detections, tile_of_box, tiles, height, width)
    areas = (sides[2] - sides[0]) * (sides[3] - sides[1])
    pairs = touching(sides, np.zeros_like(classes) if among_classes else classes)
    smaller = np.minimum(areas[pairs.first], areas[pairs.second])
    shared_iou = _shared_iou(pairs, sides, views, tile_of_box)

    stays = _without_parts(pairs.where((shared_iou > SAME) & (pairs.common > PART * smaller)), areas, is_cut)
    disagree = _disagree(pairs, smaller, shared_iou > REPORTED, tile_of_box, len(tiles))
    union = areas[pairs.first] + areas[pairs.second] - pairs.common
    larger = np.maximum(areas[pairs.first], areas[pairs.second])
    compete = pairs.where((pairs.common > nms_iou * union) | (disagree & (smaller > READING * larger)))
    stays = _keep(stays, -scores, compete)
    stays &= ~_groups(pairs.where(disagree), areas, stays)

    best_first = np.argsort(-scores, kind="stable")
    kept = best_first[stays[best_first]]
    return Detections(np.ascontiguousarray(sides[:, kept].T), scores[kept], classes[kept])


def _in_image(
    tile_detections: Sequence[Detections], tile_of_box: Indices, tiles: Sequence[Tile], height: int, width: int
) -> tuple[Floats, Floats, Flags]:
    """Return the sides of all boxes (4, n), the sides of all tiles (4, tiles), and which boxes are cut (n,).

    Sides are ymin, xmin, ymax, xmax, float32, normalised to the image. A box is cut if it ends at an inner edge of its
    tile, which is an edge that is not an edge of the image.
    """
    size = np.array((height, width) * 2, np.float64)[:, None]
    pixels = np.array([(tile.top, tile.left, tile.top + tile.height, tile.left + tile.width) for tile in tiles]).T
    views = pixels / size
    boxes = np.concatenate([detections.boxes for detections in tile_detections]).T.astype(np.float64)
    inner = np.array((pixels[:2] > 0, pixels[2:] < size[:2])).reshape(4, -1)
    near = np.concatenate([boxes[:2] <= CUT_MARGIN, boxes[2:] >= 1 - CUT_MARGIN])
    is_cut: Flags = (inner[:, tile_of_box] & near).any(axis=0)
    start, length = np.tile(views[:2], (2, 1)), np.tile(views[2:] - views[:2], (2, 1))
    return (start[:, tile_of_box] + boxes * length[:, tile_of_box]).astype(np.float32), views.astype(np.float32), is_cut


def touching(sides: Floats, classes: Indices) -> Pairs:
    """Find every pair of boxes of one class whose intersection has an area.

    `sides` float32 (4, n): ymin, xmin, ymax, xmax, normalised to the image. `classes` int64 (n,).

    The image is cut into horizontal strips about as high as a box. A sweep from left to right then finds the pairs of
    each class in each strip, so a box is only compared with boxes near it. 64 tiles with 100 boxes of one class have
    20 million pairs, and few of them overlap.
    """
    top, left, bottom, right = sides
    strips = int(np.clip(len(top) / max(float((bottom - top).sum()), 1e-9), 1, _MAX_STRIPS))
    first, last = (np.clip((side * strips).astype(np.int64), 0, strips - 1) for side in (top, bottom))
    box = np.repeat(np.arange(len(top)), last - first + 1)
    strip = first[box] + _count_up(last - first + 1)
    # Shift the x of each class and strip to a range of its own, so that one sweep handles all of them.
    shift = 2.0 * (np.unique(classes, return_inverse=True)[1][box] * strips + strip)
    start = left[box] + shift
    order = np.argsort(start, kind="stable")
    box, strip, shift, start = box[order], strip[order], shift[order], start[order]
    meets = np.maximum(np.searchsorted(start, right[box] + shift) - np.arange(1, len(box) + 1), 0)
    other = np.repeat(np.arange(1, len(box) + 1), meets) + _count_up(meets)

    top, left, bottom, right, first = top[box], left[box], bottom[box], right[box], first[box]
    tall = np.minimum(np.repeat(bottom, meets), bottom[other]) - np.maximum(np.repeat(top, meets), top[other])
    once = np.maximum(np.repeat(first, meets), first[other]) == np.repeat(strip, meets)  # in its first common strip
    wide = np.minimum(np.repeat(right, meets), right[other]) - left[other]
    meet = np.flatnonzero((tall > 0) & (wide > 0) & once)
    left_box, right_box = np.repeat(box, meets)[meet], box[other[meet]]
    return Pairs(np.minimum(left_box, right_box), np.maximum(left_box, right_box), tall[meet] * wide[meet])


def _count_up(counts: Indices) -> Indices:
    """Return 0, 1, ... count - 1 for each count, concatenated."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _shared_iou(pairs: Pairs, sides: Floats, views: Floats, tile_of_box: Indices) -> Floats:
    """Return the IoU (M,) of each pair in the area that both tiles show; that area holds the whole intersection."""
    first, second = pairs.first, pairs.second
    shown = _shown(sides, views, first, tile_of_box[second]) + _shown(sides, views, second, tile_of_box[first])
    return np.asarray(pairs.common / np.maximum(shown - pairs.common, np.float32(1e-12)))


def _shown(sides: Floats, views: Floats, box: Indices, tile: Indices) -> Floats:
    """Return the area (M,) of each box that lies in the given tile."""
    tall, wide = (
        np.minimum(sides[side + 2][box], views[side + 2][tile]) - np.maximum(sides[side][box], views[side][tile])
        for side in (0, 1)
    )
    return np.asarray(np.maximum(tall, 0) * np.maximum(wide, 0))


def _without_parts(pairs: Pairs, areas: Floats, is_cut: Flags) -> Flags:
    """Drop the parts among `pairs`: a cut box if the other is uncut, the smaller box if both are cut.

    Returns a flag (n,) for each box that stays.
    """
    cut_first, cut_second = is_cut[pairs.first], is_cut[pairs.second]
    stays = np.ones(len(areas), bool)
    stays[pairs.first[cut_first & ~cut_second]] = False
    stays[pairs.second[cut_second & ~cut_first]] = False
    return _keep(stays, -areas, pairs.where(cut_first & cut_second))


def _disagree(pairs: Pairs, smaller: Floats, same: Flags, tile_of_box: Indices, tile_count: int) -> Flags:
    """Return a flag (M,) for each pair in which one box lies inside the other and the two tiles disagree.

    The tiles disagree if neither tile reports the box of the other tile. `same` (M,) says which pairs are the same
    object; `tile_count` is the number of tiles.
    """
    first, second = pairs.first, pairs.second
    reported = np.zeros((len(tile_of_box), tile_count), bool)
    reported[np.arange(len(tile_of_box)), tile_of_box] = True
    reported[first[same], tile_of_box[second[same]]] = True
    reported[second[same], tile_of_box[first[same]]] = True
    inside = pairs.common >= INSIDE * smaller
    return np.asarray(inside & ~reported[first, tile_of_box[second]] & ~reported[second, tile_of_box[first]])


def _groups(pairs: Pairs, areas: Floats, stays: Flags) -> Flags:
    """Return a flag (n,) for each box that is the larger box of two or more of the `pairs` that stay."""
    pairs = pairs.where(stays[pairs.first] & stays[pairs.second])
    outer = np.where(areas[pairs.first] > areas[pairs.second], pairs.first, pairs.second)
    return np.bincount(outer, minlength=len(areas)) > 1


def _keep(stays: Flags, rank: NDArray[Any], pairs: Pairs) -> Flags:
    """Greedy NMS on pairs: the box with the lower `rank` stays, for equal ranks the box with the lower index.

    Each iteration keeps every undecided box that has no undecided better box in a pair, and drops the boxes that such a
    box beats. Few iterations decide all boxes. Returns a flag (n,) for each box that stays.
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
