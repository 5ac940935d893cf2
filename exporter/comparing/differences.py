"""Compute the differences between two sets of detections of the same images; pure, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.contract import Contract

_ASIDE = 1e-3
"""Scores this close to a threshold are not compared: rounding decides whether such a detection is reported."""

_ANOTHER = 0.01
"""Two detections of a class match only if their box edges (normalised) and scores differ by at most this."""


@dataclass(frozen=True)
class Found:
    """The K detections of an image.

    `boxes` (K, 4): [ymin, xmin, ymax, xmax], normalised. `scores` (K,). `classes` (K,): label ids.
    """

    boxes: NDArray[Any]
    scores: NDArray[Any]
    classes: NDArray[Any]


@dataclass(frozen=True)
class Comparison:
    """The differences between two sets of detections.

    `images`: number of images. `detections`: number of detections in the second set. `largest_box`: largest difference
    of a box edge, normalised. `largest_score`: largest difference of a score. `others`: number of images with a
    detection that has no counterpart in the other set.
    """

    images: int
    detections: int
    largest_box: float
    largest_score: float
    others: int

    def within(self, largest: float) -> bool:
        """Return True if all detections have a counterpart and no difference is larger than `largest`."""
        return not self.others and max(self.largest_box, self.largest_score) <= largest


def rows(answer: Mapping[str, NDArray[Any]]) -> list[Found]:
    """Split the outputs of the signature `detect` into the detections of each image."""
    names = ("detection_boxes", "detection_scores", "detection_classes")
    return [
        Found(*(answer[name][n, : int(count)] for name in names)) for n, count in enumerate(answer["num_detections"])
    ]


def compare(ones: Sequence[Found], others: Sequence[Found], contract: Contract) -> Comparison:
    """Compare two sets of detections of the same images, in any order of detections with equal scores.

    Detections less than 1e-3 above the score threshold are left out. If an image has `max_detections` detections,
    those less than 1e-3 above its lowest score are left out too.
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
    """Compare the detections of one image.

    Returns the largest difference of a box edge, the largest difference of a score, and True if a detection has no
    counterpart.
    """
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
            if nearest < 0 or not apart[nearest] <= _ANOTHER:  # `not <=` is also True for NaN
                alone = True
                continue
            box, score = max(box, float(boxes[nearest])), max(score, float(scores[nearest]))
    return box, score, alone
