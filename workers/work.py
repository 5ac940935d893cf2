"""An image in a worker's hands, row by row: it is decoded once, and settled once, when all its rows are back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.client import ServedModel
from serving.detections import Detections
from serving.merging import merge
from workers.images import Prepared
from workers.jobs import result
from workers.jobs.claimed_image import Delivery
from workers.jobs.job import Outcome
from workers.jobs.options import Lane


class Work:
    """A prepared image and what the model has said to its rows so far. `over`: nobody waits for the others."""

    def __init__(self, delivery: Delivery, prepared: Prepared) -> None:
        self.delivery = delivery
        self.over = False
        self._prepared = prepared
        self._answers: dict[int, Detections] = {}

    def rows(self) -> list[Row]:
        """All its rows, to be asked for afresh: what another version of the model said does not count."""
        self._answers = {}
        return [Row(self, number, pixels) for number, pixels in enumerate(self._prepared.rows)]

    def answer(self, number: int, found: Detections, served: ServedModel) -> Outcome | None:
        """Note what the model found in a row; the image's outcome, once that was the last one."""
        self._answers[number] = found
        if self.over or len(self._answers) < len(self._prepared.rows):
            return None
        prepared, answers = self._prepared, [self._answers[number] for number in sorted(self._answers)]
        if prepared.grid is None:
            (merged,) = answers
        else:
            iou = served.contract.nms_iou
            merged = merge(answers, prepared.tiles, prepared.height, prepared.width, nms_iou=iou)
        self.over = True
        return result.succeeded(self.delivery, served, merged, prepared)


@dataclass(frozen=True, eq=False)
class Row:
    """One row of an image that is ready for the model: `pixels` uint8 (H, W, 3) RGB at its input size."""

    work: Work
    number: int
    pixels: NDArray[np.uint8]

    @property
    def lane(self) -> Lane:
        """The lane that its image came from."""
        return self.work.delivery.lane
