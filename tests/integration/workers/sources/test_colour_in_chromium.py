"""Colour as a browser shows it: each tagged file in Chromium, beside the pixels that are decoded here."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support import colour_files, depth_files
from tests.support.browser import browser_page, shown
from workers.sources.decoding import decode

pytestmark = pytest.mark.process

# Chromium shows no TIFF, and applies a CMYK profile as if there were no black ink (version 156: 100 % of black looks
# like 100 % of the other three), so CMYK is compared with its formula alone. It shows an impossible gAMA as a black
# picture, and refuses a BMP whose profile is missing; here both are shown as they are stored.
_OTHERWISE = ("TIFF", "CMYK", "gAMA of no display", "BMP whose profile")
_CONTENTS = {
    **{name: case.content for name, case in (colour_files.tagged() | depth_files.shown_by_browsers()).items()},
    **colour_files.unchanged(),
}
_FILES = {name: content for name, content in _CONTENTS.items() if not any(word in name for word in _OTHERWISE)}


@pytest.fixture(scope="module")
def in_browser() -> dict[str, NDArray[np.float64] | None]:
    """What Chromium shows of each file."""
    with browser_page() as page:
        return dict(zip(_FILES, shown(page, list(_FILES.values())), strict=True))


@pytest.mark.parametrize("name", _FILES)
def test_pixels_are_those_of_a_browser(in_browser: dict[str, NDArray[np.float64] | None], name: str) -> None:
    """Tagged, wrongly tagged and untagged: within 3 of 255 in the mean."""
    image, _, _ = decode(_FILES[name], 1_000_000)
    expected = in_browser[name]
    assert expected is not None
    assert np.abs(np.asarray(image) - expected).mean() < 3
