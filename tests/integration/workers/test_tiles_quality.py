"""Tiles on a large photo with known truth, by a real detector, beside what the field uses for it."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from serving.description import read_description
from serving.merging import merge
from serving.preprocess import resize_to_input
from serving.tiles import Grid, Tile
from tests.composites import Boxes, Counts, composite, count
from tests.real_ssd import MODEL, InProcess, contract_toml
from workers.images import Prepared, Tiling, prepare

pytestmark = pytest.mark.skipif(not MODEL.is_dir(), reason="the real SSD is not at hand")

GRIDS = (Grid(4, 6), Grid(6, 10))
IOU = 0.5  # InferenceSlicer's default


@pytest.fixture(scope="module")
def ssd(tmp_path_factory: pytest.TempPathFactory) -> InProcess:
    described = tmp_path_factory.mktemp("ssd") / "contract.toml"
    described.write_text(contract_toml(score_threshold=0.5))
    return InProcess(read_description(described))


def boxes(ssd: InProcess, pixels: NDArray[Any], classes: NDArray[np.int64]) -> Boxes:
    labels = ssd.description.contract.label_by_id
    return Boxes(pixels.reshape(-1, 4), tuple(labels[int(label)].name for label in classes))


def in_tiles(ssd: InProcess, prepared: Prepared) -> Boxes:
    """What Shelfline makes of a photo."""
    rows = prepared.rows
    found = [one for at in range(0, len(rows), 8) for one in ssd.detect(np.stack(rows[at : at + 8]))]
    told = merge(found, prepared.tiles, prepared.height, prepared.width, nms_iou=IOU)
    return boxes(ssd, told.boxes * np.array((prepared.height, prepared.width) * 2), told.classes)


def sliced(ssd: InProcess, photo: Image.Image, tile: Tile) -> Boxes:
    """What supervision's InferenceSlicer makes of it, with slices of the same size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that OpenCV is not there
        import supervision

    def detect(part: NDArray[np.uint8]) -> Any:
        image = Image.fromarray(np.ascontiguousarray(part))
        (found,) = ssd.detect(resize_to_input(image, ssd.description.contract)[None])
        sides = found.boxes[:, [1, 0, 3, 2]] * np.array(image.size * 2)
        return supervision.Detections(
            xyxy=sides.astype(float).reshape(-1, 4), confidence=found.scores, class_id=found.classes
        )

    slicer = supervision.InferenceSlicer(
        detect,
        slice_wh=(tile.width, tile.height),
        overlap_wh=(tile.width // 5, tile.height // 5),
        iou_threshold=IOU,
    )
    found = slicer(np.asarray(photo))
    return boxes(ssd, found.xyxy[:, [1, 0, 3, 2]], found.class_id)


def test_as_many_products_and_fewer_duplicates_than_inference_slicer(ssd: InProcess) -> None:
    """With the same model, photo and size of tiles: no true box less, no duplicate more, over two grids."""
    photo, true = composite(5, 8)
    out = io.BytesIO()
    photo.save(out, "PNG")
    ours: list[Counts] = []
    theirs: list[Counts] = []
    for grid in GRIDS:
        prepared = prepare(out.getvalue(), ssd.description.contract, 10**8, Tiling(grid, 0.2, 1.0))
        ours.append(count(in_tiles(ssd, prepared), true))
        theirs.append(count(sliced(ssd, photo, prepared.tiles[1]), true))

    whole = prepare(out.getvalue(), ssd.description.contract, 10**8)
    assert sum(one.matched for one in ours) >= sum(one.matched for one in theirs) > 0
    assert sum(one.duplicates for one in ours) <= sum(one.duplicates for one in theirs)
    assert count(in_tiles(ssd, whole), true).matched < ours[0].matched < ours[1].matched
