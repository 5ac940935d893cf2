"""Large "shelf" photos made of the small shop photos beside the project, whose cells' true detections are known."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.real_ssd import MODEL, PHOTOS

CELL = 320  # pixels of a cell's side; the reference was made of photos stretched to a square as well
SURE = 0.5  # the least score of a reference detection that counts as true
INSIDE = 0.9  # of its area in another of its class makes a box a duplicate


@dataclass(frozen=True)
class Boxes:
    """`boxes` (M, 4), (ymin, xmin, ymax, xmax) in pixels, with their labels."""

    boxes: NDArray[np.float64]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Counts:
    """What became of true boxes, and what was told beside them."""

    true: int
    matched: int
    duplicates: int
    false: int


@dataclass(frozen=True)
class Cell:
    """A small photo, stretched to a square, and what is in it, normalised."""

    photo: Image.Image
    true: Boxes


def shop_cells() -> list[Cell]:
    """The shop photos, with the reference detections that lie beside the model."""
    reference = json.loads((MODEL / "reference-detections.json").read_text())
    cells = []
    for path in sorted(PHOTOS.glob("grocery-*.jpg")):
        sure = [detection for detection in reference[path.name] if detection["score"] >= SURE]
        boxes = np.array([detection["box_ymin_xmin_ymax_xmax"] for detection in sure], np.float64).reshape(-1, 4)
        with Image.open(path) as photo:
            square = photo.convert("RGB").resize((CELL, CELL))
        cells.append(Cell(square, Boxes(boxes, tuple(detection["label"] for detection in sure))))
    return cells


def composite(rows: int, columns: int, cells: Sequence[Cell]) -> tuple[Image.Image, Boxes]:
    """A photo of rows x columns cells, in turn, and the true boxes in it."""
    turn = itertools.cycle(cells)
    picture = Image.new("RGB", (columns * CELL, rows * CELL))
    boxes: list[NDArray[np.float64]] = []
    labels: list[str] = []
    for row, column in itertools.product(range(rows), range(columns)):
        cell = next(turn)
        picture.paste(cell.photo, (column * CELL, row * CELL))
        boxes.append((cell.true.boxes + np.array((row, column) * 2)) * CELL)
        labels += cell.true.labels
    return picture, Boxes(np.concatenate(boxes), tuple(labels))


def count(boxes: Boxes, true: Boxes) -> Counts:
    """How many true boxes are among those found, best first, and how many of the others there are.

    A true box is matched by one of its label with an IoU of at least 0.5. A duplicate is a pair of one label with an
    IoU above 0.5, or one almost inside the other. False is what overlaps no true box of its label by half.
    """
    iou, _ = overlaps(boxes, true)
    free = set(range(len(true.labels)))
    matched = 0
    for row in iou:
        best = max(free, key=lambda column: row[column], default=None)
        if best is not None and row[best] >= 0.5:
            free.discard(best)
            matched += 1
    among, inside = overlaps(boxes, boxes)
    pairs = np.triu((among > 0.5) | (inside >= INSIDE) | (inside.T >= INSIDE), k=1)
    return Counts(len(true.labels), matched, int(pairs.sum()), int((iou.max(axis=1, initial=0.0) < 0.5).sum()))


def overlaps(a: Boxes, b: Boxes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(len(a), len(b)): the IoU of each pair of one label, and how much of a's box lies in b's; 0 for other pairs."""
    sides = np.minimum(a.boxes[:, None, 2:], b.boxes[None, :, 2:]) - np.maximum(
        a.boxes[:, None, :2], b.boxes[None, :, :2]
    )
    common = np.maximum(sides, 0).prod(axis=2) * (np.array(a.labels)[:, None] == np.array(b.labels)[None, :])
    area_a, area_b = (np.maximum((boxes.boxes[:, 2:] - boxes.boxes[:, :2]).prod(axis=1), 1e-9) for boxes in (a, b))
    return common / (area_a[:, None] + area_b[None, :] - common), common / area_a[:, None]
