"""The operations that NumPy and TensorFlow spell differently, so that decoding is written once for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

Array = Any
"""A NumPy array or a TensorFlow tensor."""


@dataclass(frozen=True)
class Arrays:
    """One library's spelling of what decoding needs.

    `exp`: e to the power of each element. `stack`: stack arrays along a new last axis. `float32`: cast to float32.
    `columns`: 0, 1, ... x.shape[1] - 1. `flip`: reverse the last axis. `transpose`: put the axes into another order.
    `softmax`: exponentials of the last axis, divided by their sum. `argmax`: index of the largest value of the last
    axis; the lower index of equal values. NaN is never the largest.
    """

    exp: Callable[[Array], Array]
    stack: Callable[[Sequence[Array]], Array]
    float32: Callable[[Array], Array]
    columns: Callable[[Array], Array]
    flip: Callable[[Array], Array]
    transpose: Callable[[Array, Sequence[int]], Array]
    softmax: Callable[[Array], Array]
    argmax: Callable[[Array], Array]


@np.errstate(over="ignore", invalid="ignore")
def _exp(x: Array) -> Array:
    return np.exp(x)


@np.errstate(over="ignore", invalid="ignore")
def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _argmax(x: Array) -> Array:
    return np.argmax(np.where(np.isnan(x), -np.inf, x), -1)


NUMPY: Final = Arrays(
    exp=_exp,
    stack=lambda parts: np.stack(parts, axis=-1),
    float32=lambda x: np.asarray(x, np.float32),
    columns=lambda x: np.arange(x.shape[1]),
    flip=lambda x: x[..., ::-1],
    transpose=np.transpose,
    softmax=_softmax,
    argmax=_argmax,
)
