"""Decode the first picture of an AVIF with libavif itself.

Pillow's binding holds the planes, the pixels and a copy of them, keeps the planes while it copies them once more, and
lets no other thread run meanwhile. Here the planes go as soon as the pixels are made. They are the same to the bit.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

from PIL import Image

from workers.sources.codecs.native import library_of_pillow

_MAJOR_VERSION: Final = b"1."  # within which the structures below do not change
_LENIENT: Final = ~0b11 & 0xFFFFFFFF  # what Pillow clears of the strict flags: a missing pixi, an invalid clap
_THREADS: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_FORMATS: Final = {"RGB": 0, "RGBA": 1}  # avifRGBFormat


class _Decoder(ctypes.Structure):
    """The beginning of avifDecoder in avif.h."""

    _fields_ = (
        ("codec_choice", ctypes.c_int),
        ("max_threads", ctypes.c_int),
        ("requested_source", ctypes.c_int),
        ("allow_progressive", ctypes.c_int),
        ("allow_incremental", ctypes.c_int),
        ("ignore_exif", ctypes.c_int),
        ("ignore_xmp", ctypes.c_int),
        ("image_size_limit", ctypes.c_uint32),
        ("image_dimension_limit", ctypes.c_uint32),
        ("image_count_limit", ctypes.c_uint32),
        ("strict_flags", ctypes.c_uint32),
        ("image", ctypes.c_void_p),
    )


class _Pixels(ctypes.Structure):
    """avifRGBImage in avif.h."""

    _fields_ = (
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("depth", ctypes.c_uint32),
        ("format", ctypes.c_int),
        ("chroma_upsampling", ctypes.c_int),
        ("chroma_downsampling", ctypes.c_int),
        ("avoid_libyuv", ctypes.c_int),
        ("ignore_alpha", ctypes.c_int),
        ("alpha_premultiplied", ctypes.c_int),
        ("is_float", ctypes.c_int),
        ("max_threads", ctypes.c_int),
        ("pixels", ctypes.c_void_p),
        ("row_bytes", ctypes.c_uint32),
        ("added_later", ctypes.c_byte * 64),
    )


def decode_avif(content: bytes, image: Image.Image) -> Image.Image | None:
    """Return the first picture of an AVIF in RGB or RGBA; None if it must be read by Pillow, as grey ones are.

    `image` is the AVIF as Pillow opened it: its size and mode are right. Raises OSError if it is damaged.
    """
    library = libavif()
    if library is None or image.mode not in _FORMATS:
        return None
    buffer = bytearray(image.width * image.height * len(image.mode))
    with _decoder(library, content) as decoder:
        pixels = _Pixels()
        library.avifRGBImageSetDefaults(ctypes.byref(pixels), ctypes.c_void_p(decoder.image))
        if (pixels.width, pixels.height) != image.size:
            return None
        pixels.depth = 8
        pixels.format = _FORMATS[image.mode]
        pixels.row_bytes = image.width * len(image.mode)
        pixels.pixels = ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))
        _check(library, library.avifImageYUVToRGB(ctypes.c_void_p(decoder.image), ctypes.byref(pixels)))
    decoded = Image.frombuffer(image.mode, image.size, buffer, "raw", image.mode, 0, 1)  # RGBA is not copied
    decoded.info = image.info
    return decoded


@contextmanager
def _decoder(library: ctypes.CDLL, content: bytes) -> Iterator[_Decoder]:
    """Give a decoder that has decoded the first picture. It is destroyed at the end, with the planes."""
    pointer = library.avifDecoderCreate()
    if not pointer:
        raise MemoryError
    try:
        decoder = _Decoder.from_address(pointer)
        decoder.max_threads = _THREADS
        decoder.strict_flags &= _LENIENT
        handle = ctypes.c_void_p(pointer)
        _check(library, library.avifDecoderSetIOMemory(handle, content, ctypes.c_size_t(len(content))))
        _check(library, library.avifDecoderParse(handle))
        _check(library, library.avifDecoderNthImage(handle, ctypes.c_uint32(0)))
        yield decoder
    finally:
        library.avifDecoderDestroy(ctypes.c_void_p(pointer))


def _check(library: ctypes.CDLL, result: int) -> None:
    """Raise OSError if a function of libavif did not succeed."""
    if result:
        raise OSError(library.avifResultToString(result).decode(errors="replace"))


@lru_cache(maxsize=1)
def libavif() -> ctypes.CDLL | None:
    """Return the libavif that Pillow has loaded; None if it is not found or has another version."""
    library = library_of_pillow("avif")
    if library is None:
        return None
    library.avifVersion.restype = library.avifResultToString.restype = ctypes.c_char_p
    library.avifDecoderCreate.restype = ctypes.c_void_p
    return library if library.avifVersion().startswith(_MAJOR_VERSION) else None
