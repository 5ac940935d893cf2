from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.boxes.preprocess import resize_tiles, resize_to_input
from serving.boxes.tiles import Tile
from serving.contract import Contract
from tests.support.models import tiny_contract


def contract(resize: str, **fields: Any) -> Contract:
    """A model that takes 4 rows of 6 pixels."""
    return tiny_contract(height=4, width=6).model_copy(update={"resize": resize, **fields})


@pytest.mark.parametrize(
    ("resize", "resample"),
    [
        ("bilinear", Image.Resampling.BILINEAR),
        ("nearest", Image.Resampling.NEAREST),
        ("bicubic", Image.Resampling.BICUBIC),
        ("area", Image.Resampling.BOX),
        ("lanczos", Image.Resampling.LANCZOS),
    ],
)
def test_the_image_is_stretched_with_the_contracts_filter(resize: str, resample: int) -> None:
    """Height and width are not confused, and the values are Pillow's."""
    pixels = np.random.default_rng(1).integers(0, 256, (20, 10, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)

    array = resize_to_input(image, contract(resize))

    assert ((4, 6, 3), np.dtype(np.uint8)) == (array.shape, array.dtype)
    assert np.array_equal(np.asarray(image.resize((6, 4), Image.Resampling(resample))), array)


def test_an_image_of_the_right_size_is_untouched() -> None:
    """Resampling would blur it for nothing."""
    pixels = np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)

    assert np.array_equal(pixels, resize_to_input(Image.fromarray(pixels), contract("bilinear")))


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_any_other_mode_is_the_callers_mistake(mode: str) -> None:
    """Decoding makes images RGB, once."""
    with pytest.raises(ValueError, match="not RGB"):
        resize_to_input(Image.new(mode, (2, 2)), contract("bilinear"))


@pytest.mark.parametrize("resize", ["bilinear", "nearest", "bicubic", "area", "lanczos"])
@pytest.mark.parametrize("padding", [{}, {"resize_mode": "letterbox"}, {"resize_mode": "letterbox", "upscale": False}])
@pytest.mark.parametrize(("side", "reduced"), [(3, 1), (6, 1), (17, 1), (40, 1), (17, 0.43), (40, 0.43)])
def test_tiles_are_what_each_is_alone(resize: str, padding: dict[str, Any], side: int, reduced: float) -> None:
    """Below each other or not, larger or smaller than the input, at whole pixels or between them: to the bit."""
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (60, 50, 3), dtype=np.uint8))
    image = image.resize((int(50 * reduced), int(60 * reduced)))
    tiles = [Tile(0, 0, 60, 50), *(Tile(top, left, side, side) for top in (0, 9, 20) for left in (0, 5, 10))]
    model = contract(resize, **padding)

    rows = resize_tiles(image, model, tiles, (60, 50))

    assert [row.shape for row in rows] == [(4, 6, 3)] * 10
    for row, tile in zip(rows, tiles, strict=True):
        assert np.array_equal(resize_tiles(image, model, [tile], (60, 50))[0], row)


@pytest.mark.parametrize("resize", ["bilinear", "area"])
def test_without_antialias_the_original_pixels_are_needed(resize: str) -> None:
    """A reduced image has other pixels, and no error would tell."""
    model = contract(resize, antialias=False)

    with pytest.raises(ValueError, match="needs the original pixels"):
        resize_tiles(Image.new("RGB", (20, 20)), model, [Tile(0, 0, 40, 40)], (40, 40))


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("align", "top", "left"), [("centre", 0, 1), ("top_left", 0, 0)])
def test_a_letterbox_is_padded_with_the_contracts_colour(align: str, top: int, left: int, *, antialias: bool) -> None:
    """In RGB; the photo is in its place, resized by the contract's filter alone."""
    pixels = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    model = contract("bicubic", resize_mode="letterbox", pad_colour=(1, 2, 3), align=align, antialias=antialias)
    square = tiny_contract(height=4, width=4).model_copy(update={"resize": "bicubic", "antialias": antialias})

    padded = resize_to_input(Image.fromarray(pixels), model)

    assert np.array_equal(padded[top : top + 4, left : left + 4], resize_to_input(Image.fromarray(pixels), square))
    outside = np.ones((4, 6), bool)
    outside[top : top + 4, left : left + 4] = False
    assert (padded[outside] == [1, 2, 3]).all()


def test_a_small_photo_is_enlarged_only_if_the_contract_says_so() -> None:
    """Without `upscale` its own pixels lie in the padding."""
    pixels = np.random.default_rng(1).integers(0, 256, (2, 3, 3), dtype=np.uint8)
    small = resize_to_input(Image.fromarray(pixels), contract("bilinear", resize_mode="letterbox", upscale=False))

    assert np.array_equal(pixels, small[1:3, 1:4])
    assert not np.array_equal(
        small, resize_to_input(Image.fromarray(pixels), contract("bilinear", resize_mode="letterbox"))
    )
