"""Image files for tests: whole, damaged in their pixels, and damaged beside their pixels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

PNG_START = b"\x89PNG\r\n\x1a\n"

# What a photo taken with a camera that is held in each way holds: its upright scene, turned like this.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return the file of an image in a format of Pillow."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def deep_avif(side: int, bits: int, bands: int) -> bytes:
    """Return an AVIF of 10 or 12 bits a sample with no plane smaller than the image, which Pillow cannot write.

    `bands` is 3 for RGB, 4 for RGBA.
    """
    import imagecodecs

    ramp = np.linspace(0, 2**bits - 1, side).astype(np.uint16)
    rows = np.broadcast_to(ramp, (side, side))
    pixels = np.stack([rows, rows.T, rows[:, ::-1], rows][:bands], axis=-1)
    content = imagecodecs.avif_encode(pixels, level=60, speed=10, bitspersample=bits, pixelformat="444")
    return bytes(content)


def by_pillow(content: bytes) -> Image.Image:
    """Return the first picture of a file as Pillow decodes it. Raises what Pillow's readers raise."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return image


def quarter_scene(width: int = 60, height: int = 40) -> Image.Image:
    """Return an image that is red in the upper left quarter, on a blue ground."""
    image = Image.new("RGB", (width, height), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, width // 2, height // 2))
    return image


def noise(width: int, height: int, mode: str = "RGB", seed: int = 5) -> Image.Image:
    """Return an image of random pixels, none of which is zero."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(seed).integers(1, 256, (height, width, bands), np.uint8)
    return Image.merge(mode, [Image.fromarray(values[..., band]) for band in range(bands)])


def oriented(kind: str, orientation: int, **options: object) -> bytes:
    """Return the file of `quarter_scene`, stored turned, with the EXIF orientation that turns it upright."""
    turn = STORED[orientation]
    stored = quarter_scene() if turn is None else quarter_scene().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(stored, kind, exif=exif, **options)


def png_chunk(kind: bytes, body: bytes, *, wrong_checksum: bool = False) -> bytes:
    """Return a chunk of a PNG."""
    checksum = zlib.crc32(kind + body) ^ wrong_checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind of each chunk of a PNG, and all its bytes."""
    at = len(PNG_START)
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        yield kind, content[at : at + 12 + length]
        at += 12 + length


def png_with(content: bytes, *chunks: bytes, behind_pixels: bool = False) -> bytes:
    """Return a PNG with more chunks: before its first IDAT, or behind its last."""
    parts = list(png_chunks(content))
    kinds = [kind for kind, _ in parts]
    at = kinds.index(b"IEND") if behind_pixels else kinds.index(b"IDAT")
    return b"".join((PNG_START, *(part for _, part in parts[:at]), *chunks, *(part for _, part in parts[at:])))


def png_with_pixel_data(content: bytes, data: bytes) -> bytes:
    """Return a PNG whose compressed pixel data are replaced by these, with a right checksum."""
    others = [(kind, part) for kind, part in png_chunks(content) if kind != b"IDAT"]
    begin = [part for kind, part in others if kind != b"IEND"]
    return b"".join((PNG_START, *begin, png_chunk(b"IDAT", data), png_chunk(b"IEND", b"")))


def png_pixel_data(content: bytes) -> bytes:
    """Return the compressed pixel data of a PNG."""
    return b"".join(part[8:-4] for kind, part in png_chunks(content) if kind == b"IDAT")


def with_flipped_byte(content: bytes, at: int) -> bytes:
    """Return a file with one byte changed."""
    return content[:at] + bytes((content[at] ^ 0x55,)) + content[at + 1 :]


def cut_or_flipped(content: bytes, cases: int = 40) -> list[bytes]:
    """Return copies of a file that are cut short, and copies with one byte changed: about so many of each."""
    step = max(1, len(content) // cases)
    cut = [content[:end] for end in range(20, len(content), step)]
    return cut + [with_flipped_byte(content, at) for at in range(12, len(content), step)]


def jpeg_segment(marker: int, body: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def jpeg_with(content: bytes, *segments: bytes) -> bytes:
    """Return a JPEG with more segments at its beginning."""
    return content[:2] + b"".join(segments) + content[2:]
