"""The pairs that suppression looks at: all that meet, and each once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.boxes.tile_merging import touching


@given(st.integers(0, 10**6), st.integers(0, 60), st.floats(0.001, 1), st.integers(1, 3))
def test_every_pair_that_meets_is_found_once(seed: int, boxes: int, size: float, classes: int) -> None:
    """Of one class, whatever their sizes, with edges that coincide and boxes that have no area."""
    rng = np.random.default_rng(seed)
    start = np.round(rng.uniform(0, 1, (2, boxes)), 2)
    sides = np.concatenate([start, np.minimum(1, start + np.round(rng.uniform(0, size, (2, boxes)), 2))])
    sides = sides.astype(np.float32)
    labels = rng.integers(0, classes, boxes)

    overlaps = touching(sides, labels)

    expected = {}
    for first in range(boxes):
        for second in range(first + 1, boxes):
            tall, wide = np.minimum(sides[2:, first], sides[2:, second]) - np.maximum(
                sides[:2, first], sides[:2, second]
            )
            if labels[first] == labels[second] and tall > 0 and wide > 0:
                expected[first, second] = tall * wide
    pairs = list(zip(overlaps.first.tolist(), overlaps.second.tolist(), strict=True))
    assert sorted(expected) == sorted(pairs)
    assert [expected[pair] for pair in pairs] == overlaps.common.tolist()
