from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from serving.conventions import BoxesClassScores
from tests.support.raw_answers import BOX, decoded_rows


@pytest.mark.parametrize("background", ["none", "first", "last"])
@pytest.mark.parametrize("activation", ["none", "sigmoid", "softmax"])
def test_scores_are_made_of_logits(activation: Any, background: Any) -> None:
    """By the formula of each; the background has its part in the softmax, and is no detection."""
    logits = np.array([0.3, 2.0, -1.0, 0.1, 0.2])
    known = logits[:-1] if background == "none" else logits  # four classes, with the background five columns
    probabilities = {
        "none": known / 10 + 0.41,
        "sigmoid": np.array([1 / (1 + math.exp(-x)) for x in known]),
        "softmax": np.array([math.exp(x) / sum(math.exp(y) for y in known) for x in known]),
    }[activation]
    classes = probabilities[1:] if background == "first" else probabilities[:4]
    output = BoxesClassScores(
        convention="boxes_class_scores", activation=activation, background=background, label_offset=1
    )
    answered = probabilities if activation == "none" else known

    answer = decoded_rows({"boxes": [[BOX]], "scores": [[answered]]}, output)

    expected = {label: classes[label - 1] for label in (1, 2, 4) if classes[label - 1] > 0.3}
    assert {label: round(score, 4) for label, score in expected.items()} == {c: round(s, 4) for c, s, _ in answer[0]}
