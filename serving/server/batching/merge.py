"""Merge requests into one batch and split its outputs; pure, after TF Serving's batching_session.cc.

The first dimension of every tensor is the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.server.errors import failed_precondition, invalid_argument

Array = NDArray[Any]


def rows_of(feeds: Mapping[str, Array]) -> int:
    """Return the rows of a request. Raises INVALID_ARGUMENT unless all its tensors have the same first dimension."""
    if not feeds:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in feeds.values()):
        raise invalid_argument("Batching Run() input tensors must have at least one dimension")
    sizes = {len(array) for array in feeds.values()}
    if len(sizes) > 1:
        raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def merge(requests: Sequence[Mapping[str, Array]], rows: int, *, pad: bool) -> dict[str, Array]:
    """Merge requests into one batch of `rows` rows, by tensor name.

    If the requests have fewer rows, the first row of the last request is repeated. With `pad`, smaller arrays are
    padded with zeros to the largest shape. Raises FAILED_PRECONDITION if shapes differ without `pad`, or in their rank.
    """
    return {name: _merged(name, [request[name] for request in requests], rows, pad=pad) for name in requests[0]}


def split(outputs: Sequence[Array], sizes: Sequence[int], rows: int) -> list[list[Array]]:
    """Split the outputs of a batch of `rows` rows into the outputs of each request; `sizes` are the requests' rows.

    Raises FAILED_PRECONDITION if the first dimension of an output is not the batch.
    """
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


def joined(parts: Sequence[Sequence[Array]]) -> list[Array]:
    """Join the outputs of the parts of a call that was split, in the order of its rows."""
    if len(parts) == 1:
        return list(parts[0])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _merged(name: str, arrays: list[Array], rows: int, *, pad: bool) -> Array:
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        if not pad or len({len(shape) for shape in shapes}) > 1:
            raise failed_precondition(  # TF Serving's message has no spaces there either
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
