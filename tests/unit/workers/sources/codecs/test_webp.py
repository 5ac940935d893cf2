"""WebP by libwebp itself: the pixels of Pillow to the bit, the same refusals."""

from __future__ import annotations

import ctypes.util
import io

import numpy as np
import PIL
import pytest
from PIL import Image

from tests.support.image_files import by_pillow, cut_or_flipped, encoded, noise, oriented
from workers.errors import ImageDecodeError, ImageError
from workers.sources.codecs import webp
from workers.sources.codecs.webp import decode_webp
from workers.sources.decoding import decode

LIMIT = 1_000_000
RGB, RGBA = noise(61, 47), noise(61, 47, "RGBA")
ICON = Image.new("RGBA", (61, 47), (9, 8, 7, 0))
VARIANTS = {
    "lossy": encoded(RGB, "WEBP"),
    "lossless": encoded(RGB, "WEBP", lossless=True),
    "lossy with alpha": encoded(RGBA, "WEBP"),
    "lossless with alpha": encoded(RGBA, "WEBP", lossless=True, exact=True),
    "with metadata": encoded(RGBA, "WEBP", icc_profile=b"x" * 99, xmp=b"x"),
    "flat": encoded(ICON, "WEBP", lossless=True),
    "animated": encoded(RGB, "WEBP", save_all=True, append_images=[noise(61, 47, seed=6)]),
    "animated with alpha": encoded(RGBA, "WEBP", save_all=True, append_images=[ICON], lossless=True),
    "animated, lossy with alpha": encoded(RGBA, "WEBP", save_all=True, append_images=[ICON]),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_pixels_are_pillow_s(variant: str) -> None:
    """Stills and animations, lossy and lossless, with alpha and without: no bit differs."""
    content = VARIANTS[variant]
    with Image.open(io.BytesIO(content)) as image:
        decoded = decode_webp(content, image)
    assert decoded is not None
    expected = by_pillow(content)
    assert decoded.mode == expected.mode
    assert decoded.tobytes() == expected.tobytes()


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name.startswith("animated")])
@pytest.mark.parametrize("corner", [(0, 0), (8, 2)])
def test_a_frame_that_does_not_fill_the_canvas(variant: str, corner: tuple[int, int]) -> None:
    """It is shown as Pillow shows it, and the rest of the canvas is white."""
    content = bytearray(VARIANTS[variant])
    canvas, frame = content.index(b"VP8X") + 12, content.index(b"ANMF") + 8
    content[canvas : canvas + 6] = (69).to_bytes(3, "little") + (49).to_bytes(3, "little")
    content[frame : frame + 6] = b"".join((side // 2).to_bytes(3, "little") for side in corner)
    with Image.open(io.BytesIO(content)) as image:
        assert decode_webp(bytes(content), image) is not None
    box = (*corner, corner[0] + 61, corner[1] + 47)
    expected = Image.new("RGBA", (70, 50), "white")
    expected.alpha_composite(by_pillow(bytes(content)).convert("RGBA").crop(box), corner)
    assert decode(bytes(content), LIMIT)[0].tobytes() == expected.convert("RGB").tobytes()


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name.startswith("animated")])
@pytest.mark.parametrize(("canvas_size", "head_size"), [((61, 47), (57, 9)), ((61, 47), (90, 47)), ((70, 50), (65, 9))])
def test_the_head_of_a_frame_may_contradict_its_picture(
    variant: str, canvas_size: tuple[int, int], head_size: tuple[int, int]
) -> None:
    """The picture is shown as it is, as Chromium shows it."""
    content = bytearray(VARIANTS[variant])
    for at, (width, height) in ((content.index(b"VP8X") + 12, canvas_size), (content.index(b"ANMF") + 14, head_size)):
        content[at : at + 6] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    expected = Image.new("RGBA", canvas_size, "white")
    expected.alpha_composite(by_pillow(VARIANTS[variant]).convert("RGBA"))
    assert decode(bytes(content), LIMIT)[0].tobytes() == expected.convert("RGB").tobytes()


def test_a_frame_that_leads_out_of_its_canvas_is_left_to_pillow() -> None:
    """Pillow refuses it."""
    content = bytearray(VARIANTS["animated"])
    frame = content.index(b"ANMF") + 8
    with Image.open(io.BytesIO(content)) as image:
        content[frame : frame + 3] = (1).to_bytes(3, "little")
        assert decode_webp(bytes(content), image) is None


def test_without_libwebp_pillow_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pillow that is built in another way: the same picture, with more memory."""
    content = VARIANTS["lossy with alpha"]
    expected = np.asarray(decode(content, LIMIT)[0]).tolist()
    monkeypatch.setattr(webp, "libwebp", lambda: None)
    assert np.asarray(decode(content, LIMIT)[0]).tolist() == expected


def test_a_library_that_cannot_be_loaded_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path to something that is not a library, and no path."""
    monkeypatch.setattr(PIL, "__file__", "/nowhere/PIL/__init__.py")
    for path in (__file__, None):
        monkeypatch.setattr(ctypes.util, "find_library", lambda _name, path=path: path)
        assert webp.libwebp.__wrapped__() is None


@pytest.mark.parametrize("variant", VARIANTS)
def test_damage_is_refused_where_pillow_refuses_it(variant: str) -> None:
    """Cut short or with a byte flipped, a WebP is refused or shown as by Pillow."""
    for case in cut_or_flipped(VARIANTS[variant]):
        try:
            expected = by_pillow(case)
        except Exception:  # noqa: BLE001  whatever Pillow's readers raise
            with pytest.raises(ImageError):
                decode(case, LIMIT)
            continue
        if expected.width * expected.height <= LIMIT:
            white = Image.new("RGBA", expected.size, "white")
            white.alpha_composite(expected.convert("RGBA"))
            assert decode(case, LIMIT)[0].tobytes() == white.convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (b"RIFF\x20\0\0\0WEBPVP8 \x14\0\0\0" + bytes(20), "its header cannot be read"),
        (VARIANTS["lossless"][:200], "its pixel data are damaged or end too early"),
    ],
)
def test_the_error_of_a_damaged_webp_says_what_is_wrong(damaged: bytes, reason: str) -> None:
    """A header and pixels that cannot be decoded, even if Pillow opened the file."""
    with Image.open(io.BytesIO(VARIANTS["lossless"])) as image, pytest.raises(OSError, match=reason):
        decode_webp(damaged, image)


def test_a_damaged_webp_is_refused_as_one() -> None:
    """The error that a caller sees."""
    with pytest.raises(ImageDecodeError, match=r"^The file is a damaged WEBP \("):
        decode(VARIANTS["lossless"][:200], LIMIT)


def test_what_is_no_still_or_of_another_size_is_left_to_pillow() -> None:
    """A file without pixels, a frame without them, and a picture that is larger than Pillow says."""
    with Image.open(io.BytesIO(VARIANTS["lossy"])) as image:
        assert decode_webp(VARIANTS["lossy"][:12], image) is None
        assert decode_webp(VARIANTS["animated"].replace(b"VP8 ", b"VP8?"), image) is None
        assert decode_webp(encoded(noise(62, 9), "WEBP"), image) is None


def test_a_webp_is_turned() -> None:
    """Its orientation stands in its EXIF chunk."""
    assert decode(oriented("WEBP", 6), LIMIT)[1:] == (60, 40)


@pytest.mark.parametrize("behind", [b"", b"EXIF"], ids=["behind the file", "in another chunk"])
@pytest.mark.parametrize("variant", ["lossy", "lossless", "lossy with alpha"])
def test_a_picture_does_not_go_on_behind_its_chunk(variant: str, behind: bytes) -> None:
    """Data that are cut short, and happen to be followed by others, are damaged."""
    content = VARIANTS[variant]
    start = max(content.find(b"VP8 "), content.find(b"VP8L"))
    length = int.from_bytes(content[start + 4 : start + 8], "little")
    kept = length // 4 * 2
    rest = content[start + 8 + kept :]
    if behind:
        rest = behind + len(rest).to_bytes(4, "little") + rest
    chunks = content[8 : start + 4] + kept.to_bytes(4, "little") + content[start + 8 : start + 8 + kept]
    size = len(chunks + rest) if behind else len(chunks)
    with pytest.raises(ImageDecodeError, match="damaged WEBP"):
        decode(b"RIFF" + size.to_bytes(4, "little") + chunks + rest, LIMIT)
    assert decode(content + b"more", LIMIT)[0].tobytes() == decode(content, LIMIT)[0].tobytes()
