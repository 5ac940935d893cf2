from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from serving.boxes.sampling import resample

# What cv2.resize of OpenCV 5.0.0 makes of `picture`: filter, size before, size after (height, width), bytes in hex.
# The package takes 153 MB, so the tests do without it.
OF_OPENCV = json.loads((Path(__file__).parent / "opencv_resized.json").read_text())


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """Steep in all directions, and the same everywhere."""
    i, j, c = np.ogrid[:height, :width, :3]
    pixels: NDArray[np.uint8] = ((i * i * 73 + j * j * 37 + i * j * 91 + c * 59) % 256).astype(np.uint8)
    return pixels


@pytest.mark.parametrize(
    ("resize", "before", "after", "expected"), OF_OPENCV, ids=[f"{r[0]}-{r[1]}-{r[2]}" for r in OF_OPENCV]
)
def test_pixels_are_those_of_opencv(
    resize: Any, before: tuple[int, int], after: tuple[int, int], expected: str
) -> None:
    """Bit for bit; within 1 where OpenCV computes with floats, whose rounding depends on the processor."""
    made = resample(picture(*before), *after, resize).astype(int)

    theirs = np.frombuffer(bytes.fromhex(expected), np.uint8).reshape(*after, 3)
    assert np.abs(made - theirs).max() <= (1 if resize in {"bicubic", "area"} else 0)


def cubic(x: float) -> float:
    """Keys' kernel with the slope -0.75."""
    x, a = abs(x), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def lanczos(x: float) -> float:
    """The kernel of four lobes on each side."""
    return float(np.sinc(x) * np.sinc(x / 4)) if abs(x) < 4 else 0.0


KERNELS: dict[str, tuple[Callable[[float], float], int]] = {
    "bilinear": (lambda x: max(0.0, 1 - abs(x)), 1),
    "bicubic": (cubic, 2),
    "lanczos": (lanczos, 4),
}


def matrix(resize: str, n: int, m: int) -> NDArray[np.float64]:
    """What part each of n pixels has in each of m, by the documentation of the filter; m <= n for `area`."""
    made = np.zeros((m, n))
    for i in range(m):
        if resize == "area":
            start, end = i * n / m, (i + 1) * n / m
            made[i] = [max(0.0, min(end, j + 1) - max(start, j)) * m / n for j in range(n)]
            continue
        kernel, reach = KERNELS[resize]
        place = (i + 0.5) * n / m - 0.5
        for j in range(math.floor(place) - reach + 1, math.floor(place) + reach + 1):
            made[i, min(max(j, 0), n - 1)] += kernel(place - j)
        made[i] /= made[i].sum()
    return made


@given(
    resize=st.sampled_from(["bilinear", "bicubic", "lanczos", "area"]),
    before=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    after=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_pixels_are_those_of_the_formula(
    resize: Any, before: tuple[int, int], after: tuple[int, int], seed: int
) -> None:
    """Within 1 of 255 and a rounding, for any sizes."""
    if resize == "area":
        after = min(before[0], after[0]), min(before[1], after[1])
    pixels = np.random.default_rng(seed).integers(0, 256, (*before, 3), np.uint8)
    exact = np.einsum(
        "ai,bj,ijc->abc", matrix(resize, before[0], after[0]), matrix(resize, before[1], after[1]), pixels
    )

    made = resample(pixels, *after, resize)

    assert (made.shape, made.dtype) == ((*after, 3), np.dtype(np.uint8))
    assert np.abs(made - np.clip(exact, 0, 255)).max() <= 1.5


@pytest.mark.parametrize("resize", ["bilinear", "bicubic", "lanczos", "area", "nearest"])
@pytest.mark.parametrize("after", [(7, 5), (3, 9), (20, 20)])
def test_a_flat_picture_stays_as_it_is(resize: Any, after: tuple[int, int]) -> None:
    """Weights sum to 1, at the edges too."""
    made = resample(np.full((7, 5, 3), (0, 128, 255), np.uint8), *after, resize)

    assert (np.abs(made.astype(int) - [0, 128, 255]) <= (1 if resize == "lanczos" else 0)).all()
