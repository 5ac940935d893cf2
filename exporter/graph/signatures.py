"""The signatures of an exported model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from serving.contract import Contract


@dataclass(frozen=True)
class Signature:
    """A signature with one input. `function` takes the input tensor and returns the outputs by name."""

    name: str
    input_name: str
    shape: tuple[int | None, ...]
    dtype: tf.DType
    function: Callable[[tf.Tensor], dict[str, tf.Tensor]]

    def spec(self, name: str | None = None) -> tf.TensorSpec:
        """Return the shape and dtype of the input."""
        return tf.TensorSpec(self.shape, self.dtype, name)


def describe_signature(contract: Contract) -> Signature:
    """Return the signature `describe`: `query` int32 (N) -> `contract` string (N), the contract as JSON in each row.

    The values of `query` are not used. One copy per row lets TF Serving batch the calls.
    """
    text = contract.to_json()

    def describe(query: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"contract": tf.fill(tf.shape(query), text)}

    return Signature("describe", "query", (None,), tf.int32, describe)
