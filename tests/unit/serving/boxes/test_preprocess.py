import numpy as np
import pytest
from PIL import Image

from serving.boxes.preprocess import resize_parts, resize_to_input
from serving.contract import Contract
from tests.support.models import tiny_contract


def contract(resize: str) -> Contract:
    """A model that takes 4 rows of 6 pixels."""
    return tiny_contract(height=4, width=6).model_copy(update={"resize": resize})


@pytest.mark.parametrize(("resize", "resample"), [("bilinear", Image.Resampling.BILINEAR), ("nearest", 0)])
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


@pytest.mark.parametrize("resize", ["bilinear", "nearest"])
@pytest.mark.parametrize("side", [3.7, 6, 17.3, 40])
def test_parts_are_what_each_is_alone(resize: str, side: float) -> None:
    """Below each other or not, larger or smaller than the input, at whole pixels or between them: to the bit."""
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (60, 50, 3), dtype=np.uint8))
    boxes = [(left, top, left + side, top + side) for top in (0.0, 9.4, 20.0) for left in (0.0, 5.3, 10.0)]
    boxes.insert(0, (0.0, 0.0, 50.0, 60.0))

    parts = resize_parts(image, contract(resize), boxes)

    assert len(parts) == len(boxes)
    for part, box in zip(parts, boxes, strict=True):
        assert np.array_equal(resize_to_input(image, contract(resize), box), part)
