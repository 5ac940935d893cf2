from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from serving.boxes.detections import Detections
from serving.boxes.suppression import suppress
from tests.unit.exporter import plain

Batch = tuple[NDArray[Any], NDArray[Any]]


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Boxes that often overlap or reach over the edge, scores of which many are equal, some values not finite."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, priors, classes = draw(st.integers(1, 3)), draw(st.integers(1, 40)), draw(st.integers(1, 4))
    corner = rng.uniform(-0.2, 0.9, (rows, priors, 2)).round(1)
    boxes = np.concatenate([corner, corner + rng.uniform(-0.1, 0.6, (rows, priors, 2)).round(1)], -1)
    scores = rng.uniform(0, 1, (rows, priors, classes)).round(1)
    for array in (boxes, scores):
        where = rng.uniform(size=array.shape) < draw(st.sampled_from([0, 0.03]))
        array[where] = rng.choice([np.nan, np.inf, -np.inf], where.sum())
    return boxes.astype(np.float32), scores.astype(np.float32)


def keep(batch: Batch, *, limit: int = 20) -> list[Detections]:
    """The real one, with the thresholds of these tests."""
    return suppress(*batch, score_threshold=0.3, nms_iou=0.5, max_detections=limit)


@given(batch=batches(), limit=st.sampled_from([1, 5, 20]))
@settings(max_examples=200, deadline=None)
def test_it_keeps_what_plain_nms_keeps(batch: Batch, limit: int) -> None:
    """Order, ties, limits and values that are not finite included, for every image of the batch."""
    for kept, boxes, scores in zip(keep(batch, limit=limit), *batch, strict=True):
        expected = plain.suppress(boxes, scores, threshold=0.3, nms_iou=0.5, limit=limit)
        assert [detection.class_column for detection in expected] == kept.classes.tolist()
        assert [detection.score for detection in expected] == kept.scores.tolist()
        assert [list(detection.box) for detection in expected] == kept.boxes.tolist()


@given(batch=batches())
@settings(max_examples=100, deadline=None)
def test_no_kept_pair_of_a_class_overlaps_too_much(batch: Batch) -> None:
    """And what is kept once is kept whole when it is suppressed again."""
    for kept in keep(batch):
        for first in range(len(kept)):
            for second in range(first):
                if kept.classes[first] == kept.classes[second]:
                    assert plain.iou(kept.boxes[first], kept.boxes[second]) <= 0.5
        spread = np.zeros((1, len(kept), 4), np.float32)
        spread[0, np.arange(len(kept)), kept.classes] = kept.scores
        again = keep((kept.boxes[None], spread))[0]
        np.testing.assert_array_equal(kept.scores, again.scores)
        np.testing.assert_array_equal(kept.boxes, again.boxes)


@pytest.mark.parametrize(("rows", "priors"), [(0, 3), (2, 0), (2, 3)])
def test_nothing_to_keep(rows: int, priors: int) -> None:
    """An empty answer for each row, of the right shapes and types."""
    kept = keep((np.zeros((rows, priors, 4), np.float32), np.zeros((rows, priors, 2), np.float32)))

    assert [0] * rows == [len(row) for row in kept]
    assert all(row.boxes.shape == (0, 4) and row.boxes.dtype == np.float32 for row in kept)
    assert all(row.classes.dtype == np.int64 for row in kept)
