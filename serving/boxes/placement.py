"""Where a photo or a tile lies in the model's input, stretched or letterboxed, and boxes back from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.contract import Contract


@dataclass(frozen=True)
class Placement:
    """The rectangle of the input that shows a part of a photo: `top`, `left`, `height`, `width` in whole pixels.

    `down` and `across` are the input's pixels for one pixel of the photo, vertically and horizontally.
    """

    top: int
    left: int
    height: int
    width: int
    down: float
    across: float


def place(contract: Contract, height: int, width: int) -> Placement:
    """Return the placement of a part of `height` x `width` pixels of the upright original.

    A letterbox is rounded as by LetterBox of Ultralytics and `letterbox` of YOLOv5: sides to the nearest whole pixel,
    halves to the even one; of an odd padding the larger half is at the bottom or right.
    """
    if contract.resize_mode == "stretch":
        rows, columns = contract.input_height, contract.input_width
        return Placement(0, 0, rows, columns, rows / height, columns / width)
    scale = min(contract.input_height / height, contract.input_width / width)
    if not contract.upscale:
        scale = min(scale, 1.0)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = contract.input_height - rows, contract.input_width - columns
    if contract.align == "centre":
        return Placement(top // 2, left // 2, rows, columns, scale, scale)
    return Placement(0, 0, rows, columns, scale, scale)


def boxes_in_part(boxes: NDArray[np.float32], contract: Contract, height: int, width: int) -> NDArray[np.float32]:
    """Map boxes (K, 4), [ymin, xmin, ymax, xmax], from the model's input to the part of a photo that it shows.

    `boxes` are normalised to the input; the result is normalised to the part of `height` x `width` pixels, and clipped
    to it. A letterbox's boxes are divided by its scale before the rounding of the sides, as Ultralytics' `scale_boxes`
    does: models learn from labels that were multiplied by it. At the far edge of the shorter side this is up to half a
    pixel of the input beside the pixels that it shows.
    """
    if contract.resize_mode == "stretch":
        return boxes
    placement = place(contract, height, width)
    size: NDArray[Any] = np.array([contract.input_height, contract.input_width] * 2, np.float64)
    start = np.array([placement.top, placement.left] * 2)
    shown = np.array([height * placement.down, width * placement.across] * 2)
    mapped: NDArray[np.float32] = np.clip((boxes * size - start) / shown, 0, 1).astype(np.float32)
    return mapped
