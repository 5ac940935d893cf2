"""Tiles on large photos with known truth, by a real detector, beside what the field uses for it."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from serving.boxes.detections import Detections
from serving.boxes.preprocess import resize_to_input
from serving.boxes.tile_merging import merge
from serving.boxes.tiles import Grid, Tile
from serving.description import read_description
from tests.support.composites import CELL, Boxes, Cell, Counts, composite, count, shop_cells
from tests.support.real_ssd import InProcess, contract_toml
from workers.sources.decoding import Prepared, Tiling, prepare

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("shared_folder")]

GRIDS = (Grid(2, 2), Grid(3, 3), Grid(4, 4), None, Grid(4, 6), Grid(6, 10))  # None: auto
IOU = 0.5  # InferenceSlicer's default


@pytest.fixture(scope="module")
def ssd(tmp_path_factory: pytest.TempPathFactory) -> InProcess:
    described = tmp_path_factory.mktemp("ssd") / "contract.toml"
    described.write_text(contract_toml(score_threshold=0.5))
    return InProcess(read_description(described))


def in_batches(ssd: InProcess, rows: list[NDArray[np.uint8]]) -> list[Detections]:
    return [detections for at in range(0, len(rows), 8) for detections in ssd.detect(np.stack(rows[at : at + 8]))]


def boxes(ssd: InProcess, pixels: NDArray[Any], classes: NDArray[np.integer]) -> Boxes:
    labels = ssd.description.contract.label_by_id
    return Boxes(pixels.reshape(-1, 4), tuple(labels[int(label)].name for label in classes))


@pytest.fixture(scope="module")
def cells(ssd: InProcess) -> list[Cell]:
    """Other photos than those that merging's thresholds were chosen on: parts of them, larger, and in another order.

    What is in one is what the model says of it alone.
    """
    part = CELL * 4 // 5
    photos = [cell.photo.crop((0, 0, part, part)).resize((CELL, CELL)) for cell in shop_cells()]
    detections_of_photos = in_batches(ssd, [resize_to_input(photo, ssd.description.contract) for photo in photos])
    cells = [
        Cell(photo, boxes(ssd, detections.boxes.astype(np.float64), detections.classes))
        for photo, detections in zip(photos, detections_of_photos, strict=True)
    ]
    return [cells[int(number)] for number in np.random.default_rng(8).permutation(len(cells))]


def in_tiles(ssd: InProcess, prepared: Prepared) -> Boxes:
    """What Shelfline makes of a photo."""
    detections_of_tiles = in_batches(ssd, list(prepared.rows))
    merged = merge(detections_of_tiles, prepared.tiles, prepared.height, prepared.width, nms_iou=IOU)
    return boxes(ssd, merged.boxes * np.array((prepared.height, prepared.width) * 2), merged.classes)


def sliced(ssd: InProcess, photo: Image.Image, tile: Tile) -> Boxes:
    """What supervision's InferenceSlicer makes of it, with slices of the same size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that OpenCV is not there
        import supervision

    def detect(parts: list[NDArray[np.uint8]]) -> list[Any]:
        images = [Image.fromarray(np.ascontiguousarray(part)) for part in parts]
        detections_of_images = ssd.detect(
            np.stack([resize_to_input(image, ssd.description.contract) for image in images])
        )
        return [
            supervision.Detections(
                xyxy=(detections.boxes[:, [1, 0, 3, 2]] * np.array(image.size * 2)).astype(float).reshape(-1, 4),
                confidence=detections.scores,
                class_id=detections.classes,
            )
            for image, detections in zip(images, detections_of_images, strict=True)
        ]

    slicer = supervision.InferenceSlicer(
        detect,
        slice_wh=(tile.width, tile.height),
        overlap_wh=(tile.width // 5, tile.height // 5),
        iou_threshold=IOU,
        batch_size=8,
        thread_workers=1,
    )
    merged = slicer(np.asarray(photo))
    assert merged.class_id is not None
    return boxes(ssd, merged.xyxy[:, [1, 0, 3, 2]], merged.class_id)


@pytest.mark.parametrize(("rows", "columns"), [(5, 8), (8, 12)])
def test_as_many_products_and_no_more_duplicates_than_inference_slicer(
    ssd: InProcess, cells: list[Cell], rows: int, columns: int
) -> None:
    """With the same model, photo and size of tiles: no true box less, no duplicate more, over six grids."""
    photo, true = composite(rows, columns, cells)
    out = io.BytesIO()
    photo.save(out, "BMP")
    contract = ssd.description.contract
    ours: list[Counts] = []
    theirs: list[Counts] = []
    for grid in GRIDS:
        prepared = prepare(out.getvalue(), contract, 10**8, Tiling(grid, 0.2, 2.5))
        ours.append(count(in_tiles(ssd, prepared), true))
        theirs.append(count(sliced(ssd, photo, prepared.tiles[1]), true))
    print("ours", *ours, "theirs", *theirs, sep="\n")  # noqa: T201  for whoever reads why it failed

    whole = count(in_tiles(ssd, prepare(out.getvalue(), contract, 10**8)), true)
    assert sum(counts.matched for counts in ours) >= sum(counts.matched for counts in theirs) > 0
    assert sum(counts.duplicates for counts in ours) <= sum(counts.duplicates for counts in theirs)
    assert whole.matched < ours[2].matched < ours[5].matched
