"""Compare a converted model with the file that it was converted from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exporter.errors import ExportError
from serving.boxes.candidates import Candidates, candidates
from serving.description import Description
from serving.errors import RowsRejectedError

Outputs = Mapping[str, NDArray[Any]]

TOLERANCE: Final = 1e-3
"""How far a score, or a box edge as a share of the input, may differ."""

_BEST: Final = 100
"""How many boxes of an image are compared, those with the best scores."""


def require_agreement(original: Iterable[Outputs], converted: Iterable[Outputs], description: Description) -> None:
    """Raise ExportError if two models find other boxes in the same images.

    `original` and `converted` are raw outputs of batches, which may have other sizes. The best boxes of either must be
    among those of the other, since a model that selects its boxes may list equal ones in another order.
    """
    largest = 0.0
    try:
        decoded = [candidates(_whole(answers), description) for answers in (original, converted)]
    except RowsRejectedError as error:
        raise ExportError(f"The model is not what its description says: {error}") from error
    for row in range(len(decoded[0].boxes)):
        left, right = ((answer.boxes[row], _scores(answer)[row]) for answer in decoded)
        largest = max(largest, _distance(left, right), _distance(right, left))
    if largest > TOLERANCE:
        raise ExportError(
            f"The converted model is not the ONNX file: boxes or scores of sample images differ by {largest:.2g}. If "
            "the program that trained the model writes SavedModels, export it as one."
        )


def _whole(answers: Iterable[Outputs]) -> dict[str, NDArray[Any]]:
    """Return the outputs of all batches as those of one."""
    listed = list(answers)
    return {name: np.concatenate([outputs[name] for outputs in listed]) for name in listed[0]}


def _scores(answer: Candidates) -> NDArray[np.float32]:
    """Return the scores (N, P, S) of an answer before the best class is chosen, which rounding may change."""
    scores: NDArray[np.float32] = answer.answered if answer.labels is None else answer.scores
    return scores


def _distance(answer: tuple[Any, Any], other: tuple[Any, Any]) -> float:
    """Return how far the best boxes of an answer are from the nearest boxes of another, infinite if one has no like.

    Each answer is boxes (P, 4) and scores (P, C). The distance is the largest difference of box edges and of scores.
    """
    boxes, scores = answer
    finite = np.isfinite(boxes).all(-1) & np.isfinite(scores).all(-1)
    boxes, scores = boxes[finite], scores[finite]
    if not len(boxes):
        return 0.0
    best = np.argsort(-scores.max(-1), kind="stable")[:_BEST]
    classes = scores[best].argmax(-1)
    edges = np.abs(boxes[best][:, None] - other[0]).max(-1)
    of_scores = np.abs(scores[best, classes][:, None] - other[1][:, classes].T)
    distances = np.nan_to_num(np.maximum(edges, of_scores), nan=np.inf)
    of_all_scores = np.abs(scores[best] - other[1][distances.argmin(-1)]).max(-1)
    return float(np.nan_to_num(np.maximum(distances.min(-1), of_all_scores), nan=np.inf).max())
