"""A small valid file of each format and kind that is read, none of whose pixels is black, white or middle grey."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image

from tests.support.depth_files import png_16
from tests.support.image_files import PNG_START, encoded, noise, png_chunk, png_pixel_data

_WIDTH, _HEIGHT = 41, 34
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def valid_files() -> dict[str, bytes]:
    """Return the files by what they are; the first word is the format."""
    scene = noise(_WIDTH, _HEIGHT)
    smooth = noise(6, 5, seed=7).resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC)
    clear = Image.merge("RGBA", (*scene.split(), noise(_WIDTH, _HEIGHT, "L", seed=6)))
    grey = noise(_WIDTH, _HEIGHT, "L")
    palette = scene.quantize(60)
    samples = np.random.default_rng(3).integers(2000, 60_000, (_HEIGHT, _WIDTH), np.uint16)
    png, other = encoded(scene, "PNG"), noise(_WIDTH, _HEIGHT, seed=9)
    return {
        "JPEG": encoded(smooth, "JPEG", quality=90),
        "JPEG 4:4:4": encoded(scene, "JPEG", quality=60, subsampling=0),
        "JPEG progressive": encoded(smooth, "JPEG", quality=90, progressive=True),
        "JPEG with restarts": encoded(smooth, "JPEG", quality=90, restart_marker_blocks=2),
        "JPEG grey": encoded(smooth.convert("L"), "JPEG", quality=90),
        "JPEG CMYK": encoded(smooth.convert("CMYK"), "JPEG", quality=90),
        "PNG": png,
        "PNG in parts": _in_parts(png),
        "PNG interlaced": _interlaced(scene),
        "PNG with alpha": encoded(clear, "PNG"),
        "PNG grey": encoded(grey, "PNG"),
        "PNG grey with alpha": encoded(Image.merge("LA", (grey, grey.transpose(Image.Transpose.ROTATE_180))), "PNG"),
        "PNG palette": encoded(palette, "PNG", transparency=3),
        "PNG of 1 bit": encoded(grey.convert("1"), "PNG"),
        "PNG of 16 bits": png_16(samples),
        "GIF": encoded(palette, "GIF"),
        "GIF animated": encoded(palette, "GIF", save_all=True, append_images=[other.quantize(60)]),
        "WEBP lossy": encoded(smooth, "WEBP", quality=90),
        "WEBP lossless": encoded(scene, "WEBP", lossless=True),
        "WEBP with alpha": encoded(clear, "WEBP", quality=80),
        "WEBP animated": encoded(smooth, "WEBP", save_all=True, append_images=[other]),
        "TIFF": encoded(scene, "TIFF"),
        "TIFF LZW": encoded(scene, "TIFF", compression="tiff_lzw"),
        "TIFF deflate": encoded(scene, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF packbits": encoded(scene, "TIFF", compression="packbits"),
        "BMP": encoded(scene, "BMP"),
        "BMP palette": encoded(palette, "BMP"),
        "AVIF": encoded(smooth, "AVIF", quality=80, subsampling="4:4:4"),
        "AVIF with alpha": encoded(clear, "AVIF", quality=80),
        "PPM": encoded(scene, "PPM"),
        "PPM grey": encoded(grey, "PPM"),
    }


def _in_parts(png: bytes) -> bytes:
    """Return a PNG whose pixel data lie in many chunks."""
    data = png_pixel_data(png)
    parts = [png_chunk(b"IDAT", data[at : at + 500]) for at in range(0, len(data), 500)]
    return b"".join((png[:33], *parts, png_chunk(b"IEND", b"")))


def _interlaced(image: Image.Image) -> bytes:
    """Return an RGB image as an interlaced PNG."""
    pixels = np.asarray(image)
    rows = (
        b"\0" + row.tobytes()
        for left, top, across, down in _PASSES
        for row in pixels[top::down, left::across]
        if row.size
    )
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 1)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"".join(rows))) + png_chunk(b"IEND", b"")
    return PNG_START + body
