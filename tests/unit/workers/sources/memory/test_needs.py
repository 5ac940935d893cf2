"""How much memory a file is said to need, by its header. What it takes is measured in test_decoding_memory.py."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.depth_files import tiff
from tests.support.image_files import encoded, noise
from workers.sources.codecs import avif, webp
from workers.sources.memory import needs
from workers.sources.memory.needs import bytes_to_decode

WIDTH, HEIGHT = 64, 48


def needed(content: bytes, draft: tuple[int, int] | None = None) -> float:
    """Return the bytes per pixel of the original that a file needs."""
    with Image.open(io.BytesIO(content)) as image:
        size = image.size
        if draft:
            image.draft(None, draft)
        return bytes_to_decode(image, size, content) / (WIDTH * HEIGHT)


def file(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    return encoded(noise(WIDTH, HEIGHT, mode), kind, **options)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG"])
def test_most_formats_need_the_same(kind: str) -> None:
    """The image as it is decoded, and as RGB."""
    assert needed(file(kind)) == 9


def test_a_tiff_in_one_strip_needs_the_strip() -> None:
    """It is decoded whole. Uncompressed it is read row by row, and of many strips each is small."""
    samples = np.zeros((HEIGHT, WIDTH, 4), np.uint16)
    assert needed(tiff(samples[..., :3])) == 9
    assert needed(tiff(samples[..., :3], compressed=True)) == 10
    assert needed(tiff(samples, compressed=True)) == 12
    assert needed(file("TIFF", "RGBA", compression="tiff_lzw")) == 9
    content = tiff(samples[..., :3], compressed=True)
    with Image.open(io.BytesIO(content)) as image:
        assert bytes_to_decode(image, image.size, content, beside=1) == 14 * WIDTH * HEIGHT


@pytest.mark.parametrize("tag", [277, 278, 284, 322, 323])
def test_a_damaged_tag_of_a_tiff_counts_for_nothing(tag: int) -> None:
    """One with thousands of values in place of a number; to multiply it would make a tuple of millions."""
    content = tiff(np.zeros((HEIGHT, WIDTH), np.uint16), compressed=True)
    with Image.open(io.BytesIO(content)) as image:
        image.tag_v2._tags_v2[tag] = (1,) * 5000  # type: ignore[attr-defined]
        assert bytes_to_decode(image, image.size, content) == 9 * WIDTH * HEIGHT


@pytest.mark.parametrize(
    ("content", "whole", "reduced"),
    [
        (file("JPEG"), 9, 9 / 64),
        (file("JPEG", "CMYK"), 9, 9 / 64),
        (file("JPEG", "L", progressive=True), 9, 4 / 64 + 2),
        (file("JPEG", progressive=True, subsampling="4:4:4"), 10, 4 / 64 + 6),
        (file("JPEG", progressive=True, subsampling="4:2:0"), 9, 4 / 64 + 3),
        (file("JPEG", "CMYK", progressive=True), 12, 4 / 64 + 8),
    ],
    ids=["baseline", "CMYK", "grey", "4:4:4", "4:2:0", "progressive CMYK"],
)
def test_a_progressive_jpeg_needs_its_coefficients(content: bytes, whole: float, reduced: float) -> None:
    """Two bytes for each, however small the image is decoded; fewer of them where the colours are subsampled."""
    assert needed(content) == whole
    assert needed(content, (WIDTH // 8, HEIGHT // 8)) == reduced


def test_a_jpeg_with_a_scan_for_each_component_needs_its_coefficients() -> None:
    """As a progressive one: libjpeg can show nothing before the last scan."""
    content = bytearray(file("JPEG", subsampling="4:4:4"))
    scan = content.index(b"\xff\xda")
    content[scan : scan + 14] = b"\xff\xda\x00\x08\x01" + bytes(content[scan + 5 : scan + 7]) + b"\x00\x3f\x00"
    assert needed(bytes(content)) == 10


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (file("AVIF"), 10),
        (file("AVIF", subsampling="4:4:4"), 10),
        (file("AVIF", "RGBA"), 10),
        (file("AVIF", "RGBA", subsampling="4:4:4"), 10),
    ],
)
def test_an_avif_of_eight_bits_needs_no_more(content: bytes, expected: int) -> None:
    """Its planes go as soon as its pixels are made."""
    assert needed(content) == expected


@pytest.mark.parametrize(
    ("mode", "subsampling", "expected"), [("RGB", "4:2:0", 10), ("RGB", "4:4:4", 14), ("RGBA", "4:4:4", 18)]
)
def test_a_deep_avif_needs_planes_of_two_bytes_a_sample(mode: str, subsampling: str, expected: int) -> None:
    """And planes of one byte, which libavif makes of them; measured are 8.5, 13.3 and 17.5."""
    content = file("AVIF", mode, subsampling=subsampling)
    deep = bytearray(content)
    at = deep.index(b"av1C")
    deep[at + 6] |= 0x40
    with Image.open(io.BytesIO(content)) as image:
        assert bytes_to_decode(image, image.size, bytes(deep)) == expected * WIDTH * HEIGHT


def test_an_avif_that_says_nothing_needs_the_most() -> None:
    """A header that is not found, and an image that is put together of tiles."""
    content = file("AVIF", "RGBA", subsampling="4:4:4")
    with Image.open(io.BytesIO(content)) as image:
        for unknown, expected in ((content.replace(b"av1C", b"avXX"), 18), (content.replace(b"av01", b"grid"), 14)):
            assert bytes_to_decode(image, image.size, unknown) == expected * WIDTH * HEIGHT


def test_without_the_libraries_pillow_needs_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds copies of the pixels, and reads each WebP as an animation."""
    monkeypatch.setattr(needs, "libavif", lambda: None)
    monkeypatch.setattr(needs, "libwebp", lambda: None)
    assert needed(file("AVIF", "RGBA")) == 13
    assert needed(file("WEBP")) == 21
    assert avif.libavif() is not None
    assert webp.libwebp() is not None
