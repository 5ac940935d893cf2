"""Compute the differences between two sets of detections of the same images; pure, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.boxes.detections import Detections
from serving.contract import Contract
from serving.conventions import TF_OBJECT_DETECTION

_SCORE_MARGIN = 1e-3
"""Scores this close to a threshold are not compared: rounding decides whether such a detection is reported."""

_MATCH_DISTANCE = 0.01
"""Two detections of a class match only if their box edges (normalised) and scores differ by at most this."""


@dataclass(frozen=True)
class Comparison:
    """The differences between two sets of detections.

    `images`: number of images. `detections`: number of detections in the tested set. `largest_box`: largest difference
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


def rows(answer: Mapping[str, NDArray[Any]]) -> list[Detections]:
    """Split the outputs of the signature `detect` into the detections of each image."""
    boxes, scores, classes, counts = (answer[name] for name in TF_OBJECT_DETECTION)
    return [
        Detections(boxes[row, :count], scores[row, :count], classes[row, :count])
        for row, count in enumerate(counts.astype(int).tolist())
    ]


def compare(reference: Sequence[Detections], tested: Sequence[Detections], contract: Contract) -> Comparison:
    """Compare two sets of detections of the same images, whatever the order of detections in an image.

    Detections less than 1e-3 above the threshold of their label are left out. If an image has `max_detections`
    detections, those less than 1e-3 above its lowest score are left out too.
    """
    differences = [_difference(*pair, contract) for pair in zip(reference, tested, strict=True)]
    return Comparison(
        images=len(differences),
        detections=sum(map(len, tested)),
        largest_box=max((box for box, _, _ in differences), default=0.0),
        largest_score=max((score for _, score, _ in differences), default=0.0),
        others=sum(unmatched for _, _, unmatched in differences),
    )


def _difference(reference: Detections, tested: Detections, contract: Contract) -> tuple[float, float, bool]:
    """Compare the detections of one image.

    Returns the largest difference of a box edge, the largest difference of a score, and True if a detection has no
    counterpart.
    """
    limits = [float(side.scores.min()) for side in (reference, tested) if len(side) >= contract.max_detections]
    thresholds = contract.threshold_by_id
    largest_box = largest_score = 0.0
    unmatched = False
    for side, other in ((reference, tested), (tested, reference)):
        lowest = np.array(
            [max([thresholds.get(int(label), contract.score_threshold), *limits]) for label in side.classes]
        )
        for number in np.flatnonzero(side.scores > lowest + _SCORE_MARGIN):
            same_class = other.classes == side.classes[number]
            boxes = np.abs(other.boxes[same_class] - side.boxes[number]).max(-1, initial=0.0)
            scores = np.abs(other.scores[same_class] - side.scores[number])
            distances = np.maximum(boxes, scores)
            nearest = int(distances.argmin()) if len(distances) else -1
            if nearest < 0 or not distances[nearest] <= _MATCH_DISTANCE:  # `not <=` is also True for NaN
                unmatched = True
                continue
            largest_box = max(largest_box, float(boxes[nearest]))
            largest_score = max(largest_score, float(scores[nearest]))
    return largest_box, largest_score, unmatched
