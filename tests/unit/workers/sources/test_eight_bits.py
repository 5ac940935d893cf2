"""Depth: samples of any number of bits use all of eight, and what a file stores no colour for is white."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support import depth_files
from tests.support.colour_files import Case
from workers.sources.decoding import decode

FILES = {**depth_files.shown_by_browsers(), **depth_files.of_tiff()}


@pytest.mark.parametrize("case", FILES.values(), ids=FILES)
def test_pixels_have_eight_bits_on_white(case: Case) -> None:
    """Each file's pixels, exactly: scaled by the bits that are used, white where transparent or outside the frame."""
    assert np.asarray(decode(case.content, 1_000_000)[0]).tolist() == case.pixels.tolist()


def test_few_bits_in_planes_keep_their_upper_ones() -> None:
    """Libtiff gives no lower bits of planes: the pixels have the right brightness, and fewer levels."""
    samples = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16, 1).repeat(3, axis=2)
    pixels = np.asarray(decode(depth_files.tiff_in_planes(samples), 1_000_000)[0]).astype(int)
    assert np.abs(pixels - (samples >> 4)).max() <= 16


def test_a_large_image_is_done_in_strips() -> None:
    """Rows beyond the first strip are scaled and made transparent as the first ones are."""
    colours = np.zeros((600, 3, 3), np.uint16)
    colours[590] = (1, 2, 300)
    pixels = np.asarray(decode(depth_files.png_16(colours, (1, 2, 300)), 1_000_000)[0])
    assert (pixels[590].min(), pixels[:590].max(), pixels[591:].max()) == (255, 0, 0)
    colours[595] = 4095
    pixels = np.asarray(decode(depth_files.tiff(colours), 1_000_000)[0])
    assert (pixels[595].min(), pixels[590, 0].tolist(), pixels[:590].max()) == (255, [0, 0, 18], 0)
