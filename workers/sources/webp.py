"""Decode the first picture of a WebP with libwebp itself.

Pillow reads every WebP as an animation. That takes 16 bytes a pixel: two canvases, a copy of one, and the image. The
decoder of stills in libwebp, which comes with Pillow, takes 8. It gives the same pixels to the bit.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import PIL
from PIL import Image

_HEADER_BYTES = 12  # RIFF, size, WEBP
_FRAME_BYTES = 16  # of the head of a frame of an animation
_ALPHA = 0x10  # a flag of VP8X


def decode_webp(content: bytes, image: Image.Image) -> Image.Image | None:
    """Return the first picture of a WebP in RGB or RGBA; None if it must be read by Pillow.

    `image` is the WebP as Pillow opened it: its size is right and its mode is known. Raises OSError if it is damaged.
    """
    still, library = _still(content, image.size), _libwebp()
    if still is None or library is None:
        return None
    width, height = ctypes.c_int(), ctypes.c_int()
    if not library.WebPGetInfo(still, ctypes.c_size_t(len(still)), ctypes.byref(width), ctypes.byref(height)):
        raise OSError("its header cannot be read")
    if (width.value, height.value) != image.size:
        return None
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    stride = image.width * len(mode)
    pixels = bytearray(stride * image.height)
    target = (ctypes.c_uint8 * len(pixels)).from_buffer(pixels)
    decode = library.WebPDecodeRGBAInto if mode == "RGBA" else library.WebPDecodeRGBInto
    if not decode(still, ctypes.c_size_t(len(still)), target, ctypes.c_size_t(len(pixels)), ctypes.c_int(stride)):
        raise OSError("its pixel data are damaged or end too early")
    decoded = Image.frombuffer(mode, image.size, pixels, "raw", mode, 0, 1)  # RGBA is not copied
    decoded.info = image.info
    return decoded


@lru_cache(maxsize=1)
def _libwebp() -> ctypes.CDLL | None:
    """Return the libwebp that Pillow has loaded: the one in its wheel, else the system's. None if there is none."""
    package = Path(PIL.__file__).parent
    carried = [*package.parent.glob("pillow.libs/libwebp-*"), *package.glob(".dylibs/libwebp.*")]
    path = str(carried[0]) if carried else ctypes.util.find_library("webp")
    try:
        library = ctypes.CDLL(path) if path else None
    except OSError:
        return None
    if library:
        library.WebPDecodeRGBAInto.restype = library.WebPDecodeRGBInto.restype = ctypes.c_void_p
    return library


def _still(content: bytes, canvas: tuple[int, int]) -> bytes | None:
    """Return a WebP, or the first frame of an animation as a WebP. Return None if that does not fill the canvas."""
    for kind, body in _chunks(content, _HEADER_BYTES):
        if kind in {b"VP8 ", b"VP8L"}:
            return content
        if kind == b"ANMF":
            left, top, width, height = (int.from_bytes(body[at : at + 3], "little") for at in (0, 3, 6, 9))
            if (left, top, width + 1, height + 1) != (0, 0, *canvas):
                return None
            head = bytes((_ALPHA, 0, 0, 0)) + body[6:12]
            chunks = b"VP8X" + len(head).to_bytes(4, "little") + head + body[_FRAME_BYTES:]
            return b"RIFF" + (len(chunks) + 4).to_bytes(4, "little") + b"WEBP" + chunks
    return None


def _chunks(content: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    while at + 8 <= len(content):
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        yield content[at : at + 4], content[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
