"""From an upright picture to what a model takes."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.contract import Contract

_FILTERS: Final = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}


def resize_to_input(
    image: Image.Image, contract: Contract, box: tuple[float, float, float, float] | None = None
) -> NDArray[np.uint8]:
    """The image, or its part in `box`, as the model's input: uint8 (input_height, input_width, 3), RGB.

    `image` is upright and RGB; ValueError for any other mode. `box` is (left, top, right, bottom) in pixels of it. What
    is shown is stretched, its aspect ratio not kept: so a box normalised to the input is also normalised to that.
    Pillow's bilinear filter widens with the reduction, so a large photo is averaged, not sampled.
    """
    if image.mode != "RGB":
        raise ValueError(f"the image is {image.mode}, not RGB")
    size = (contract.input_width, contract.input_height)
    whole = (0, 0, *image.size)
    if image.size != size or box not in {None, whole}:
        image = image.resize(size, _FILTERS[contract.resize], box or whole)
    return np.asarray(image)
