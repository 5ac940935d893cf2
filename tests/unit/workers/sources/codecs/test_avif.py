"""AVIF by libavif itself: the pixels of Pillow to the bit, the same refusals."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from tests.support.image_files import by_pillow, cut_or_flipped, encoded, noise, oriented
from workers.errors import ImageDecodeError, ImageError
from workers.sources.codecs import avif
from workers.sources.codecs.avif import decode_avif
from workers.sources.decoding import decode

LIMIT = 1_000_000
RGB, RGBA = noise(61, 47), noise(61, 47, "RGBA")
VARIANTS = {
    "4:2:0": encoded(RGB, "AVIF"),
    "4:2:2": encoded(RGB, "AVIF", subsampling="4:2:2"),
    "4:4:4": encoded(RGB, "AVIF", subsampling="4:4:4"),
    "limited range": encoded(RGB, "AVIF", range="limited"),
    "alpha": encoded(RGBA, "AVIF"),
    "alpha, 4:4:4": encoded(RGBA, "AVIF", subsampling="4:4:4"),
    "premultiplied": encoded(RGBA, "AVIF", alpha_premultiplied=True),
    "animated": encoded(RGB, "AVIF", save_all=True, append_images=[noise(61, 47, seed=6)]),
    "animated with alpha": encoded(RGBA, "AVIF", save_all=True, append_images=[noise(61, 47, "RGBA", seed=6)]),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_pixels_are_pillow_s(variant: str) -> None:
    """Stills and animations, every subsampling, with alpha and without: no bit differs."""
    content = VARIANTS[variant]
    with Image.open(io.BytesIO(content)) as image:
        decoded = decode_avif(content, image)
    assert decoded is not None
    expected = by_pillow(content)
    assert decoded.mode == expected.mode
    assert decoded.tobytes() == expected.tobytes()


@pytest.mark.parametrize("variant", VARIANTS)
def test_damage_is_refused_where_pillow_refuses_it(variant: str) -> None:
    """Cut short or with a byte flipped, an AVIF is refused or shown as by Pillow."""
    for case in cut_or_flipped(VARIANTS[variant]):
        try:
            expected = by_pillow(case)
        except Exception:  # noqa: BLE001  whatever Pillow's readers raise
            with pytest.raises(ImageError):
                decode(case, LIMIT)
            continue
        with Image.open(io.BytesIO(case)) as image:
            decoded = decode_avif(case, image)
        assert decoded is not None
        assert decoded.tobytes() == expected.tobytes()


def test_the_error_of_a_damaged_avif_says_what_is_wrong() -> None:
    """In libavif's words."""
    content = VARIANTS["4:2:0"]
    with pytest.raises(ImageDecodeError, match=r"^The file is a damaged AVIF \(.+\): send an intact copy"):
        decode(content[:-100], LIMIT)


def test_without_libavif_pillow_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pillow that is built in another way: the same picture, with more memory."""
    content = VARIANTS["alpha"]
    expected = decode(content, LIMIT)[0].tobytes()
    for replaced, by in (("libavif", lambda: None), ("_MAJOR_VERSION", b"2.")):
        with monkeypatch.context() as patched:
            patched.setattr(avif, replaced, by)
            avif.libavif.cache_clear() if replaced == "_MAJOR_VERSION" else None
            with Image.open(io.BytesIO(content)) as image:
                assert decode_avif(content, image) is None
            assert decode(content, LIMIT)[0].tobytes() == expected
    avif.libavif.cache_clear()


def test_grey_is_left_to_pillow() -> None:
    """It takes little memory."""
    grey = noise(61, 47, "L")
    content = encoded(grey, "AVIF", quality=100)
    with Image.open(io.BytesIO(content)) as image:
        assert decode_avif(content, image) is None
    assert decode(content, LIMIT)[0].tobytes() == by_pillow(content).convert("RGB").tobytes()


def test_a_size_that_is_not_pillow_s_is_left_to_pillow() -> None:
    """The buffer has the size that Pillow read from the header."""
    with Image.open(io.BytesIO(VARIANTS["4:2:0"])) as image:
        assert decode_avif(encoded(noise(9, 9), "AVIF"), image) is None


def test_no_memory_for_a_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the error of Python's own allocations."""
    library = avif.libavif()
    assert library is not None
    monkeypatch.setattr(library, "avifDecoderCreate", lambda: None)
    with Image.open(io.BytesIO(VARIANTS["4:2:0"])) as image, pytest.raises(MemoryError):
        decode_avif(VARIANTS["4:2:0"], image)


def test_an_avif_is_turned() -> None:
    """By its own box, and by EXIF."""
    assert decode(oriented("AVIF", 6), LIMIT)[1:] == (60, 40)
