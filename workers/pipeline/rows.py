"""The rows of images: made of a decoded image, put into batches, and joined again to the image's result."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.boxes.detections import Detections
from serving.boxes.placement import boxes_in_part
from serving.boxes.tile_merging import merge
from serving.client import ServedModel
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.options import Lane
from workers.jobs.result import Outcome, compact_json, head
from workers.sources.decoding import Prepared
from workers.telemetry.metrics import NO_AREA

_BULK_TURN = 8  # one row in so many is kept for the bulk lane, if it has any
_SIDES = ("ymin", "xmin", "ymax", "xmax")


class ImageRows:
    """A decoded image and the model's answers to its rows so far.

    `over` is True once the image has its outcome; further answers to its rows are ignored. `digest` is the sha256 of
    the image's bytes if its result is to be cached, else ''.
    """

    def __init__(self, claimed: ClaimedImage, prepared: Prepared, digest: str = "") -> None:
        self.claimed = claimed
        self.digest = digest
        self.over = False
        self._prepared = prepared
        self._answers: dict[int, Detections] = {}

    def rows(self) -> list[Row]:
        """Return all its rows, and drop the answers so far: those of different versions must not be mixed."""
        self._answers = {}
        return [Row(self, number, pixels) for number, pixels in enumerate(self._prepared.rows)]

    def add_answer(self, number: int, detections: Detections, served: ServedModel) -> Outcome | None:
        """Record the model's answer to a row. Return the outcome of the image if it was the last row, else None."""
        self._answers[number] = detections
        if self.over or len(self._answers) < len(self._prepared.rows):
            return None
        self.over = True
        prepared, contract = self._prepared, served.contract
        answers = [
            replace(answer, boxes=boxes_in_part(answer.boxes, contract, tile.height, tile.width))
            for tile, answer in zip(
                prepared.tiles, (self._answers[number] for number in sorted(self._answers)), strict=True
            )
        ]
        if prepared.grid is None:
            (merged,) = answers
        else:
            merged = merge(
                answers,
                prepared.tiles,
                prepared.height,
                prepared.width,
                nms_iou=contract.nms_iou,
                among_classes=contract.nms == "agnostic",
            )
        return _succeeded(self.claimed, served, merged, prepared)


@dataclass(frozen=True, eq=False)
class Row:
    """One input of the model, from an image: `pixels` uint8 (H, W, 3) RGB at the model's input size."""

    image: ImageRows
    number: int
    pixels: NDArray[np.uint8]

    @property
    def lane(self) -> Lane:
        """The lane that the image was claimed from."""
        return self.image.claimed.lane


class RowBuffer:
    """The rows that are ready for the model, by lane, in the order in which they came.

    Interactive rows go first, but bulk keeps a share.
    """

    def __init__(self, batch_rows: int) -> None:
        self._batch_rows = batch_rows
        self._rows: dict[Lane, deque[Row]] = {"interactive": deque(), "bulk": deque()}
        self._passed_over = 0  # batches of one row that were interactive while bulk rows waited

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._rows.values())

    def count(self, lane: Lane) -> int:
        """Return how many rows of a lane are ready."""
        return len(self._rows[lane])

    def counts(self) -> Counter[Lane]:
        """Return how many rows of each lane are ready."""
        return Counter({lane: len(rows) for lane, rows in self._rows.items()})

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows that are ready for the model, behind the other rows of their lane."""
        for row in rows:
            self._rows[row.lane].append(row)

    def take_batch(self) -> list[Row]:
        """Remove and return the next batch.

        Interactive rows come first, except for the slots that are kept for waiting bulk rows. Bulk rows fill the rest.
        """
        interactive = min(self.count("interactive"), self._batch_rows - min(self.count("bulk"), self._kept_now()))
        bulk = min(self.count("bulk"), self._batch_rows - interactive)
        counts: dict[Lane, int] = {"interactive": interactive, "bulk": bulk}
        return [self._rows[lane].popleft() for lane, count in counts.items() for _ in range(count)]

    def put_back(self, rows: Sequence[Row]) -> None:
        """Put rows that were taken back to the front of their lanes, in the same order."""
        for row in reversed(rows):
            self._rows[row.lane].appendleft(row)

    def drop_over(self) -> None:
        """Remove the rows of images that already have their outcome."""
        self._rows = {lane: deque(row for row in rows if not row.image.over) for lane, rows in self._rows.items()}

    def take_all(self) -> list[Row]:
        """Remove and return all rows, interactive ones first."""
        rows = [row for rows in self._rows.values() for row in rows]
        self._rows = {"interactive": deque(), "bulk": deque()}
        return rows

    def _kept_now(self) -> int:
        if self._batch_rows > 1:
            return kept_for_bulk(self._batch_rows)
        waits = self.count("interactive") > 0 and self.count("bulk") > 0
        self._passed_over = (self._passed_over + 1) % _BULK_TURN if waits else 0
        return int(waits and self._passed_over == 0)


def kept_for_bulk(batch_rows: int) -> int:
    """Return how many rows of each batch are kept for bulk, if any waits.

    A batch of one row is an exception: while rows of both lanes wait, every eighth batch is bulk.
    """
    return max(1, batch_rows // _BULK_TURN)


def _succeeded(claimed: ClaimedImage, served: ServedModel, merged: Detections, prepared: Prepared) -> Outcome:
    """Return the outcome of a processed image, after applying the job's `min_score` and `max_detections`.

    `merged.boxes` (N, 4) are [ymin, xmin, ymax, xmax], normalised to the upright original image. The result has each
    box in pixels of that image (`box`) and normalised (`box_normalized`), both clipped to the image. A box without area
    is left out and counted.
    """
    width, height = prepared.width, prepared.height
    options, labels = claimed.options, served.contract.label_by_id
    detections: list[dict[str, Any]] = []
    for box, score, label_id in zip(
        merged.boxes.tolist(), merged.scores.tolist(), merged.classes.tolist(), strict=True
    ):
        if options.min_score is not None and score < options.min_score:
            break  # detections are sorted, best first
        if len(detections) == options.max_detections:
            break
        sides = [min(1.0, max(0.0, side)) for side in box]
        if sides[0] >= sides[2] or sides[1] >= sides[3]:
            NO_AREA.add(served.name, str(served.version))
            continue
        label = labels.get(label_id)
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
        **head(claimed.index, claimed.source),
        "state": "succeeded",
        "width": width,
        "height": height,
        "model": served.name,
        "model_version": served.version,
        **({"tiles": str(prepared.grid)} if prepared.grid else {}),
        "detections": detections,
    }
    return Outcome(claimed, "succeeded", compact_json(result), served.version, len(prepared.rows))
