"""The rows of an image: it is decoded once, and settled once, when the model has answered all its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serving.boxes.detections import Detections
from serving.boxes.tile_merging import merge
from serving.client import ServedModel
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.job import Outcome
from workers.jobs.options import Lane
from workers.jobs.result import head, outcome_of
from workers.sources.decoding import Prepared

if TYPE_CHECKING:
    from serving.boxes.detections import Detections
    from serving.client import ServedModel
    from workers.sources.decoding import Prepared


class Work:
    """A prepared image, and the model's answers to its rows so far. `over`: further answers are ignored."""

    def __init__(self, delivery: ClaimedImage, prepared: Prepared) -> None:
        self.delivery = delivery
        self.over = False
        self._prepared = prepared
        self._answers: dict[int, Detections] = {}

    def rows(self) -> list[Row]:
        """Return all its rows, and drop the answers so far: those of different versions must not be mixed."""
        self._answers = {}
        return [Row(self, number, pixels) for number, pixels in enumerate(self._prepared.rows)]

    def answer(self, number: int, found: Detections, served: ServedModel) -> Outcome | None:
        """Record the model's answer to a row. Return the outcome of the image if it was the last row, else None."""
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
        return succeeded(self.delivery, served, merged, prepared)


@dataclass(frozen=True, eq=False)
class Row:
    """One input of the model, from an image: `pixels` uint8 (H, W, 3) RGB at the model's input size."""

    work: Work
    number: int
    pixels: NDArray[np.uint8]

    @property
    def lane(self) -> Lane:
        """The lane that the image was claimed from."""
        return self.work.delivery.lane


_SIDES = ("ymin", "xmin", "ymax", "xmax")


def succeeded(delivery: ClaimedImage, served: ServedModel, found: Detections, prepared: Prepared) -> Outcome:
    """Return the outcome of a processed image, after applying the job's `min_score` and `max_detections`.

    `found.boxes` (N, 4) are [ymin, xmin, ymax, xmax], normalised to the upright original image. The result has each box
    in pixels of that image (`box`) and normalised (`box_normalized`), both clipped to the image.
    """
    width, height = prepared.width, prepared.height
    options, labels = delivery.options, served.contract.label_by_id
    detections: list[dict[str, Any]] = []
    for box, score, label_id in zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True):
        if options.min_score is not None and score < options.min_score:
            break  # detections are sorted, best first
        if len(detections) == options.max_detections:
            break
        label = labels.get(label_id)
        sides = [min(1.0, max(0.0, side)) for side in box]
        pixels = [round(side * size, 2) for side, size in zip(sides, (height, width, height, width), strict=True)]
        detections.append(
            {
                "label": label.name if label else f"class {label_id}",
                "score": round(score, 6),
                "box": dict(zip(_SIDES, pixels, strict=True)),
                "box_normalized": dict(zip(_SIDES, (round(side, 6) for side in sides), strict=True)),
            }
        )
    result = {
        **head(delivery.index, delivery.source),
        "state": "succeeded",
        "width": width,
        "height": height,
        "model": served.name,
        "model_version": served.version,
        **({"tiles": str(prepared.grid)} if prepared.grid else {}),
        "detections": detections,
    }
    return outcome_of(delivery, "succeeded", result, served.version, len(prepared.rows))
