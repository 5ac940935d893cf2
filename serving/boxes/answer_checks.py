"""Checks of a model's answer: scores are probabilities, counts are possible, boxes begin before they end.

Values that are not finite fail no row: the detections that have them are left out, and counted.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.errors import RowsRejectedError

PADDING_SCORE: Final = -1.0
"""The score with which some models (keras-retinanet) fill up their output: no detection, and no fault."""

_SCORE_SLACK: Final = 1e-3
"""How far a score may be outside 0..1. A float32 sigmoid may exceed 1 by rounding; a logit is much further outside."""


_SIDE_SLACK: Final = 1e-5
"""By how much of the input a box may end before it begins: float32 rounding of a box without area."""


def check_probabilities(scores: NDArray[Any]) -> None:
    """Raise RowsRejectedError if a score is not in 0..1. NaN passes: it is to be left out before or after."""
    if ((scores < -_SCORE_SLACK) | (scores > 1 + _SCORE_SLACK)).any():
        raise RowsRejectedError(
            "A detection's score is not within 0..1: the model must answer probabilities, not logits."
        )


def check_counts(counts: NDArray[Any], max_detections: int) -> None:
    """Raise RowsRejectedError if a value of `num_detections` is not a number in 0..`max_detections`."""
    if not (np.isfinite(counts).all() and (counts >= 0).all() and (counts <= max_detections).all()):
        raise RowsRejectedError(
            f"num_detections is not within 0..{max_detections}: the answer has no more boxes, or the contract allows "
            "no more."
        )


def check_sides(boxes: NDArray[Any]) -> None:
    """Raise RowsRejectedError if a box of (K, 4) ends before it begins. A box may be without area."""
    if (boxes[:, :2] - boxes[:, 2:] > _SIDE_SLACK).any():
        raise RowsRejectedError(
            "A detection's box ends before it begins: the model must answer [ymin, xmin, ymax, xmax], with ymin <= "
            "ymax and xmin <= xmax."
        )


def surely_probabilities(scores: NDArray[Any]) -> bool:
    """Return whether all scores are finite and in 0..1, by two fast passes: almost every answer needs no more."""
    return not scores.size or bool(scores.min() >= 0 and scores.max() <= 1)  # NaN makes both comparisons false
