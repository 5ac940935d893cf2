"""Call a Keras model, and name its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from exporter.errors import ExportError
from exporter.graph.inputs import model_inputs
from exporter.graph.wrapping import RawModel
from serving.description import Description


def raw_model(network: Any, description: Description, source: Path) -> RawModel:  # noqa: ANN401 - Keras has no types
    """Return the raw model of a Keras model.

    Raises ExportError unless it has one input, the images, besides the constants of `description`.

    An output has the name that the model gives it: its key in a dictionary, or the name of the layer that makes it. An
    output without a name of its own is `output_0`, `output_1` and so on, as in `model.export`.
    """
    inputs = getattr(network, "inputs", None) or []  # a model that is a class of its own has none
    constants = {constant.tensor for constant in description.input.constants}
    others = [entry for entry in inputs if entry.name not in constants]
    if inputs and (len(others) != 1 or len(inputs) != 1 + len(constants)):
        raise ExportError(
            f"{source} takes {', '.join(entry.name for entry in inputs)}: it must take one input, the images, "
            "besides the constants that the contract gives it (`constants` in [input])."
        )

    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = network(_arguments(network, description, images), training=False)
        if isinstance(outputs, dict):
            return {str(name): output for name, output in outputs.items()}
        listed = keras.tree.flatten(outputs)
        return dict(zip(output_names(network, len(listed)), listed, strict=True))

    return RawModel(
        call=call,
        shape=tuple(others[0].shape) if others else (None, *(None for _ in description.image_shape[1:])),
        dtype=tf.as_dtype(others[0].dtype) if others else None,
        weight_bytes=sum(4 * weight.value.shape.num_elements() for weight in network.weights),
    )


def _arguments(network: Any, description: Description, images: tf.Tensor) -> Any:  # noqa: ANN401 - Keras has no types
    """Return what the model takes: the images, or a list of them and of the constants."""
    if not description.input.constants:
        return images
    values = model_inputs(description.input, images)
    inputs = getattr(network, "inputs", None)
    return [values.get(entry.name, images) for entry in inputs] if inputs else values


def output_names(network: Any, count: int) -> Sequence[str]:  # noqa: ANN401 - Keras has no types
    """Return the names of the `count` outputs of a Keras model; see `raw_model`."""
    names = getattr(network, "output_names", None)
    if names is None and isinstance(network, keras.Sequential):
        names = [network.layers[-1].name]
    if names is None or len(set(names)) != count:
        return [f"output_{number}" for number in range(count)]
    return [str(name) for name in names]
