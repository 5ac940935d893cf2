"""The signatures of an exported model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from serving.contract import Contract


@dataclass(frozen=True)
class Signature:
    """One way to call a model: `function` takes the one input and answers its outputs by name."""

    name: str
    input_name: str
    shape: tuple[int | None, ...]
    dtype: tf.DType
    function: Callable[[tf.Tensor], dict[str, tf.Tensor]]

    def spec(self, name: str | None = None) -> tf.TensorSpec:
        """The input's shape and dtype."""
        return tf.TensorSpec(self.shape, self.dtype, name)


def describe_signature(contract: Contract) -> Signature:
    """`describe`: `query` int32 (N), whatever its values -> `contract` string (N), the contract as JSON in each row."""
    text = contract.to_json()

    def describe(query: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"contract": tf.fill(tf.shape(query), text)}

    return Signature("describe", "query", (None,), tf.int32, describe)
