"""Decoding: every mode upright and in RGB, every kind of damage its own error."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin, TiffTags

from serving.boxes.preprocess import resize_to_input
from tests.support.image_files import STORED, encoded, noise, oriented, quarter_scene
from tests.support.models import tiny_contract
from workers.errors import ImageDecodeError, ImageError, ImageTooLargeError, UnsupportedFormatError
from workers.sources import strips
from workers.sources.decoding import decode, to_rgb

LIMIT = 1_000_000
SAMPLES = Path(__file__).parents[4] / "samples"
SIXTY = tiny_contract(height=60, width=60)


ORIENTED: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("JPEG", {"quality": 95}),
    "progressive JPEG": ("JPEG", {"quality": 95, "progressive": True}),
    "PNG": ("PNG", {}),
    "WebP": ("WEBP", {"quality": 95}),
    "lossless WebP": ("WEBP", {"lossless": True}),
    "AVIF": ("AVIF", {"quality": 95}),
    **{
        f"TIFF {compression}": ("TIFF", {"compression": compression})
        for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma")
    },
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("variant", ORIENTED)
def test_exif_orientation_is_applied_once(variant: str, orientation: int) -> None:
    """However a camera was held, red is in the upper left of what is decoded, and the size is the upright one."""
    kind, options = ORIENTED[variant]
    content = oriented(kind, orientation, **options)
    for wanted in (None, lambda *_: (30, 20)):
        image, width, height = decode(content, LIMIT, wanted)
        assert (width, height) == (60, 40)
        shown = np.asarray(image.resize((60, 40))).astype(int)
        redder = shown[..., 0] > shown[..., 2]
        assert redder[3:17, 3:27].all()
        assert not redder[23:, :].any()
        assert not redder[:, 33:].any()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "CMYK", "I;16"])
def test_a_tiff_of_any_mode_is_turned_once(mode: str, orientation: int) -> None:
    """A TIFF shows the same as a PNG or JPEG with the same pixels and tag."""
    upright = Image.fromarray(np.arange(24, dtype=np.uint16).reshape(4, 6) * 2000)
    if mode != "I;16":
        upright = noise(6, 4, mode)
    turn = STORED[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(upright if turn is None else upright.transpose(turn), "TIFF", exif=exif)
    image, width, height = decode(content, LIMIT)
    assert (width, height) == (6, 4)
    assert np.asarray(image).tolist() == np.asarray(to_rgb(upright)).tolist()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_damaged_exif_block_is_no_orientation() -> None:
    """A picture that can be seen is decoded, whatever its EXIF block holds."""
    content = encoded(quarter_scene(), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\xff\xff")
    assert decode(content, LIMIT)[1:] == (60, 40)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    """The middle of a 16-bit range is the middle of 8 bits."""
    grey = Image.fromarray(np.full((4, 4), 0x8000, np.uint16))
    image, _, _ = decode(encoded(grey, "PNG"), LIMIT)
    assert np.asarray(image).tolist() == [[[128, 128, 128]] * 4] * 4
    tiff, _, _ = decode(encoded(grey, "TIFF"), LIMIT)
    assert np.asarray(tiff)[0, 0].tolist() == [128, 128, 128]


def test_transparency_lies_over_white() -> None:
    """What is fully transparent is white, in RGBA, grey with alpha, and palettes with a transparent entry."""
    for mode, colour in (("RGBA", (200, 0, 0, 0)), ("LA", (10, 0))):
        image, _, _ = decode(encoded(Image.new(mode, (3, 3), colour), "PNG"), LIMIT)
        assert np.asarray(image).min() == 255
    palette = Image.new("P", (3, 3), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    image, _, _ = decode(encoded(palette, "PNG", transparency=1), LIMIT)
    assert np.asarray(image).min() == 255


@pytest.mark.parametrize(("mode", "kind"), [("CMYK", "JPEG"), ("P", "PNG"), ("1", "PNG"), ("L", "JPEG"), ("P", "GIF")])
def test_other_modes_become_rgb(mode: str, kind: str) -> None:
    """CMYK, palettes, grey and bilevel keep their colours as far as the mode has them."""
    image, width, height = decode(encoded(quarter_scene().convert(mode), kind), LIMIT)
    assert (image.mode, width, height) == ("RGB", 60, 40)
    if mode in {"CMYK", "P"}:
        red, blue = np.asarray(image)[5, 5], np.asarray(image)[35, 50]
        assert red[0] > red[2] + 90
        assert blue[2] > blue[0] + 90


def test_a_draft_is_at_least_twice_what_is_wanted() -> None:
    """Draft decoding may shrink, never below twice the model's input, and the reported size is the original's."""
    image, width, height = decode(encoded(quarter_scene(1600, 1200), "JPEG"), 10_000_000, lambda *_: (300, 300))
    assert (width, height) == (1600, 1200)
    assert image.size == (800, 600)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(("scene", "most", "mean"), [("photo", 9, 1), ("noise", 16, 3)])
def test_a_draft_changes_little(mode: str, scene: str, most: int, mean: float) -> None:
    """At the size where it changes most: a little more than twice what is wanted, after reduction."""
    image = noise(250, 250)
    if scene == "photo":
        with Image.open(SAMPLES / "photo-grace-hopper.jpg") as photo:
            image = photo.resize((250, 250))
    content = encoded(image.convert(mode), "JPEG", quality=90)
    small, whole = (decode(content, LIMIT, wanted)[0] for wanted in (lambda *_: (60, 60), None))
    assert (small.size, whole.size) == ((125, 125), (250, 250))
    rows = [resize_to_input(image, SIXTY).astype(int) for image in (small, whole)]
    difference = np.abs(rows[0] - rows[1])
    assert difference.max() <= most
    assert difference.mean() <= mean


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_too_many_pixels_are_refused_before_decoding() -> None:
    """A bomb costs its header only."""
    with pytest.raises(ImageTooLargeError, match="9000 x 9000"):
        decode(png_of_size(9000, 9000), 50_000_000)


@pytest.mark.parametrize("content", [b"not an image", b"<html></html>" * 99, b"\0" * 4096])
def test_what_is_no_image_is_unsupported(content: bytes) -> None:
    """Text and zeros are told apart from damaged pictures."""
    with pytest.raises(UnsupportedFormatError):
        decode(content, LIMIT)


def test_floating_point_is_unsupported() -> None:
    """Nobody knows what its values mean."""
    with pytest.raises(UnsupportedFormatError, match="floating"):
        decode(encoded(Image.new("F", (3, 3), 0.5), "TIFF"), LIMIT)


def test_an_empty_file_is_damaged() -> None:
    """An upload that broke off at once."""
    with pytest.raises(ImageDecodeError, match="empty"):
        decode(b"", LIMIT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP"])
def test_truncation_anywhere_is_one_of_our_errors(kind: str) -> None:
    """Cut at any point, an image decodes or fails with an image error, never with Pillow's."""
    rng = np.random.default_rng(7)
    content = encoded(Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)), kind)
    failures = 0
    for end in range(1, len(content), max(1, len(content) // 60)):
        try:
            decode(content[:end], LIMIT)
        except ImageError:
            failures += 1
    assert failures > 30


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP"])
def test_flipped_bytes_are_at_worst_one_of_our_errors(kind: str) -> None:
    """Random damage never raises anything but an image error."""
    rng = np.random.default_rng(11)
    content = encoded(quarter_scene(), kind)
    for _ in range(200):
        damaged = bytearray(content)
        for place in rng.integers(0, len(damaged), 4):
            damaged[place] = rng.integers(0, 256)
        with contextlib.suppress(ImageError):
            decode(bytes(damaged), LIMIT)


def test_a_side_that_no_camera_makes_is_refused() -> None:
    """Few pixels, but the cost of resizing grows with the side."""
    with pytest.raises(ImageTooLargeError, match="no side"):
        decode(png_of_size(1, 49_000_000), 50_000_000)


def test_a_transparent_colour_of_an_rgb_png_lies_over_white() -> None:
    """The tRNS chunk of a PNG without alpha."""
    content = encoded(Image.new("RGB", (3, 3), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    image, _, _ = decode(content, LIMIT)
    assert np.asarray(image).min() == 255


def over_white_at_once(image: Image.Image) -> Image.Image:
    """Return what `to_rgb` is defined to return, computed for the whole image."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        shifted = values >> 8 if image.mode != "I" or values.max() > 255 else values
        return Image.fromarray(np.clip(shifted, 0, 255).astype(np.uint8)).convert("RGB")
    overlay = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", overlay.size, "white"), overlay).convert("RGB")


def many_moded(mode: str) -> Image.Image:
    if mode.startswith("I"):
        values = np.random.default_rng(3).integers(0, 200 if mode == "I small" else 65536, (50, 31))
        return Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.int32))
    if mode in {"RGBA", "LA"}:
        return noise(31, 50, mode)
    image = noise(31, 50, mode[0] if mode[0] in "PL" else "RGB") if mode[0] != "P" else noise(31, 50).quantize(64)
    image.info["transparency"] = {
        "P index": 3,
        "P alphas": bytes(range(0, 256, 4)),
        "L key": 7,
        "RGB key": image.getpixel((3, 4)),
    }[mode]
    return image


MODES = ("RGBA", "LA", "P index", "P alphas", "L key", "RGB key", "I;16", "I", "I small")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strip_pixels", [1, 31, 100, 31 * 50])
def test_strips_change_no_pixel(mode: str, strip_pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Converted strip by strip, an image is the same to the bit as converted at once."""
    monkeypatch.setattr(strips, "_STRIP_PIXELS", strip_pixels)
    image = many_moded(mode)
    assert np.asarray(to_rgb(image)).tolist() == np.asarray(over_white_at_once(image)).tolist()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tag", [0x8769, 0x8825, 0xA005])
@pytest.mark.parametrize("offset", [0xFFFFFF00, 3, 9])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_damaged_exif_block_of_a_tiff_does_not_matter(tag: int, offset: int, compression: str) -> None:
    """A pointer to a block of metadata that is none."""
    upright = quarter_scene()
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[0x0112], info[0x8767], info.tagtype[0x8767] = 6, 1234567, TiffTags.LONG
    options = {"compression": compression, "tiffinfo": info}
    content = bytearray(encoded(upright.transpose(Image.Transpose.ROTATE_90), "TIFF", **options))
    entry = content.index(struct.pack("<HHII", 0x8767, TiffTags.LONG, 1, 1234567))
    content[entry : entry + 12] = struct.pack("<HHII", tag, TiffTags.LONG, 1, offset)
    image, width, height = decode(bytes(content), LIMIT)
    assert (width, height) == (60, 40)
    assert np.asarray(image).tolist() == np.asarray(upright).tolist()
