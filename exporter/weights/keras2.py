"""What Keras 3 needs to be told of a file of Keras 2, and what it cannot read of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from exporter.errors import ExportError

_INHERITED: Final = ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint")
"""Arguments that layers of Keras 2 wrote without using them, since they inherit from `Conv`. Keras 3 refuses them."""

_WRITTEN: Final = {
    "Conv1DTranspose": _INHERITED[:1],
    "Conv2DTranspose": _INHERITED[:1],
    "DepthwiseConv1D": _INHERITED,
    "DepthwiseConv2D": _INHERITED,
    "SeparableConv1D": _INHERITED,
    "SeparableConv2D": _INHERITED,
}


def keras_2_layers() -> dict[str, Any]:
    """Return layers of Keras 3, by name, that take what the same layers of Keras 2 wrote: for `custom_objects`."""
    import keras  # noqa: PLC0415 - it imports TensorFlow, which takes seconds

    return {name: _taking_more(getattr(keras.layers, name), unused) for name, unused in _WRITTEN.items()}


def _taking_more(layer: Any, unused: tuple[str, ...]) -> Any:  # noqa: ANN401 - Keras has no types
    """Return a class whose `from_config` makes a `layer`, and leaves out arguments of these names."""

    def from_config(_: object, config: dict[str, Any]) -> Any:  # noqa: ANN401 - Keras has no types
        return layer.from_config({key: value for key, value in config.items() if key not in unused})

    return type(layer.__name__, (layer,), {"from_config": classmethod(from_config)})


def unreadable(path: Path, version: str, reason: str) -> ExportError:
    """Return the error for a file of Keras 2 that Keras 3 cannot read, for a reason; it names the way out."""
    return ExportError(
        f"{path} was saved by Keras {version}, and Keras 3 cannot read it ({reason}): convert it with Keras 2, "
        f"`pip install tf_keras` and `python -c \"import tf_keras; tf_keras.models.load_model('{path}', compile=False)"
        ".export('saved')\"`, and export the folder `saved` with `shelfline export savedmodel`."
    )
