"""Resize an upright image, or parts of it, to the model's input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.contract import Contract

_FILTERS: Final = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}


Box = tuple[float, float, float, float]
"""A part of an image: (left, top, right, bottom) in pixels of that image."""


def resize_parts(image: Image.Image, contract: Contract, boxes: Sequence[Box]) -> list[NDArray[np.uint8]]:
    """Resize parts of an image to the model's input; bit for bit the results of `resize_to_input` for each part.

    Returns one uint8 (input_height, input_width, 3) array, RGB, for each of `boxes`. Pillow resizes the width first,
    then the height. Tiles in one column overlap, so the width of the whole column is resized once; this saves a fifth
    of the time. If that would make the image wider, each tile is resized separately to save memory.
    """
    columns: dict[tuple[float, float], list[int]] = defaultdict(list)
    for number, (left, _, right, _) in enumerate(boxes):
        columns[left, right].append(number)
    inputs: dict[int, NDArray[np.uint8]] = {}
    for (left, right), numbers in columns.items():
        across: Box
        strip, across = image, (left, 0, right, image.height)
        if len(numbers) > 1 and right - left > contract.input_width:
            size = (contract.input_width, image.height)
            strip, across = image.resize(size, _FILTERS[contract.resize], across), (0, 0, *size)
        for number in numbers:
            _, top, _, bottom = boxes[number]
            inputs[number] = resize_to_input(strip, contract, (across[0], top, across[2], bottom))
    return [inputs[number] for number in range(len(boxes))]


def resize_to_input(image: Image.Image, contract: Contract, box: Box | None = None) -> NDArray[np.uint8]:
    """Resize an image, or its part in `box`, to the model's input: uint8 (input_height, input_width, 3), RGB.

    `image` is upright and RGB; raises ValueError for another mode. The aspect ratio is not kept, so a box that is
    normalised to the input is also normalised to the resized part. Pillow's bilinear filter grows with the reduction:
    it averages a large photo, and does not sample it.
    """
    if image.mode != "RGB":
        raise ValueError(f"the image is {image.mode}, not RGB")
    size = (contract.input_width, contract.input_height)
    whole = (0, 0, *image.size)
    if image.size != size or box not in {None, whole}:
        image = image.resize(size, _FILTERS[contract.resize], box or whole)
    return np.asarray(image)
