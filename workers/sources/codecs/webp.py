"""Decode the first picture of a WebP with libwebp itself.

Pillow reads every WebP as an animation. That takes 16 bytes a pixel: two canvases, a copy of one, and the image. The
decoder of stills in libwebp, which comes with Pillow, takes 8. It gives the same pixels to the bit.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from workers.sources.codecs.native import library_of_pillow

_HEADER_BYTES = 12  # RIFF, size, WEBP
_FRAME_BYTES = 16  # of the head of a frame of an animation
_PICTURES = {b"VP8 ", b"VP8L"}
_ALPHA = 0x10  # a flag of VP8X


@dataclass(frozen=True)
class _Frame:
    """The first picture of a WebP as a file of its own, with its upper left corner and its size on the canvas.

    `size` is what the picture itself says, None if its header cannot be read.
    """

    still: bytes
    corner: tuple[int, int]
    size: tuple[int, int] | None


def decode_webp(content: bytes, image: Image.Image) -> Image.Image | None:
    """Return the first picture of a WebP in RGB or RGBA; None if it must be read by Pillow.

    What the first frame of an animation leaves free of its canvas is white, or transparent in RGBA. The size of that
    frame is what its picture says, as in browsers, whatever the head of the frame says. `image` is the WebP as Pillow
    opened it: its size is right and its mode is known. Raises OSError if it is damaged.
    """
    library = libwebp()
    frame = _first_frame(content, library) if library else None
    if frame is None or library is None:
        return None
    if frame.size is None:
        raise OSError("its header cannot be read")
    (left, top), (width, height) = frame.corner, frame.size
    if left + width > image.width or top + height > image.height:
        return None
    decoded = _decode(library, frame.still, frame.size, "RGBA" if image.mode == "RGBA" else "RGB")
    if frame.size != image.size:
        canvas = Image.new(decoded.mode, image.size, (255, 255, 255, 0)[: len(decoded.mode)])
        canvas.paste(decoded, frame.corner)
        decoded = canvas
    decoded.info = image.info
    return decoded


def _decode(library: ctypes.CDLL, still: bytes, size: tuple[int, int], mode: str) -> Image.Image:
    stride = size[0] * len(mode)
    pixels = bytearray(stride * size[1])
    target = (ctypes.c_uint8 * len(pixels)).from_buffer(pixels)
    decode = library.WebPDecodeRGBAInto if mode == "RGBA" else library.WebPDecodeRGBInto
    if not decode(still, ctypes.c_size_t(len(still)), target, ctypes.c_size_t(len(pixels)), ctypes.c_int(stride)):
        raise OSError("its pixel data are damaged or end too early")
    return Image.frombuffer(mode, size, pixels, "raw", mode, 0, 1)  # RGBA is not copied


@lru_cache(maxsize=1)
def libwebp() -> ctypes.CDLL | None:
    """Return the libwebp that Pillow has loaded; None if it is not found."""
    library = library_of_pillow("webp")
    if library:
        library.WebPDecodeRGBAInto.restype = library.WebPDecodeRGBInto.restype = ctypes.c_void_p
    return library


def _first_frame(content: bytes, library: ctypes.CDLL) -> _Frame | None:
    """Return the first picture of a WebP; None if there is none."""
    for kind, start, end in _chunks(content, _HEADER_BYTES):
        if kind in _PICTURES:
            still = content if end >= len(content) else _file(content[_HEADER_BYTES:end])
            return _Frame(still, (0, 0), _size(library, still))
        if kind == b"ANMF":
            body = content[start + 8 : end]
            left, top = (2 * int.from_bytes(body[at : at + 3], "little") for at in (0, 3))
            return _framed(body[_FRAME_BYTES:], (left, top), library)
    return None


def _framed(chunks: bytes, corner: tuple[int, int], library: ctypes.CDLL) -> _Frame | None:
    """Return the picture of a frame of an animation; `chunks` are what stands behind the head of the frame."""
    place = next(((start, end) for kind, start, end in _chunks(chunks, 0) if kind in _PICTURES), None)
    if place is None:
        return None
    start, end = place
    still = _file(chunks[start:end])
    size = _size(library, still)
    if size and start:  # alpha of a lossy picture stands before it, and belongs to a file with a head
        head = bytes((_ALPHA, 0, 0, 0)) + b"".join((side - 1).to_bytes(3, "little") for side in size)
        still = _file(b"VP8X" + len(head).to_bytes(4, "little") + head + chunks[:end])
    return _Frame(still, corner, size)


def _size(library: ctypes.CDLL, still: bytes) -> tuple[int, int] | None:
    width, height = ctypes.c_int(), ctypes.c_int()
    known = library.WebPGetInfo(still, ctypes.c_size_t(len(still)), ctypes.byref(width), ctypes.byref(height))
    return (width.value, height.value) if known else None


def _file(chunks: bytes) -> bytes:
    """Return a WebP that ends with its picture. libwebp reads on behind the chunk of one whose data are cut short."""
    padded = chunks + bytes(len(chunks) % 2)
    return b"RIFF" + (len(padded) + 4).to_bytes(4, "little") + b"WEBP" + padded


def _chunks(content: bytes, at: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, the start and the end of each chunk."""
    while at + 8 <= len(content):
        end = at + 8 + int.from_bytes(content[at + 4 : at + 8], "little")
        yield content[at : at + 4], at, end
        at = end + end % 2
