from __future__ import annotations

import numpy as np
import pytest

from exporter.comparing.differences import Comparison, compare
from serving.boxes.detections import Detections
from serving.contract import Contract, Label

CONTRACT = Contract(
    name="shop",
    input_height=32,
    input_width=32,
    score_threshold=0.3,
    nms_iou=0.5,
    max_detections=3,
    labels=(Label(id=1, name="tea"), Label(id=2, name="rice")),
    weights_sha256="0" * 64,
)
BOX = (0.1, 0.1, 0.4, 0.5)
OTHER_BOX = (0.5, 0.5, 0.9, 0.9)


def detections_of(*detections: tuple[tuple[float, ...], float, int]) -> Detections:
    """Detections of one image: box, score, label id."""
    boxes, scores, classes = ([detection[place] for detection in detections] for place in range(3))
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(classes, np.int64)
    )


def test_the_order_of_near_equal_scores_does_not_matter() -> None:
    """Rounding swaps them; each is held against its own counterpart."""
    first = detections_of((BOX, 0.80002, 1), (OTHER_BOX, 0.8, 2))
    second = detections_of((OTHER_BOX, 0.80002, 2), (BOX, 0.8, 1))

    result = compare([first], [second], CONTRACT)

    assert result.largest_score == pytest.approx(2e-5, rel=0.01)
    assert (result.images, result.detections, result.largest_box, result.others) == (1, 2, 0.0, 0)
    assert result.within(1e-4)


@pytest.mark.parametrize(
    "other",
    [
        detections_of((BOX, 0.8, 2)),  # another label
        detections_of((OTHER_BOX, 0.8, 1)),  # elsewhere
        detections_of((BOX, 0.7, 1)),  # another score
        detections_of(),  # missing
        detections_of((BOX, 0.8, 1), (OTHER_BOX, 0.5, 1)),  # one too many
        detections_of(((float("nan"), 0.1, 0.4, 0.5), 0.8, 1)),
    ],
)
def test_a_detection_without_its_like_is_counted(other: Detections) -> None:
    """In either direction, once an image."""
    reference = detections_of((BOX, 0.8, 1))

    for pair in ((reference, other), (other, reference)):
        result = compare([pair[0], reference], [pair[1], reference], CONTRACT)
        assert (result.images, result.others) == (2, 1)
        assert not result.within(1.0)


def test_small_differences_are_measured() -> None:
    """The largest of a box edge and of a score."""
    moved = detections_of((BOX, 0.8, 1)), detections_of(((0.1, 0.1005, 0.4, 0.5), 0.799, 1))

    result = compare([moved[0]], [moved[1]], CONTRACT)

    assert (result.largest_box, result.largest_score) == pytest.approx((5e-4, 1e-3), rel=0.01)
    assert (result.within(2e-3), result.within(6e-4)) == (True, False)


def test_what_a_threshold_cuts_off_is_left_aside() -> None:
    """Near the score threshold, and near the last score where the limit is reached, rounding decides."""
    nearly = detections_of((BOX, 0.8, 1)), detections_of((BOX, 0.8, 1), (OTHER_BOX, 0.3005, 1))
    full = (
        detections_of((BOX, 0.8, 1), (BOX, 0.7, 2), (OTHER_BOX, 0.6002, 1)),
        detections_of((BOX, 0.8, 1), (BOX, 0.7, 2), (OTHER_BOX, 0.6003, 2)),
    )

    assert compare([nearly[0]], [nearly[1]], CONTRACT).others == 0
    assert compare([full[0]], [full[1]], CONTRACT).others == 0


def test_nothing_against_nothing_is_the_same() -> None:
    """An image in which neither finds anything."""
    assert compare([detections_of()], [detections_of()], CONTRACT) == Comparison(1, 0, 0.0, 0.0, 0)


def test_the_threshold_of_its_label_decides_what_is_compared() -> None:
    """Rounding decides whether a detection just above it is reported, whatever the others' threshold."""
    contract = CONTRACT.model_copy(update={"thresholds": {"rice": 0.6}})
    other = detections_of((BOX, 0.8, 1))

    assert compare([detections_of((BOX, 0.8, 1), (OTHER_BOX, 0.6005, 2))], [other], contract).others == 0
    assert compare([detections_of((BOX, 0.8, 1), (OTHER_BOX, 0.6005, 1))], [other], contract).others == 1
