"""Which of many boxes meet: the pairs that suppression looks at, without looking at all pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

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
