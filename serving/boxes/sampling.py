"""Resize without antialiasing, as OpenCV's `cv2.resize` does, in NumPy: a few pixels around each place are read.

The place of output pixel i is (i + 0.5) * n / m - 0.5 for n input and m output pixels, and beyond the edge the edge's
pixel counts on. Source: OpenCV's documentation of `InterpolationFlags` and its imgproc module, `resize.cpp`. OpenCV
computes bytes with weights of 11 bits; so does this module, across first, then down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Filter = Literal["bilinear", "bicubic", "area", "lanczos", "nearest"]
Pixels = NDArray[np.uint8]
Indices = NDArray[np.intp]
Weights = NDArray[np.float32]

_UNIT: Final = 1 << 11  # the weight 1
_CUBIC: Final = -0.75  # slope of the cubic kernel, as OpenCV and torch have it; Pillow and TensorFlow have -0.5
_LANCZOS_TAPS: Final = 8


def resample(pixels: Pixels, height: int, width: int, filter_: Filter) -> Pixels:
    """Resize `pixels` (h, w, 3) to (height, width, 3)."""
    rows, columns = pixels.shape[:2]
    if (rows, columns) == (height, width):
        return pixels
    if filter_ == "nearest":
        nearest: Pixels = pixels[_nearest(rows, height)][:, _nearest(columns, width)]
        return nearest
    if filter_ == "area":
        if rows >= height and columns >= width:
            return _averaged(pixels, height, width)
        return _interpolated(pixels, _area_taps(rows, height), _area_taps(columns, width))
    if filter_ == "bilinear" and (rows, columns) == (2 * height, 2 * width):
        return _averaged(pixels, height, width)  # OpenCV does so, and rounds otherwise
    taps = _TAPS[filter_]
    return _interpolated(pixels, taps(rows, height), taps(columns, width))


class Taps:
    """The input pixels and weights of each of m output pixels along an axis: both (m, k), for k taps."""

    def __init__(self, size: int, first: Indices, weights: Weights) -> None:
        taps = weights.shape[1]
        self.indices = np.clip(first[:, None] + np.arange(taps), 0, size - 1)
        self.weights = np.rint(weights * np.float32(_UNIT)).astype(np.int32)


def _step(n: int, m: int) -> float:
    """Return n / m, rounded as OpenCV rounds it: a place that should be a whole number may be just below it."""
    return 1 / (m / n)


def _nearest(n: int, m: int) -> Indices:
    """Return the pixel at the start of each output pixel, as INTER_NEAREST takes it, not the one at its centre."""
    starts: Indices = np.minimum(np.floor(np.arange(m) * _step(n, m)), n - 1).astype(np.intp)
    return starts


def _places(n: int, m: int) -> tuple[Indices, Weights]:
    """Return the pixel at or before each output pixel's place, and how far behind it the place is, 0 to 1."""
    places = ((np.arange(m) + 0.5) * _step(n, m) - 0.5).astype(np.float32)
    before = np.floor(places)
    return before.astype(np.intp), places - before


def _bilinear_taps(n: int, m: int) -> Taps:
    before, beyond = _places(n, m)
    return Taps(n, before, np.stack([1 - beyond, beyond], -1))


def _bicubic_taps(n: int, m: int) -> Taps:
    before, beyond = _places(n, m)
    a = np.float32(_CUBIC)

    def outer(x: Weights) -> Weights:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    def inner(x: Weights) -> Weights:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    weights = [outer(beyond + 1), inner(beyond), inner(1 - beyond)]
    return Taps(n, before - 1, np.stack([*weights, 1 - sum(weights)], -1))


def _lanczos_taps(n: int, m: int) -> Taps:
    before, beyond = _places(n, m)
    half = _LANCZOS_TAPS // 2
    distances = beyond[:, None].astype(np.float64) - np.arange(1 - half, half + 1)
    weights = np.sinc(distances) * np.sinc(distances / half)
    return Taps(n, before + 1 - half, (weights / weights.sum(-1, keepdims=True)).astype(np.float32))


def _area_taps(n: int, m: int) -> Taps:
    """Return the taps of OpenCV's INTER_AREA if it enlarges along one axis: two pixels, blended at their border."""
    output = np.arange(m)
    before = np.floor(output * _step(n, m)).astype(np.intp)
    beyond = ((output + 1) - (before + 1) * (m / n)).astype(np.float32)
    beyond = np.where(beyond <= 0, 0, beyond - np.floor(beyond)).astype(np.float32)
    return Taps(n, before, np.stack([1 - beyond, beyond], -1))


_TAPS: Final[dict[str, Callable[[int, int], Taps]]] = {
    "bilinear": _bilinear_taps,
    "bicubic": _bicubic_taps,
    "lanczos": _lanczos_taps,
}


def _interpolated(pixels: Pixels, down: Taps, across: Taps) -> Pixels:
    """Return the weighted sums of each output pixel's taps, across and then down. Only rows that are used are read."""
    rows, places = np.unique(down.indices, return_inverse=True)
    places = places.reshape(down.indices.shape)
    used, weights = pixels[rows], np.repeat(across.weights, 3, axis=0)  # a weight for each byte of a pixel
    lines = np.zeros((len(rows), len(weights)), np.int32)
    for tap in range(weights.shape[1]):
        lines += used.take(across.indices[:, tap], axis=1).reshape(lines.shape) * weights[:, tap]
    two_taps = down.weights.shape[1] == 2
    if two_taps:
        lines >>= 4
    total = np.zeros((len(places), len(weights)), np.int32)
    for tap in range(down.weights.shape[1]):
        line = lines[places[:, tap]]
        line *= down.weights[:, tap, None]
        if two_taps:  # OpenCV keeps 10 and then 2 more bits of a sum of two, and 22 bits of a longer one
            line >>= 16
        total += line
    total += 2 if two_taps else 1 << 21
    total >>= 2 if two_taps else 22
    np.clip(total, 0, 255, out=total)
    return total.astype(np.uint8).reshape(len(places), -1, 3)


def _averaged(pixels: Pixels, height: int, width: int) -> Pixels:
    """Return the averages of the rectangles that the output pixels cover, with fractions of pixels at their edges."""
    means = _axis_means(pixels, height).swapaxes(0, 1)
    averages = _axis_means(np.ascontiguousarray(means), width).swapaxes(0, 1)
    rounded: Pixels = np.floor(averages + np.float32(0.5)).astype(np.uint8)
    return rounded


def _axis_means(lines: NDArray[np.float32] | Pixels, size: int) -> NDArray[np.float32]:
    """Return `size` means along the first axis."""
    n = len(lines)
    edges = np.arange(size + 1) * n  # in parts of 1 / size
    whole, part = edges // size, ((edges % size) / size).astype(np.float32)[:, None, None]
    # Whole lines from one edge to the next, then what the fractions at both edges add and take away.
    means: NDArray[np.float32] = np.add.reduceat(lines, whole[:-1], axis=0, dtype=np.float32)
    at_edge = lines[np.minimum(whole, n - 1)] * part
    means += at_edge[1:] - at_edge[:-1]
    means /= np.float32(n / size)
    return means
