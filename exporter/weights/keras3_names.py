"""Find the layer names of a Keras 3 weight file. Its groups are numbered by class; the config has the layer names."""

from __future__ import annotations

import re
from typing import Any


def numbered_names(config: Any) -> dict[str, str]:  # noqa: ANN401 - whatever JSON holds
    """Return the layer name of each group, from the parsed `config.json` of a `.keras` file.

    The first layer of a class has the group `conv2d`, the next one `conv2d_1`. The config is only read; no object is
    built from it.
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
    """Convert a class name to snake case as Keras does: `MaxPooling2D` is `max_pooling2d`."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
