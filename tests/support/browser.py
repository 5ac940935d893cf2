"""Chromium as the reference for what people see of an image file."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, sync_playwright

from tests.support.machine import tool

_DRAW = """async (urls) => {
    const draw = async (url) => {
        const image = new Image();
        const shown = new Promise((resolve) => {
            image.onload = () => resolve(image.naturalWidth > 0);
            image.onerror = () => resolve(false);
        });
        image.src = url;
        if (!(await shown)) return null;
        const canvas = document.createElement('canvas');
        canvas.width = image.naturalWidth;
        canvas.height = image.naturalHeight;
        const context = canvas.getContext('2d', { willReadFrequently: true });
        context.fillStyle = 'white';
        context.fillRect(0, 0, canvas.width, canvas.height);
        context.drawImage(image, 0, 0);
        const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
        let text = '';
        for (const value of data) text += String.fromCharCode(value);
        return [canvas.width, canvas.height, btoa(text)];
    };
    const drawn = [];
    for (const url of urls) drawn.push(await draw(url));
    return drawn;
}"""
_TYPES = {b"\x89P": "png", b"\xff\xd8": "jpeg", b"RI": "webp", b"BM": "bmp", b"GI": "gif"}


@contextmanager
def browser_page() -> Iterator[Page]:
    """Yield an empty page of Chromium. Without it the test is skipped, or fails where SHELFLINE_REQUIRE_ALL is set."""
    path = tool("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def shown(page: Page, contents: Sequence[bytes]) -> list[NDArray[np.float64] | None]:
    """Return what Chromium shows of each file on white, (H, W, 3), 0 to 255; None if it shows nothing.

    Of a picture that is damaged it may show a part, and leave the rest white.
    """
    drawn = page.evaluate(_DRAW, [_as_url(content) for content in contents])
    return [None if picture is None else _pixels(*picture) for picture in drawn]


def _as_url(content: bytes) -> str:
    return f"data:image/{_TYPES.get(content[:2], 'avif')};base64,{base64.b64encode(content).decode()}"


def _pixels(width: int, height: int, data: str) -> NDArray[np.float64]:
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)[..., :3].astype(float)
