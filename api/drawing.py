"""Pictures drawn for callers: some at a time, and none larger than needed."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from typing import Any, Literal

from PIL import Image

from api.errors import BusyError
from workers.annotate import draw
from workers.images import decode

MOST_PIXELS = 12_000_000  # of a drawn picture; larger images are reduced
_AT_ONCE = 2
_PATIENCE_SECONDS = 10.0
_QUALITY = 90

PictureType = Literal["image/jpeg", "image/png"]
PICTURES: tuple[PictureType, ...] = ("image/jpeg", "image/png")


class DrawingBoard:
    """Draws detections on images. At most two at once: a picture takes some 20 bytes of memory a pixel."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(_AT_ONCE)

    def draw(self, content: bytes, result: Mapping[str, Any], kind: PictureType, max_pixels: int) -> bytes:
        """The image with the boxes of its result, encoded.

        Raises BusyError, ImageDecodeError, ImageTooLargeError, UnsupportedFormatError.
        """
        if not self._places.acquire(timeout=_PATIENCE_SECONDS):
            raise BusyError("Too many pictures are being drawn: ask again.")
        try:
            return _encoded(draw(_reduced(content, max_pixels, result), result), kind)
        finally:
            self._places.release()


def _reduced(content: bytes, max_pixels: int, result: Mapping[str, Any]) -> Image.Image:
    width, height = int(result["width"]), int(result["height"])
    scale = min(1.0, (MOST_PIXELS / (width * height)) ** 0.5)
    size = max(1, int(width * scale)), max(1, int(height * scale))
    # A JPEG comes at least twice as large as wanted, so half of what is needed is wanted.
    wanted = (max(1, (size[0] + 1) // 2), max(1, (size[1] + 1) // 2))
    image, _, _ = decode(content, max_pixels, lambda *_: wanted) if scale < 1 else decode(content, max_pixels)
    return image.resize(size, Image.Resampling.BOX) if scale < 1 else image


def _encoded(image: Image.Image, kind: PictureType) -> bytes:
    out = io.BytesIO()
    if kind == "image/png":
        image.save(out, "PNG", compress_level=3)
    else:
        image.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
