from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from serving.boxes.placement import boxes_in_part, place
from serving.contract import Contract
from tests.support.models import tiny_contract

SIDES = st.integers(1, 6000)
INPUTS = st.sampled_from([(640, 640), (416, 416), (32, 64), (300, 200), (1, 7)])


def letterbox(size: tuple[int, int], **fields: Any) -> Contract:
    """A model that takes letterboxed inputs of a size (height, width)."""
    return tiny_contract(height=size[0], width=size[1]).model_copy(update={"resize_mode": "letterbox", **fields})


def ultralytics(shape: tuple[int, int], new_shape: tuple[int, int], *, scaleup: bool, center: bool) -> Any:
    """Left, top, right and bottom padding and the resized (width, height), by the formulas of its LetterBox."""
    r = min(new_shape[0] / shape[0], new_shape[1] / shape[1])
    if not scaleup:
        r = min(r, 1.0)
    resized = round(shape[1] * r), round(shape[0] * r)
    dw, dh = float(new_shape[1] - resized[0]), float(new_shape[0] - resized[1])
    if center:
        dw, dh = dw / 2, dh / 2
    top, bottom = round(dh - 0.1) if center else 0, round(dh + 0.1)
    left, right = round(dw - 0.1) if center else 0, round(dw + 0.1)
    return (left, top, right, bottom), resized, r


@given(height=SIDES, width=SIDES, size=INPUTS, upscale=st.booleans(), centre=st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_letterbox_is_that_of_ultralytics(
    height: int, width: int, size: tuple[int, int], *, upscale: bool, centre: bool
) -> None:
    """For each size of a photo, padding and sides are to the pixel those of its own code."""
    contract = letterbox(size, upscale=upscale, align="centre" if centre else "top_left")
    (left, top, right, bottom), resized, scale = ultralytics((height, width), size, scaleup=upscale, center=centre)
    assume(min(resized) > 0)  # its code fails there

    placed = place(contract, height, width)

    assert (placed.left, placed.top) == (left, top)
    assert (placed.width, placed.height) == resized
    assert (size[1] - placed.left - placed.width, size[0] - placed.top - placed.height) == (right, bottom)
    assert (placed.down, placed.across) == (scale, scale)
    assert placed.top + placed.height <= size[0]
    assert placed.left + placed.width <= size[1]


@given(
    height=SIDES,
    width=SIDES,
    size=INPUTS,
    mode=st.sampled_from(["stretch", "letterbox"]),
    upscale=st.booleans(),
    align=st.sampled_from(["centre", "top_left"]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=300, deadline=None)
def test_boxes_come_back_to_their_place(
    height: int, width: int, size: tuple[int, int], mode: str, align: str, seed: int, *, upscale: bool
) -> None:
    """A box of the photo, where its pixels lie in the input, is mapped back within half a pixel of the input."""
    padding = {} if mode == "stretch" else {"upscale": upscale, "align": align}
    contract = letterbox(size, resize_mode=mode, **padding)
    corners = np.sort(np.random.default_rng(seed).uniform(0, 1, (20, 2, 2)), axis=1).reshape(20, 4)
    placed = place(contract, height, width)
    shown = corners * np.array([placed.height, placed.width] * 2) + np.array([placed.top, placed.left] * 2)

    back = boxes_in_part((shown / np.array([*size, *size])).astype(np.float32), contract, height, width)

    if min(placed.height, placed.width) > 1:
        off = np.abs(back - corners) * np.array([height * placed.down, width * placed.across] * 2)
        assert off.max() <= 0.5 + 1e-3


@given(height=SIDES, width=SIDES, size=INPUTS, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_boxes_are_those_of_ultralytics(height: int, width: int, size: tuple[int, int], seed: int) -> None:
    """The formula of its `scale_boxes` and `clip_boxes`, in pixels of the photo, within a thousandth of its sides."""
    boxes = np.random.default_rng(seed).uniform(-0.1, 1.1, (20, 4))
    (left, top, _, _), resized, gain = ultralytics((height, width), size, scaleup=True, center=True)
    assume(min(resized) > 0)
    pixels = (boxes * np.array([*size, *size]) - np.array([top, left, top, left])) / gain
    expected = np.clip(pixels, 0, np.array([height, width, height, width]))

    mapped = boxes_in_part(boxes.astype(np.float32), letterbox(size), height, width)

    np.testing.assert_allclose(mapped * np.array([height, width] * 2), expected, atol=2e-6 * max(height, width) + 1e-3)


def test_a_stretched_input_s_boxes_are_left_alone() -> None:
    """Bit for bit: they are normalised to the photo already, and may reach over its edge until they are drawn."""
    boxes = np.array([[0.1, -0.2, 0.3, 1.4]], np.float32)

    assert boxes_in_part(boxes, tiny_contract(), 10, 700) is boxes


@pytest.mark.parametrize(("height", "width"), [(1, 6000), (6000, 1)])
def test_a_thread_keeps_a_pixel(height: int, width: int) -> None:
    """A part of 1 x 6000 pixels would be 0 pixels high in 640."""
    placed = place(letterbox((640, 640)), height, width)

    assert sorted((placed.height, placed.width)) == [1, 640]
