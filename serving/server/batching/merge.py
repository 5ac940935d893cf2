"""Requests to one batch and back: pure, after batching_session.cc. Every tensor's first dimension is the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.server.errors import failed_precondition, invalid_argument

Array = NDArray[Any]


def rows_of(feeds: Mapping[str, Array]) -> int:
    """The rows of a request; StatusError where its tensors do not agree."""
    if not feeds:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in feeds.values()):
        raise invalid_argument("Batching Run() input tensors must have at least one dimension")
    sizes = {len(array) for array in feeds.values()}
    if len(sizes) > 1:
        raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def merge(requests: Sequence[Mapping[str, Array]], rows: int, *, pad: bool) -> dict[str, Array]:
    """One batch of so many rows: what the requests do not fill is the first row of the last of them, again.

    `pad` fills up shorter arrays with zeros; without it StatusError FAILED_PRECONDITION where shapes differ.
    """
    return {name: _merged(name, [request[name] for request in requests], rows, pad=pad) for name in requests[0]}


def split(outputs: Sequence[Array], sizes: Sequence[int], rows: int) -> list[list[Array]]:
    """Each request's part of the outputs of a batch of so many rows; StatusError where they are not by row."""
    for output in outputs:
        if output.ndim == 0:
            raise failed_precondition("Batched output tensor has 0 dimensions")
        if len(output) != rows:
            raise failed_precondition(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                "input tensors"
            )
    ends = np.cumsum(sizes).tolist()
    return [[output[end - size : end] for output in outputs] for size, end in zip(sizes, ends, strict=True)]


def _merged(name: str, arrays: list[Array], rows: int, *, pad: bool) -> Array:
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        if not pad or len({len(shape) for shape in shapes}) > 1:
            raise failed_precondition(  # the missing spaces are TF Serving's
                f"Tensors with name '{name}' from different tasks have different shapes and padding is turned off."
                "Set pad_variable_length_inputs to true, or ensure that all tensors with the same name"
                "have equal dimensions starting with the first dim."
            )
        largest = np.max(list(shapes), axis=0)
        arrays = [_padded(array, largest.tolist()) for array in arrays]
    missing = rows - sum(len(array) for array in arrays)
    if missing:
        arrays = [*arrays, np.repeat(arrays[-1][:1], missing, axis=0)]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _padded(array: Array, shape: list[int]) -> Array:
    empty: Any = b"" if array.dtype == object else 0
    padded = np.full((len(array), *shape), empty, array.dtype)
    padded[tuple(slice(size) for size in array.shape)] = array
    return padded
