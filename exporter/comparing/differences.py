"""How far two lots of detections of the same images are apart. Pure: no TensorFlow, no server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.contract import Contract

_ASIDE = 1e-3
"""Nearer to a threshold than this, rounding decides whether a detection is there: see the design's invariants."""

_ANOTHER = 0.01
"""Further apart than this in a box edge or in the score, two detections of a class are not the same one."""


@dataclass(frozen=True)
class Found:
    """The K detections of an image: boxes (K, 4) normalised, scores (K,), label ids (K,)."""

    boxes: NDArray[Any]
    scores: NDArray[Any]
    classes: NDArray[Any]


@dataclass(frozen=True)
class Comparison:
    """What differed: the largest differences of normalised box edges and of scores, and images with other detections.

    `detections` counts those of the second lot.
    """

    images: int
    detections: int
    largest_box: float
    largest_score: float
    others: int

    def within(self, largest: float) -> bool:
        """Whether both lots are the same but for differences of at most `largest`."""
        return not self.others and max(self.largest_box, self.largest_score) <= largest


def rows(answer: Mapping[str, NDArray[Any]]) -> list[Found]:
    """The outputs of a `detect` signature, an image each."""
    names = ("detection_boxes", "detection_scores", "detection_classes")
    return [
        Found(*(answer[name][n, : int(count)] for name in names)) for n, count in enumerate(answer["num_detections"])
    ]


def compare(ones: Sequence[Found], others: Sequence[Found], contract: Contract) -> Comparison:
    """Hold two lots of the same images against each other, whatever the order of equal scores.

    Left aside are detections within 1e-3 of the score threshold, or of the last score where the limit cut them off.
    """
    differences = [_difference(one, other, contract) for one, other in zip(ones, others, strict=True)]
    return Comparison(
        images=len(differences),
        detections=sum(len(other.scores) for other in others),
        largest_box=max((box for box, _, _ in differences), default=0.0),
        largest_score=max((score for _, score, _ in differences), default=0.0),
        others=sum(alone for _, _, alone in differences),
    )


def _difference(one: Found, other: Found, contract: Contract) -> tuple[float, float, bool]:
    """Of one image: the largest difference of a box edge, of a score, and whether a detection has no counterpart."""
    full = [float(lot.scores.min()) for lot in (one, other) if len(lot.scores) >= contract.max_detections]
    cut = max([contract.score_threshold, *full]) + _ASIDE
    box = score = 0.0
    alone = False
    for lot, like in ((one, other), (other, one)):
        for number in np.flatnonzero(lot.scores > cut):
            same = like.classes == lot.classes[number]
            boxes = np.abs(like.boxes[same] - lot.boxes[number]).max(-1, initial=0.0)
            scores = np.abs(like.scores[same] - lot.scores[number])
            apart = np.maximum(boxes, scores)
            nearest = int(apart.argmin()) if len(apart) else -1
            if nearest < 0 or not apart[nearest] <= _ANOTHER:  # nor where one is not a number
                alone = True
                continue
            box, score = max(box, float(boxes[nearest])), max(score, float(scores[nearest]))
    return box, score, alone
