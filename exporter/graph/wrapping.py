"""Add the signatures `detect` and `describe` to a model with raw outputs, by its description."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from exporter.errors import ExportError
from exporter.graph.detection import TENSORFLOW, detections
from exporter.graph.frozen import write_frozen
from exporter.graph.signatures import Signature, describe_signature
from exporter.graph.variables import write_archive
from exporter.versions.origin import Origin
from exporter.versions.publication import publish_model
from serving.boxes.decode import prepare
from serving.description import Description
from serving.errors import RowsRejectedError

_FREEZE_BELOW = 64 << 20


@dataclass(frozen=True)
class RawModel:
    """A loaded model with raw outputs.

    `call` takes the prepared images and returns the raw outputs by name. `shape` and `dtype` are those of its input.
    `weight_bytes` is the size of all weights in bytes. `resources` are objects that `call` uses and that must be saved.
    """

    call: Callable[[tf.Tensor], Mapping[str, tf.Tensor]]
    shape: tuple[int | None, ...]
    dtype: tf.DType
    weight_bytes: int
    resources: Sequence[Any] = ()


def export_wrapped(
    raw_model: RawModel, origin: Origin, model: Path, *, version: int | None = None, dry_run: bool = False
) -> Path:
    """Export a model as a version in the folder `model`, with the signatures `serving_default`, `detect`, `describe`.

    `serving_default` returns the raw outputs. Without `version`, the version gets the next free number. Returns the
    folder of the version. Raises ExportError if the model does not fit its description or cannot be written; no files
    are left then.
    """
    description = origin.description
    _check_input(raw_model, description)
    every = _signatures(raw_model, description)

    def write(folder: Path) -> None:
        try:
            if raw_model.weight_bytes < _FREEZE_BELOW:
                write_frozen(folder, every)
            else:
                write_archive(folder, every, resources=raw_model.resources)
        except (RowsRejectedError, TypeError, ValueError) as error:
            # TensorFlow puts the call stack before the message of an error that is raised during a trace.
            reason = str(error).strip().splitlines()[-1].strip().removeprefix(f"{type(error).__name__}: ")
            raise ExportError(f"The model is not what its description says: {reason}") from error

    return publish_model(model, description.contract, write, origin=origin, version=version, dry_run=dry_run)


def _signatures(raw_model: RawModel, description: Description) -> list[Signature]:
    contract, entry = description.contract, description.input
    shape = (None, contract.input_height, contract.input_width, 3)

    def raw(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(raw_model.call(images))

    def detect(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return detections(raw_model.call(prepare(images, entry, TENSORFLOW)), description)

    return [
        Signature("serving_default", entry.tensor, description.image_shape, tf.as_dtype(entry.dtype), raw),
        Signature("detect", "images", shape, tf.uint8, detect),
        describe_signature(contract),
    ]


def _check_input(raw_model: RawModel, description: Description) -> None:
    wanted = description.image_shape
    shape = raw_model.shape
    fits = len(shape) == 4 and all(size in {None, want} for size, want in zip(shape[1:], wanted[1:], strict=True))
    if not fits:
        raise ExportError(f"The model takes images of the shape {shape}, its description says {wanted}.")
    if shape[0] is not None:
        raise ExportError(f"The model takes batches of {shape[0]} only: export it with an open first dimension.")
    if raw_model.dtype != tf.as_dtype(description.input.dtype):
        raise ExportError(f"The model takes {raw_model.dtype.name}, its description says {description.input.dtype}.")
