"""Make the model's input of an upright photo and of its tiles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.boxes.placement import Placement, place
from serving.boxes.sampling import resample
from serving.boxes.tiles import Tile
from serving.contract import Contract

_FILTERS: Final = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}

Box = tuple[float, float, float, float]
"""A part of an image: (left, top, right, bottom) in pixels of that image."""


def resize_to_input(image: Image.Image, contract: Contract) -> NDArray[np.uint8]:
    """Make the model's input of a whole image: uint8 (input_height, input_width, 3), RGB.

    `image` is upright and RGB; raises ValueError for another mode.
    """
    whole = Tile(0, 0, image.height, image.width)
    return resize_tiles(image, contract, [whole], (image.height, image.width))[0]


def resize_tiles(
    image: Image.Image, contract: Contract, tiles: Sequence[Tile], original: tuple[int, int]
) -> list[NDArray[np.uint8]]:
    """Make the model's input of each tile: uint8 (input_height, input_width, 3), RGB.

    `tiles` are in pixels of the upright original, whose (height, width) is `original`. `image` is the original, RGB, or
    a smaller one that the decoder made of it. Raises ValueError for another mode than RGB, and for a smaller image
    where the contract's filter samples single pixels.

    Pillow resizes the width first, then the height. Tiles in one column overlap, so the width of the whole column is
    resized once; this saves a fifth of the time. If that would make the image wider, each tile is resized separately to
    save memory.
    """
    if image.mode != "RGB":
        raise ValueError(f"the image is {image.mode}, not RGB")
    placements = [place(contract, tile.height, tile.width) for tile in tiles]
    if not contract.antialias:
        if original != (image.height, image.width):
            raise ValueError(f"{contract.resize} without antialias needs the original pixels, not a reduced image")
        pixels = np.asarray(image)
        parts = [
            resample(
                pixels[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width],
                placed.height,
                placed.width,
                contract.resize,
            )
            for tile, placed in zip(tiles, placements, strict=True)
        ]
    else:
        down, across = image.height / original[0], image.width / original[1]  # less than 1 if the decoder reduced it
        boxes = [
            (tile.left * across, tile.top * down, (tile.left + tile.width) * across, (tile.top + tile.height) * down)
            for tile in tiles
        ]
        parts = _by_columns(image, contract, boxes, placements)
    return [_padded(part, contract, placed) for part, placed in zip(parts, placements, strict=True)]


def _by_columns(
    image: Image.Image, contract: Contract, boxes: Sequence[Box], placements: Sequence[Placement]
) -> list[NDArray[np.uint8]]:
    """Resize each part with Pillow's filter to the size of its placement; bit for bit what each part is alone."""
    columns: dict[tuple[float, float, int], list[int]] = defaultdict(list)
    for number, (left, _, right, _) in enumerate(boxes):
        columns[left, right, placements[number].width].append(number)
    parts: dict[int, NDArray[np.uint8]] = {}
    for (left, right, width), numbers in columns.items():
        across: Box
        strip, across = image, (left, 0, right, image.height)
        if len(numbers) > 1 and right - left > width:
            size = (width, image.height)
            strip, across = image.resize(size, _FILTERS[contract.resize], across), (0, 0, *size)
        for number in numbers:
            _, top, _, bottom = boxes[number]
            size, box = (width, placements[number].height), (across[0], top, across[2], bottom)
            unchanged = strip.size == size and box == (0, 0, *strip.size)
            parts[number] = np.asarray(strip if unchanged else strip.resize(size, _FILTERS[contract.resize], box))
    return [parts[number] for number in range(len(boxes))]


def _padded(part: NDArray[np.uint8], contract: Contract, placement: Placement) -> NDArray[np.uint8]:
    """Return an input of the contract's size with `part` at its place, and its padding around it."""
    shape = (contract.input_height, contract.input_width, 3)
    if part.shape == shape:
        return part
    padded = np.empty(shape, np.uint8)
    padded[:] = contract.pad_colour
    padded[placement.top : placement.top + placement.height, placement.left : placement.left + placement.width] = part
    return padded
