"""Set the weights of a model from stored weights, by layer name. All layers must match."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from exporter.errors import ExportError
from exporter.weights.stored_weights import StoredWeights

Shapes = Mapping[str, tuple[tuple[int, ...], ...]]

_SHOWN = 4
_SCORES = re.compile(r"pool6_mbox_conf_flat(?:_[0-9]+)?")


def fill(model: Any, stored: StoredWeights) -> None:  # noqa: ANN401 - Keras has no types
    """Set all weights of a Keras model.

    Raises ExportError, which names the layers that are missing, unexpected or of another shape.
    """
    wanted = {
        layer.name: tuple(tuple(weight.shape) for weight in layer.weights) for layer in model.layers if layer.weights
    }
    require_same_layers(wanted, stored.shapes())
    for name in wanted:
        model.get_layer(name).set_weights(stored.read(name))


def require_same_layers(wanted: Shapes, stored: Shapes) -> None:
    """Raise ExportError, in one line, unless both have the same layers with the same shapes of weights."""
    common = [name for name in wanted if name in stored]
    differences = {
        "missing": [name for name in wanted if name not in stored],
        "unexpected": [name for name in stored if name not in wanted],
        "of another shape": [
            f"{name} {stored[name]} instead of {wanted[name]}" for name in common if stored[name] != wanted[name]
        ],
    }
    listed = [
        f"{kind}: {', '.join(layers[:_SHOWN])}{f' and {len(layers) - _SHOWN} more' if len(layers) > _SHOWN else ''}"
        for kind, layers in differences.items()
        if layers
    ]
    if listed:
        raise ExportError(f"The weights are not this network's. Layers {'; '.join(listed)}.")


def ssd300_classes(stored: StoredWeights) -> int:
    """Return the class count of SSD300 weights, background included. Raises ExportError for another network's weights.

    The class scores of the last map, pool6, have 6 priors, so that layer has 6 times as many outputs as classes.
    """
    shapes = [shapes for name, shapes in stored.shapes().items() if _SCORES.fullmatch(name)]
    if len(shapes) != 1 or len(shapes[0][0]) != 2 or shapes[0][0][1] % 6 or shapes[0][0][1] < 12:
        raise ExportError(
            f"The weights are not SSD300's: of their {len(stored.layers)} layers, none or several score its last map "
            "(pool6_mbox_conf_flat); name the class count with --classes to see what differs."
        )
    return shapes[0][0][1] // 6
