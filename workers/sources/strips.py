"""Cut an image into strips, so that what is done to its pixels needs no second image of the full size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from PIL import Image

_STRIP_PIXELS: Final = 250_000  # malloc may keep several strips for each thread that has decoded


def strips(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    """Yield the boxes (left, upper, right, lower) of strips as wide as the image, of one row or a few MB of pixels."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)
