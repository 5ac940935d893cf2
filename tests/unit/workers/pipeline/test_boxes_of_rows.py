"""From a photo to the model's input and back: a box is where its object is, however the contract has the input made."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from serving.boxes.detections import Detections
from serving.boxes.placement import place
from serving.boxes.sampling import resample
from serving.boxes.tiles import Grid
from serving.client import ServedModel
from serving.contract import Contract
from tests.support.models import tiny_contract
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.options import JobOptions
from workers.pipeline.rows import ImageRows
from workers.sources.decoding import Tiling, prepare

MADE: list[dict[str, Any]] = [
    {},
    {"antialias": False},
    {"resize_mode": "letterbox"},
    {"resize_mode": "letterbox", "antialias": False},
    {"resize_mode": "letterbox", "align": "top_left", "resize": "area"},
    {"resize_mode": "letterbox", "upscale": False, "resize": "lanczos", "antialias": False},
]


def contract(fields: dict[str, Any]) -> Contract:
    """A model of 96 x 160 pixels whose padding is black, as the photos are."""
    padding = {"pad_colour": (0, 0, 0)} if "resize_mode" in fields else {}
    return tiny_contract(height=96, width=160).model_copy(update=fields | padding)


def photo(size: tuple[int, int], box: tuple[int, int, int, int], kind: str) -> bytes:
    """A black photo of (height, width) with a white box (ymin, xmin, ymax, xmax), in pixels."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[box[0] : box[2], box[1] : box[3]] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, quality=95)
    return file.getvalue()


def seen(row: NDArray[np.uint8]) -> Detections:
    """What a perfect detector sees of the white box, to whole pixels."""
    bright = row[..., 0] / 255
    if bright.max() < 0.5:
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    sides = []
    for profile in (bright.max(1), bright.max(0)):
        lit = np.flatnonzero(profile >= 0.5)
        sides.append((float(lit[0]), float(lit[-1] + 1)))
    (top, bottom), (left, right) = sides
    box = np.array([[top / 96, left / 160, bottom / 96, right / 160]], np.float32)
    return Detections(box, np.array([0.9], np.float32), np.array([1]))


def detected(content: bytes, model: Contract, tiling: Tiling | None = None) -> list[dict[str, float]]:
    """The boxes of the result, in pixels of the photo."""
    options = JobOptions("m")
    claimed = ClaimedImage("s:bulk", "1-0", "job", 0, "1", 0, 0, "a.png", "blob:x", "", 1, options)
    image = ImageRows(claimed, prepare(content, model, 10_000_000, tiling))
    outcome = None
    for row in image.rows():
        assert outcome is None
        outcome = image.add_answer(row.number, seen(row.pixels), ServedModel("m", 1, model))
    assert outcome is not None
    return [detection["box"] for detection in json.loads(outcome.result)["detections"]]


@pytest.mark.parametrize("fields", MADE)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_box_is_where_its_object_is(fields: dict[str, Any], data: st.DataObject) -> None:
    """Within a pixel of the model's input: half of it is the detector's, half the rounding of a letterbox's sides."""
    height, width = data.draw(st.tuples(st.integers(40, 500), st.integers(40, 500)))
    model = contract(fields)
    placed = place(model, height, width)
    tall, wide = (min(side, int(4 / scale) + 3) for side, scale in ((height, placed.down), (width, placed.across)))
    top, left = data.draw(st.integers(0, height - tall)), data.draw(st.integers(0, width - wide))
    box = (top, left, data.draw(st.integers(top + tall, height)), data.draw(st.integers(left + wide, width)))

    (detection,) = detected(photo((height, width), box, "PNG"), model)

    off = np.abs(np.array([detection[side] for side in ("ymin", "xmin", "ymax", "xmax")]) - box)
    assert (off * np.array([placed.down, placed.across] * 2) <= 1.01).all()


@pytest.mark.parametrize("fields", [fields for fields in MADE if not fields.get("antialias", True)])
def test_without_antialias_every_pixel_of_a_jpeg_is_decoded(fields: dict[str, Any]) -> None:
    """A decoder's reduced image has none of the pixels that are sampled."""
    pixels = np.random.default_rng(0).integers(0, 256, (640, 800, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    model, decoded = contract(fields), np.asarray(Image.open(file))
    placed = place(model, 640, 800)

    (row,) = prepare(file.getvalue(), model, 10_000_000).rows

    shown = row[placed.top : placed.top + placed.height, placed.left : placed.left + placed.width]
    assert np.array_equal(resample(decoded, placed.height, placed.width, model.resize), shown)


@pytest.mark.parametrize("fields", MADE)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_box_in_tiles_is_where_its_object_is(fields: dict[str, Any], kind: str) -> None:
    """Each tile has its own letterbox. A large JPEG is decoded at a reduced size, where the filter allows it."""
    box, model = (700, 520, 790, 640), contract(fields)

    boxes = detected(photo((1200, 900), box, kind), model, Tiling(Grid(3, 2), 0.2, 2.5))

    scale = place(model, 450, 550).down  # of a tile, about
    assert boxes
    for detection in boxes:
        off = np.abs(np.array([detection[side] for side in ("ymin", "xmin", "ymax", "xmax")]) - box)
        assert (off * scale <= 2).all()
