"""The inputs of a model with raw outputs, in the graph."""

from __future__ import annotations

import tensorflow as tf

from serving.description import RawInput


def model_inputs(raw_input: RawInput, images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return all inputs of a model by name: the prepared images, and its constants for as many images."""
    inputs = {raw_input.tensor: images}
    for constant in raw_input.constants:
        value = tf.constant(constant.array())
        if constant.per_image:
            value = tf.broadcast_to(value, tf.concat([tf.shape(images)[:1], tf.shape(value)], 0))
        inputs[constant.tensor] = value
    return inputs
