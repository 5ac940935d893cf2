"""Colour as a browser shows it: each tagged file in Chromium, beside the pixels that are decoded here."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, sync_playwright

from tests.support import colour_files, depth_files
from tests.support.machine import tool
from workers.sources.decoding import decode

pytestmark = pytest.mark.process

_DRAW = """async (url) => {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = document.createElement('canvas');
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const context = canvas.getContext('2d');
    context.fillStyle = 'white';
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0);
    const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
    return [canvas.width, canvas.height, Array.from(data)];
}"""
_TYPES = {b"\x89P": "png", b"\xff\xd8": "jpeg", b"RI": "webp", b"BM": "bmp", b"GI": "gif"}
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
def page() -> Iterator[Page]:
    path = tool("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def shown(page: Page, content: bytes) -> NDArray[np.float64]:
    """Return what Chromium shows of a file on white: (H, W, 3), 0 to 255."""
    kind = _TYPES.get(content[:2], "avif")
    url = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    width, height, values = page.evaluate(_DRAW, url)
    return np.array(values, float).reshape(height, width, 4)[..., :3]


@pytest.mark.parametrize("content", _FILES.values(), ids=_FILES)
def test_pixels_are_those_of_a_browser(page: Page, content: bytes) -> None:
    """Tagged, wrongly tagged and untagged: within 3 of 255 in the mean."""
    image, _, _ = decode(content, 1_000_000)
    assert np.abs(np.asarray(image) - shown(page, content)).mean() < 3
