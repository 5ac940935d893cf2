"""PNG: a copy without damaged chunks beside its pixels, and whether it lacks rows or its colours."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np
from PIL import Image

MAX_INFLATED: Final = 8_000_000  # bytes of a compressed text or profile of a PNG; libpng's limit in browsers
PNG_START: Final = b"\x89PNG\r\n\x1a\n"

_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_SIZES = {b"gAMA": {4}, b"cHRM": {32}, b"sRGB": {1}, b"cICP": {4}}  # of the chunks that say how colours are meant
_TRNS_SIZES = {0: range(2, 3), 2: range(6, 7), 3: range(1, 257)}  # by the colour type of the PNG
_HEADER, _COLOUR_TYPE = 16, 25  # their places in the file
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the colour type
# Of an interlaced PNG (PNG specification, 8.1): the first column and row of each pass, and the steps to the next ones.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE_BYTES = 1 << 18


def png_without_extras(content: bytes) -> bytes:
    """Return a PNG without its ancillary chunks, but for intact ones that say something of its picture."""
    parts, at = [content[: len(PNG_START)]], len(PNG_START)
    colour_type = content[_COLOUR_TYPE] if len(content) > _COLOUR_TYPE else 0
    for kind, body, intact in _chunks(content):
        end = at + 12 + len(body)
        if kind in _PIXELS or (intact and _keeps(kind, bytes(body), colour_type)):
            parts.append(content[at:end])
        at = end
        if kind == b"IEND":
            break
    return b"".join(parts)


def begins_with_header(content: bytes) -> bool:
    """Return whether a PNG's first chunk is its header. Pillow takes chunks in any order, and other readers do not."""
    return content[_HEADER - 4 : _HEADER] == b"IHDR"


def lacks_palette(content: bytes) -> bool:
    """Return whether a PNG's pixels are numbers of colours that it does not give. Pillow would show them as grey."""
    if content[_COLOUR_TYPE : _COLOUR_TYPE + 1] != b"\x03":
        return False
    before = itertools.takewhile(lambda chunk: chunk[0] != b"IDAT", _chunks(content))
    return not any(kind == b"PLTE" and len(body) >= 3 for kind, body, _ in before)


def lacks_rows(image: Image.Image, content: bytes) -> bool:
    """Return whether the compressed data of a PNG end before its last row, and Pillow left the rest zero.

    Pillow says nothing if they end with a row. Only if one of the last two rows of `image`, the decoded PNG, is zero
    (interlaced, each second row comes last), the data are inflated once more.
    """
    rows = (image.crop((0, row, image.width, row + 1)) for row in range(max(0, image.height - 2), image.height))
    if all(np.asarray(row).any() for row in rows):
        return False
    missing = _bytes_needed(content)
    inflater = zlib.decompressobj()
    for body in (body for kind, body, _ in _chunks(content) if kind == b"IDAT"):
        data: bytes | memoryview = body
        while data and missing > 0:
            missing -= len(inflater.decompress(data, _PIECE_BYTES))
            data = inflater.unconsumed_tail
    return missing > 0


def _bytes_needed(content: bytes) -> int:
    """Return how many bytes the pixel data of a PNG have, inflated: each row, and a byte that names its filter."""
    width, height, depth, colour_type, interlaced = struct.unpack_from(">IIBB2xB", content, _HEADER)
    bits = depth * _CHANNELS[colour_type]
    grids = _PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = ((len(range(left, width, across)), len(range(top, height, down))) for left, top, across, down in grids)
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns)


def _chunks(content: bytes) -> Iterator[tuple[bytes, memoryview, bool]]:
    """Yield the kind and body of each chunk, and whether its checksum is right. The last may be cut short."""
    view, at = memoryview(content), len(PNG_START)
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        body = view[at + 8 : at + 8 + length]
        checksum = content[at + 8 + length : at + 12 + length]
        yield kind, body, checksum == struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
        at += 12 + length


def _keeps(kind: bytes, body: bytes, colour_type: int) -> bool:
    """Return whether a chunk with the right checksum says something of the picture, and can be read."""
    if kind == b"tRNS":
        return len(body) in _TRNS_SIZES.get(colour_type, ())
    if kind == b"iCCP":
        name, _, profile = body.partition(b"\0")
        inflater = zlib.decompressobj()
        try:
            inflater.decompress(profile[1:], MAX_INFLATED)
        except zlib.error:
            return False
        return bool(name) and profile[:1] == b"\0" and inflater.eof
    return kind == b"eXIf" or len(body) in _SIZES.get(kind, ())
