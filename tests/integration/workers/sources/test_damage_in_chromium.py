"""Damaged and odd files in Chromium: what is accepted looks the same there, and what is refused is not whole there."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.browser import browser_page, shown
from tests.support.damaged_files import damaged_files
from workers.errors import ImageError
from workers.sources.decoding import decode

pytestmark = [pytest.mark.process, pytest.mark.filterwarnings("ignore")]  # Pillow's, of damaged metadata

LIMIT = 1_000_000
FILES = damaged_files()
# Where it is not done as in the browser, and why.
_NO_END = "no pixel is lost: Chromium waits for more data, and shows all but the last rows"
WANTED_DIFFERENCES = {
    f"{kind}, {what}": _NO_END
    for kind in ("JPEG", "JPEG with restarts", "JPEG grey")
    for what in ("no end marker", "half of an end marker", "without its last byte")
} | {
    "PNG, short fcTL, before the pixels": "Chromium fails at the animation; the first picture is whole",
    "PNG, wrong checksum in its pixels alone": "the pixels are not those that were compressed",
}
Shown = dict[bytes, NDArray[np.float64] | None]


@pytest.fixture(scope="module")
def in_browser() -> Shown:
    """What Chromium shows of each file."""
    contents = list({content for case in FILES.values() for content in (case.content, case.intact)})
    with browser_page() as page:
        return dict(zip(contents, shown(page, contents), strict=True))


def accepted(content: bytes) -> NDArray[np.uint8] | None:
    """Return the pixels of a file, None if it is refused."""
    try:
        return np.asarray(decode(content, LIMIT)[0])
    except ImageError:
        return None


@pytest.mark.parametrize("name", FILES)
def test_damage_is_judged_as_by_a_browser(in_browser: Shown, name: str) -> None:
    """What is accepted has the pixels that the browser shows; of what is refused it shows nothing, or not all."""
    case = FILES[name]
    before, after, pixels = in_browser[case.intact], in_browser[case.content], accepted(case.content)
    assert before is not None
    if pixels is None:
        alike = not np.array_equal(before, after) if after is not None else True
    else:
        alike = after is not None and after.shape == pixels.shape and bool(np.abs(pixels - after).mean() < 0.5)
    assert alike != (name in WANTED_DIFFERENCES)


@pytest.mark.parametrize("name", WANTED_DIFFERENCES)
def test_where_it_is_judged_otherwise_no_pixel_differs(name: str) -> None:
    """An accepted file has the pixels of the intact one."""
    pixels, intact = accepted(FILES[name].content), accepted(FILES[name].intact)
    assert intact is not None
    assert pixels is None or np.array_equal(pixels, intact)
