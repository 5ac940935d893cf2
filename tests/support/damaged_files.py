"""Damaged and odd files of the formats that browsers show, each beside the intact file that it was made of."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from PIL import Image

from tests.support.image_files import (
    encoded,
    jpeg_segment,
    jpeg_with,
    noise,
    png_chunk,
    png_pixel_data,
    png_with,
    png_with_pixel_data,
    with_flipped_byte,
)

BOMB = zlib.compress(bytes(9_000_000))
LONG = zlib.compress(b"all is well " * 100_000)
BESIDE_PIXELS_OF_PNG = {
    "zTXt, 1.2 MB inflated": png_chunk(b"zTXt", b"Comment\0\0" + LONG),
    "zTXt, 9 MB inflated": png_chunk(b"zTXt", b"Comment\0\0" + BOMB),
    "iTXt, 9 MB inflated": png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + BOMB),
    "iCCP, 9 MB inflated": png_chunk(b"iCCP", b"profile\0\0" + BOMB),
    "zTXt, unknown compression": png_chunk(b"zTXt", b"Comment\0\7" + LONG),
    "iCCP, unknown compression": png_chunk(b"iCCP", b"profile\0\7" + LONG),
    "iCCP, only a name": png_chunk(b"iCCP", b"profile\0"),
    "tEXt, wrong checksum": png_chunk(b"tEXt", b"Comment\0text", wrong_checksum=True),
    "pHYs, wrong checksum": png_chunk(b"pHYs", bytes(9), wrong_checksum=True),
    "unknown chunk, wrong checksum": png_chunk(b"abCd", b"x", wrong_checksum=True),
    "short gAMA": png_chunk(b"gAMA", b"\0"),
    "short pHYs": png_chunk(b"pHYs", b"\0"),
    "short sRGB": png_chunk(b"sRGB", b""),
    "short cHRM": png_chunk(b"cHRM", b"\0"),
    "short tRNS": png_chunk(b"tRNS", b"\0"),
    "short acTL": png_chunk(b"acTL", b"\0"),
    "short fcTL": png_chunk(b"fcTL", b"\0"),
}

BESIDE_PIXELS_OF_JPEG = {
    "short APP14": jpeg_segment(0xEE, b"Adobe"),
    "APP14 without its last byte": jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0"),
    "short JFIF": jpeg_segment(0xE0, b"JFIF\0"),
    "short Photoshop block": jpeg_segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed"),
    "short MPF": jpeg_segment(0xE2, b"MPF\0II*\0\xff"),
    "damaged EXIF": jpeg_segment(0xE1, b"Exif\0\0MM\0*\0\0\xff\xff"),
}


@dataclass(frozen=True)
class Damaged:
    """A file, and the file that it was made of."""

    content: bytes
    intact: bytes


def damaged_files() -> dict[str, Damaged]:
    """Return the files by what is wrong with them; the first word is the format."""
    scene, smooth = noise(96, 64), noise(9, 6, seed=7).resize((96, 64), Image.Resampling.BICUBIC)
    png, gif = encoded(scene, "PNG"), encoded(scene.quantize(60), "GIF")
    jpegs = {
        "JPEG": encoded(smooth, "JPEG", quality=90),
        "JPEG progressive": encoded(smooth, "JPEG", quality=90, progressive=True),
        "JPEG with restarts": encoded(smooth, "JPEG", quality=90, restart_marker_blocks=2),
        "JPEG grey": encoded(smooth.convert("L"), "JPEG", quality=90),
    }
    cases = {
        f"PNG, {what}, {'behind' if behind else 'before'} the pixels": Damaged(
            png_with(png, chunk, behind_pixels=behind), png
        )
        for what, chunk in BESIDE_PIXELS_OF_PNG.items()
        for behind in (False, True)
    }
    cases |= {name: Damaged(content, png) for name, content in _of_png(png).items()}
    for name, jpeg in jpegs.items():
        cases |= {f"{name}, {what}": Damaged(content, jpeg) for what, content in _of_jpeg(jpeg).items()}
    jpeg = jpegs["JPEG"]
    cases |= {
        f"JPEG, {what}": Damaged(jpeg_with(jpeg, segment), jpeg) for what, segment in BESIDE_PIXELS_OF_JPEG.items()
    }
    others = {
        "GIF": gif,
        "GIF animated": encoded(scene, "GIF", save_all=True, append_images=[smooth]),
        "BMP": encoded(scene, "BMP"),
        "WEBP": encoded(smooth, "WEBP"),
        "WEBP lossless": encoded(scene, "WEBP", lossless=True),
        "AVIF": encoded(smooth, "AVIF"),
    }
    for name, content in others.items():
        cases |= {f"{name}, {what}": Damaged(other, content) for what, other in _of_any(content).items()}
    return cases


def _of_any(content: bytes) -> dict[str, bytes]:
    """Return files with damage that any format may have."""
    half, most = len(content) // 2, len(content) * 9 // 10
    return {
        "whole": content,
        "cut in the middle": content[:half],
        "cut at 90 %": content[:most],
        "without its last byte": content[:-1],
        "with more behind its end": content + b"more than there should be",
        "zeros from the middle on": content[:half] + bytes(len(content) - half),
        "64 zeros in the middle": content[:half] + bytes(64) + content[half + 64 :],
    }


def _of_png(png: bytes) -> dict[str, bytes]:
    data = png_pixel_data(png)
    at = png.index(data)
    rows = zlib.decompress(data)
    return {
        **{f"PNG, {what}": content for what, content in _of_any(png).items()},
        "PNG, byte flipped at 5 % of the pixels": with_flipped_byte(png, at + len(data) // 20),
        "PNG, byte flipped at 95 % of the pixels": with_flipped_byte(png, at + len(data) * 19 // 20),
        "PNG, wrong checksum of its pixels alone": with_flipped_byte(png, at + len(data)),
        "PNG, wrong checksum in its pixels alone": png_with_pixel_data(png, with_flipped_byte(data, len(data) - 1)),
        "PNG, another pixel, not compressed, old checksums": _with_other_pixel(png),
        "PNG, half of its rows": png_with_pixel_data(png, zlib.compress(rows[: len(rows) // 2])),
        "PNG, more rows than it says": png_with_pixel_data(png, zlib.compress(rows + rows[:289])),
        "PNG, no IEND": png[:-12],
        "PNG, no pixels": png_with_pixel_data(png, b""),
        "PNG, wrong checksum of its header": with_flipped_byte(png, 30),
        "PNG, line ends changed in transfer": png.replace(b"\r\n", b"\n"),
    }


def _of_jpeg(jpeg: bytes) -> dict[str, bytes]:
    scan = jpeg.index(b"\xff\xda") + 14
    middle = (scan + len(jpeg)) // 2
    return {
        **_of_any(jpeg),
        "no end marker": jpeg[:-2],
        "half of an end marker": jpeg[:-1],
        "zeros before its end marker": jpeg[:-2] + bytes(40) + jpeg[-2:],
        "zeros in place of its end marker": jpeg[:-2] + bytes(700),
        "cut in a scan, with an end marker": jpeg[:middle] + b"\xff\xd9",
        "an end marker in the middle of a scan": jpeg[:middle] + b"\xff\xd9" + jpeg[middle:],
        "cut at the start of its scan": jpeg[: scan - 14],
        "byte flipped at the start of its scan": with_flipped_byte(jpeg, scan),
        "byte flipped in the middle of its scan": with_flipped_byte(jpeg, middle),
        "bytes before its start": b"\r\n" + jpeg,
    }


def _with_other_pixel(png: bytes) -> bytes:
    """Return a PNG whose pixel data are not compressed, and one byte of them is not what their checksums say."""
    rows = zlib.decompress(png_pixel_data(png))
    stored = zlib.compress(rows, 0)
    whole = png_with_pixel_data(png, stored)
    return with_flipped_byte(whole, whole.index(stored) + len(stored) // 2)
