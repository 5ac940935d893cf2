from __future__ import annotations

import numpy as np
import pytest

from serving.boxes.decode import decode
from serving.conventions import BoxesScoresLabels
from serving.description import Description
from tests.support.raw_answers import CONTRACT, class_scores

OVERLAPPING = [[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.45], [-0.5, -0.5, 0.2, 0.2], [-0.9, -0.1, 0.2, 0.2]]


def test_a_label_has_its_own_threshold() -> None:
    """Above or below the contract's."""
    contract = CONTRACT.model_copy(update={"thresholds": {"tea": 0.45, "salt": 0.05}})
    outputs, output = class_scores("boxes_class_scores", best_class_only=False)

    (row,) = decode(outputs, Description(contract=contract, output=output))

    assert row.classes.tolist() == [2, 4, 4]


@pytest.mark.parametrize(
    ("nms", "clip", "kept"),
    [
        ("per_class", "before", [0, 1, 2]),  # clipped, the last two are one box of one class
        ("per_class", "after", [0, 1, 2, 3]),
        ("agnostic", "before", [0, 2]),
        ("agnostic", "after", [0, 2, 3]),
        ("none", "before", [0, 1, 2, 3]),
        ("none", "after", [0, 1, 2, 3]),
    ],
)
def test_overlaps_are_suppressed_as_the_contract_says(nms: str, clip: str, kept: list[int]) -> None:
    """Two classes in one place, and two boxes of one class that are alike within the input."""
    contract = CONTRACT.model_copy(update={"nms": nms, "clip": clip})
    outputs = {
        "boxes": np.array([OVERLAPPING], np.float32),
        "scores": np.array([[0.9, 0.8, 0.7, 0.6]], np.float32),
        "labels": np.array([[1, 2, 1, 1]], np.float32),
    }

    (row,) = decode(outputs, Description(contract=contract, output=BoxesScoresLabels(convention="boxes_scores_labels")))

    np.testing.assert_allclose(row.scores, [0.9 - 0.1 * number for number in kept], rtol=1e-6)
    np.testing.assert_allclose(row.boxes, np.clip(np.array(OVERLAPPING)[kept], 0, 1), rtol=1e-6)
