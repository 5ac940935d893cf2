"""Colour: what is decoded is sRGB, whatever the file says its colours are; what says nothing is not changed."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tests.support import colour_files, colour_profiles
from tests.support.colour_files import Case, encoded, gama, png, with_chunks
from tests.support.colour_profiles import SPACES
from workers.sources.colour import to_srgb
from workers.sources.damage.repairing import check_pixels
from workers.sources.decoding import decode

LIMIT = 1_000_000
TAGGED, UNCHANGED = colour_files.tagged(), colour_files.unchanged()


def decoded(content: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(decode(content, LIMIT)[0]).astype(float)


@pytest.mark.parametrize("case", TAGGED.values(), ids=TAGGED)
def test_what_is_tagged_becomes_srgb(case: Case) -> None:
    """Each way to say what colours are, in each format: the pixels are those of the formula of the space."""
    stored = np.asarray(Image.open(io.BytesIO(case.content)).convert("RGB")).astype(float)
    assert np.abs(stored - case.pixels).mean() > 3, "a test that would pass without a conversion"
    assert np.abs(decoded(case.content) - case.pixels).mean() < 1


@pytest.mark.parametrize("content", UNCHANGED.values(), ids=UNCHANGED)
def test_what_is_not_tagged_keeps_every_bit(content: bytes) -> None:
    """Untagged, sRGB, or a tag that is damaged or fits no image of this kind: Pillow's pixels, bit for bit."""
    stored = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert np.array_equal(decoded(content), stored)


def test_a_chunk_with_a_wrong_crc_says_nothing() -> None:
    """A damaged gAMA is not applied, even if the image was decoded without it."""
    damaged = with_chunks(png(colour_files.PATCHES), gama(1)[:-1] + b"\0")
    image = Image.fromarray(colour_files.PATCHES)
    assert np.array_equal(np.asarray(to_srgb(image, damaged)), colour_files.PATCHES)


def test_a_profile_damaged_anywhere_never_fails_the_image() -> None:
    """Random damage of each kind of profile gives pixels, of whatever colour."""
    rng = np.random.default_rng(3)
    for name in ("display-p3", "xyb"):
        for _ in range(60):
            profile = bytearray(SPACES[name].profile)
            for place in rng.integers(0, len(profile), 6):
                profile[place] = rng.integers(0, 256)
            assert decode(png(colour_files.PATCHES, icc_profile=bytes(profile)), LIMIT)[1:] == (48, 48)


def test_what_pillow_decodes_is_never_refused_for_its_colours() -> None:
    """Files of every kind with damage in their heads: what says the colours may be anything, and fails no image."""
    rng = np.random.default_rng(5)
    decodable = 0
    for case in TAGGED.values():
        for _ in range(8):
            damaged = bytearray(case.content)
            for place in rng.integers(8, min(len(damaged), 1500), 3):
                damaged[place] = rng.integers(0, 256)
            try:
                with Image.open(io.BytesIO(damaged)) as image:
                    image.getexif()
                    image.load()
                    check_pixels(image, bytes(damaged), LIMIT, before_load=lambda _: None)
                    image.convert("RGB")
            except Exception:  # noqa: BLE001, S112  whatever Pillow raises is none of this test's
                continue
            if image.size == (48, 48):
                decodable += 1
                assert decode(bytes(damaged), LIMIT)[0].mode == "RGB"
    assert decodable > 50


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB with a transparent colour"])
def test_transparent_pixels_are_white_and_others_converted(mode: str) -> None:
    """White lies behind a tagged image in sRGB, not in its own space; a colour key is compared before conversion."""
    grey = mode == "LA"
    space = SPACES["grey-gamma-1.8"] if grey else SPACES["prophoto"]
    half = Image.new("L", (48, 48), 0)
    half.paste(255, (0, 0, 24, 48))
    options: dict[str, object] = {"icc_profile": space.profile}
    image = Image.new("L" if grey else "RGB", (48, 48), 100 if grey else (100, 150, 50))
    if mode in {"RGBA", "LA"}:
        image.putalpha(half)
    else:
        image.paste((7, 8, 9), (24, 0, 48, 48))
        options["transparency"] = (7, 8, 9)
    if mode == "P":
        image = image.quantize(2)
        options["transparency"] = image.getpixel((47, 0))
    pixels = decoded(encoded(image, "PNG", **options))
    values = np.array([100] if grey else [100, 150, 50]) / 255
    assert np.abs(pixels[:, :24] - colour_profiles.expected(space.to_xyz(values))).max() <= 1
    assert pixels[:, 24:].min() == 255


def test_a_reduced_jpeg_is_converted() -> None:
    """Draft decoding changes the number of pixels, not what they mean."""
    space = SPACES["prophoto"]
    image = Image.new("RGB", (1600, 1200), (100, 150, 50))
    content = encoded(image, "JPEG", quality=100, icc_profile=space.profile)
    small, width, height = decode(content, 10_000_000, lambda *_: (300, 300))
    assert (small.size, width, height) == ((800, 600), 1600, 1200)
    meant = colour_profiles.expected(space.to_xyz(np.array([100, 150, 50]) / 255))
    assert np.abs(np.asarray(small).astype(float) - meant).max() <= 3


def test_threads_share_a_transform() -> None:
    """Decoding threads that use the transform of one profile at the same time get the pixels that one alone gets."""
    case = TAGGED["CMYK, JPEG"]
    alone = decoded(case.content)
    with ThreadPoolExecutor(8) as threads:
        for pixels in threads.map(decoded, [case.content] * 100):
            assert np.array_equal(pixels, alone)


def test_sixteen_bits_are_converted() -> None:
    """The profile of a 16-bit grey PNG counts after its scaling to eight bits, as does gAMA."""
    values = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    linear = colour_profiles.grey_space(1.0).profile
    for content in (png(values, icc_profile=linear), with_chunks(png(values), gama(1))):
        meant = 255 * colour_profiles.srgb_encoded(values / 65535)
        assert np.abs(decoded(content)[..., 0] - meant).mean() < 3
