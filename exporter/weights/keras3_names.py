"""Keras 3 numbers the groups of a weight file by class; a model's config tells which layer each one is."""

from __future__ import annotations

import re
from typing import Any


def numbered_names(config: Any) -> dict[str, str]:  # noqa: ANN401 - whatever JSON holds
    """The name of each layer by its group, from the parsed `config.json` of a `.keras` file.

    The config is only read, nothing in it is ever built. A class's first layer is `conv2d`, its next `conv2d_1`.
    """
    names: dict[str, str] = {}
    seen: dict[str, int] = {}
    layers = config.get("config", {}).get("layers", []) if isinstance(config, dict) else []
    for layer in layers:
        kind = _snake_case(str(layer.get("class_name", "")))
        number = seen.get(kind, 0)
        seen[kind] = number + 1
        names[f"{kind}_{number}" if number else kind] = str(layer.get("config", {}).get("name", layer.get("name", "")))
    return names


def _snake_case(name: str) -> str:
    """As Keras makes it: `MaxPooling2D` is `max_pooling2d`."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
