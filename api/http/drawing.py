"""Draw pictures with boxes for callers, with a limit on how many are drawn at the same time."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from typing import Any, Literal

from api.http.errors import BusyError
from workers.results.drawing import draw, drawable, drawing_share, save_jpeg

_MAX_DRAWINGS = 2
_WAIT_SECONDS = 10.0

PictureType = Literal["image/jpeg", "image/png"]
PICTURES: tuple[PictureType, ...] = ("image/jpeg", "image/png")


class DrawingBoard:
    """Draws detections on images of at most `max_pixels`, at most two at the same time.

    Each waits for its share of the memory that the process may decode in.
    """

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._places = threading.BoundedSemaphore(_MAX_DRAWINGS)

    def draw(self, content: bytes, result: Mapping[str, Any], kind: PictureType) -> bytes:
        """Draw the boxes of a result on its image and return the encoded picture.

        Raises BusyError if no place becomes free in 10 s; ImageDecodeError, ImageTooLargeError,
        UnsupportedFormatError.
        """
        if not self._places.acquire(timeout=_WAIT_SECONDS):
            raise BusyError("Too many pictures are being drawn. Try again later.")
        try:
            output = io.BytesIO()
            with drawing_share(self._max_pixels, result) as share:
                picture = draw(drawable(content, self._max_pixels, result, share), result)
                if kind == "image/png":
                    picture.save(output, "PNG", compress_level=3)
                else:
                    save_jpeg(picture, output)
        finally:
            self._places.release()
        return output.getvalue()
