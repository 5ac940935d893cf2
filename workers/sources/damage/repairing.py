"""Repair a file that is damaged beside its pixels, as browsers show it, and find lost pixels that Pillow does not tell.

Pillow refuses a whole PNG or JPEG for one bad chunk of text or one short segment, and a JPEG that lacks only its end
marker. Browsers ignore such damage. What is done here never invents a pixel.
"""

from __future__ import annotations

import re

from PIL import Image

from workers.sources.damage.jpeg import JPEG_START, BeforeLoad, has_lost_blocks, jpeg_with_end, jpeg_without_extras
from workers.sources.damage.png import PNG_START, begins_with_header, lacks_palette, lacks_rows, png_without_extras
from workers.sources.damage.tiff import lacks_blocks


def without_extras(content: bytes) -> bytes:
    """Return a PNG, JPEG or AVIF without what stands beside its pixels; any other file as it is.

    Chunks and segments that tell the colours, the transparency and the orientation stay if they are intact.
    """
    if content.startswith(PNG_START):
        return png_without_extras(content)
    if content.startswith(JPEG_START):
        return jpeg_without_extras(content)
    return _avif_without_exif(content) if content[4:8] == b"ftyp" else content


def with_end(content: bytes, max_pixels: int, before_load: BeforeLoad) -> bytes:
    """Return a JPEG with its end marker, if that is all that it lacks; any other file as it is.

    The JPEG is decoded three times, if it has at most `max_pixels`. `before_load` is called with the image each time
    before that.
    """
    return jpeg_with_end(content, max_pixels, before_load) if content.startswith(JPEG_START) else content


def check_pixels(image: Image.Image, content: bytes, max_pixels: int, before_load: BeforeLoad) -> None:
    """Raise OSError if a file that Pillow decoded without an error lacks pixels or their colours.

    `image` is the decoded file, before its colours are changed. `max_pixels` and `before_load` are as for
    `with_end`.
    """
    if content.startswith(PNG_START):
        if not begins_with_header(content):
            raise OSError("its header does not come first")
        if lacks_palette(content):
            raise OSError("its palette is missing")
        if lacks_rows(image, content):
            raise OSError("its pixel data end too early")
    if content.startswith(JPEG_START) and has_lost_blocks(image, content, max_pixels, before_load):
        raise OSError("its pixel data end too early")
    if image.format == "TIFF" and lacks_blocks(image, content):
        raise OSError("its pixel data end too early")


def _avif_without_exif(content: bytes) -> bytes:
    """Return an AVIF whose EXIF block is not looked at; its orientation stands in a box of its own."""
    return re.sub(rb"(infe[\x02\x03].{3}(?:.{4}|.{6}))Exif", rb"\1free", content, count=1, flags=re.DOTALL)
