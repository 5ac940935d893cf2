"""How many bytes of memory the decoding of an image takes, by its header.

The figures are bounds of what was measured, see docs/decisions/0021-decoding-memory.md and
tests/integration/workers/sources/test_decoding_memory.py.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from PIL import Image, JpegImagePlugin

from workers.sources.codecs.avif import libavif
from workers.sources.codecs.webp import libwebp
from workers.sources.damage.jpeg import jpeg_segments

_BYTES_PER_PIXEL: Final = 9  # as decoded, as RGB, and a little more
_BYTES_PER_PIXEL_OF_AVIF: Final = 10
_BYTES_PER_PIXEL_OF_DAV1D: Final = 1.6  # besides the planes
_BYTES_PER_DECODED_PIXEL: Final = 4  # of every image of Pillow with more than one channel
_BYTES_PER_PIXEL_OF_ANIMATION: Final = 21  # as which Pillow reads every WebP
_BYTES_PER_COEFFICIENT: Final = 2  # of a JPEG
_SCAN: Final = 0xDA  # marker of a JPEG
_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL, _PLANAR = 258, 277, 284  # tags of a TIFF
_STRIP_ROWS, _TILE_COLUMNS, _TILE_ROWS = 278, 322, 323
_AVIF_HEAD: Final = 1 << 16  # bytes at the start of an AVIF in which its description is looked for
_DEEP, _MONOCHROME, _HALF_WIDTH, _HALF_HEIGHT = 0x40, 0x10, 0x08, 0x04  # bits of the third byte of av1C
_DEEPEST: Final = _DEEP  # more than 8 bits a sample, and no plane smaller than the image
_AV1_CONFIGURATION: Final = re.compile(rb"av1C\x81.(.)", re.DOTALL)


def bytes_to_decode(image: Image.Image, size: tuple[int, int], content: bytes, *, beside: int = 0) -> int:
    """Return how many bytes it takes to decode an image, make it upright sRGB and resize it.

    `image` is open and not loaded. `size` is its width and height in pixels as stored; the size of a JPEG that is to be
    decoded at a reduced size is smaller. `beside` is how many images of its size are held meanwhile.
    """
    pixels = image.width * image.height
    if image.format == "AVIF":
        return pixels * max(_BYTES_PER_PIXEL_OF_AVIF, _avif_bytes_per_pixel(image, content))
    if image.format == "TIFF":
        return max(pixels * _BYTES_PER_PIXEL, _tiff_bytes(image, 1 + beside))
    if image.format == "WEBP" and libwebp() is None:
        return pixels * _BYTES_PER_PIXEL_OF_ANIMATION
    needed = pixels * _BYTES_PER_PIXEL
    if isinstance(image, JpegImagePlugin.JpegImageFile) and _keeps_coefficients(image, content):
        return max(needed, pixels * _BYTES_PER_DECODED_PIXEL + _coefficients(image, size) * _BYTES_PER_COEFFICIENT)
    return needed


def _keeps_coefficients(image: JpegImagePlugin.JpegImageFile, content: bytes) -> bool:
    """Return whether libjpeg keeps the coefficients of a whole JPEG: if no scan gives all of a block."""
    if "progressive" in image.info:
        return True
    scans = (start for marker, start, _ in jpeg_segments(content) if marker == _SCAN)
    first = next(scans, None)
    return first is not None and content[first + 4] < image.layers


def _coefficients(image: JpegImagePlugin.JpegImageFile, size: tuple[int, int]) -> int:
    """Return how many coefficients a JPEG has: one for each pixel of each component, which may be subsampled."""
    width, height = size
    factors = [(across, down) for _, across, down, _ in image.layer]
    whole = max((across for across, _ in factors), default=1) * max((down for _, down in factors), default=1)
    return width * height * sum(across * down for across, down in factors) // max(1, whole)


def _tiff_bytes(image: Image.Image, images: int) -> int:
    """Return how many bytes a TIFF and images take: libtiff decodes a tile or a strip at once, perhaps the only one."""
    tags: Any = getattr(image, "tag_v2", {})
    pieces: Any = getattr(image, "tile", ())
    if not any(piece[0] == "libtiff" for piece in pieces):
        return image.width * image.height * images * _BYTES_PER_DECODED_PIXEL

    def number(tag: int, default: int) -> int:
        value = tags.get(tag)
        return int(value) if isinstance(value, int) else default  # a damaged tag may have many values

    samples = number(_SAMPLES_PER_PIXEL, 1) if number(_PLANAR, 1) == 1 else 1
    rows, columns = number(_TILE_ROWS, number(_STRIP_ROWS, image.height)), number(_TILE_COLUMNS, image.width)
    bits = int(max(tags.get(_BITS_PER_SAMPLE, (1,))))
    at_once = min(rows, image.height) * columns * samples * bits // 8
    return image.width * image.height * images * _BYTES_PER_DECODED_PIXEL + at_once


def _avif_bytes_per_pixel(image: Image.Image, content: bytes) -> int:
    """Return how many bytes per pixel it takes at most to decode an AVIF: planes, pixels, and what dav1d keeps."""
    head = content[:_AVIF_HEAD]
    streams = [match[1][0] for match in _AV1_CONFIGURATION.finditer(head)] or [_DEEPEST]
    sample_bytes = max(map(_sample_bytes, streams))
    planes = max(map(_plane_bytes, streams)) + (sample_bytes if image.mode == "RGBA" else 0)
    copies = 2.0 if b"grid" in head else 1.0  # of streams, whose planes are put together in others
    if sample_bytes > 1:  # libavif makes planes of one byte a sample first, where libyuv converts no others
        copies += 1 / sample_bytes
    return math.ceil(planes * copies + len(image.mode) * (1 if libavif() else 2) + _BYTES_PER_PIXEL_OF_DAV1D)


def _sample_bytes(configuration: int) -> int:
    return 2 if configuration & _DEEP else 1


def _plane_bytes(configuration: int) -> float:
    """Return the bytes per pixel of the planes of an AV1 stream, by the third byte of its configuration."""
    samples = 1.0
    if not configuration & _MONOCHROME:
        samples += 2 / ((1 + bool(configuration & _HALF_WIDTH)) * (1 + bool(configuration & _HALF_HEIGHT)))
    return samples * _sample_bytes(configuration)
