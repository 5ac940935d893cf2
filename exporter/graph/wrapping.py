"""Add the signatures `detect` and `describe` to a model with raw outputs, by its description."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from exporter.errors import ExportError
from exporter.graph.box_checks import check_boxes
from exporter.graph.detection import TENSORFLOW, detections
from exporter.graph.fixed_batches import in_fixed_batches
from exporter.graph.frozen import write_frozen
from exporter.graph.open_batch import open_batch
from exporter.graph.sample_photos import sample_photos
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

    `call` takes the prepared images and returns the raw outputs by name. `shape` and `dtype` are those of its input;
    `dtype` is None if the model does not tell it. `weight_bytes` is the size of all weights in bytes. `resources` are
    objects that `call` uses and that must be saved.
    """

    call: Callable[[tf.Tensor], Mapping[str, tf.Tensor]]
    shape: tuple[int | None, ...]
    dtype: tf.DType | None
    weight_bytes: int
    resources: Sequence[Any] = ()

    def answers(self, images: NDArray[Any]) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the raw outputs of prepared images (M, H, W, 3), in batches of the model's size if it has one.

        The last batch is filled up with copies of its last image, whose outputs are left out.
        """
        rows = self.shape[0] or max(1, len(images))
        for start in range(0, len(images), rows):
            batch = images[start : start + rows]
            filled = np.concatenate([batch, np.repeat(batch[-1:], rows - len(batch), 0)])
            outputs = self.call(tf.constant(filled))
            yield {name: np.asarray(tensor)[: len(batch)] for name, tensor in outputs.items()}


def export_wrapped(
    raw_model: RawModel,
    origin: Origin,
    model: Path,
    *,
    version: int | None = None,
    dry_run: bool = False,
    images: Path | None = None,
) -> Path:
    """Export a model as a version in the folder `model`, with the signatures `serving_default`, `detect`, `describe`.

    `serving_default` returns the raw outputs. `detect` takes any number of images, also if the model takes batches of
    one size only; the contract then asks for batches of that size, if the model could not be opened. The boxes are
    checked on the photos in the folder `images`, and on made-up ones. Without `version`, the version gets the next free
    number. Returns the folder of the version. Raises ExportError if the model does not fit its description or cannot be
    written; no files are left then.
    """
    description = origin.description
    _check_input(raw_model, description)
    prepared = prepare(sample_photos(description.contract, images), description.input)
    with _one_line_errors(tf.errors.OpError):
        check_boxes(raw_model.answers(prepared), description)
    raw_model = _opened(raw_model, prepared)
    description = _with_batch_rows(description, raw_model.shape[0])
    every = _signatures(raw_model, description)

    def write(folder: Path) -> None:
        with _one_line_errors():
            if raw_model.weight_bytes < _FREEZE_BELOW:
                write_frozen(folder, every)
            else:
                write_archive(folder, every, resources=raw_model.resources)

    origin = Origin(kind=origin.kind, description=description)
    return publish_model(model, description.contract, write, origin=origin, version=version, dry_run=dry_run)


@contextmanager
def _one_line_errors(*others: type[Exception]) -> Iterator[None]:
    """Turn the errors of a trace and of the decoding, and those in `others`, into an ExportError of one line."""
    of_trace = (RowsRejectedError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
    caught: tuple[type[Exception], ...] = (*of_trace, *others)
    try:
        yield
    except caught as error:
        # TensorFlow puts the call stack before the message of an error that is raised during a trace.
        lines = str(getattr(error, "message", error)).strip().splitlines() or [type(error).__name__]
        reason = lines[-1].strip().removeprefix(f"{type(error).__name__}: ")
        raise ExportError(f"The model is not what its description says: {reason}") from error


def _opened(raw_model: RawModel, samples: NDArray[Any]) -> RawModel:
    """Return the same model with an open batch, if it takes batches of one size only and can be opened.

    A large model is left as it is, since its graph would have to be copied.
    """
    rows = raw_model.shape[0]
    if rows is None or raw_model.weight_bytes >= _FREEZE_BELOW:
        return raw_model
    shape = (rows, *samples.shape[1:])
    call = open_batch(raw_model.call, shape, tf.as_dtype(samples.dtype), samples)
    return raw_model if call is None else replace(raw_model, call=call, shape=(None, *samples.shape[1:]))


def _with_batch_rows(description: Description, rows: int | None) -> Description:
    """Return a description whose contract asks for at most `rows` images a call, if batches have that size only."""
    contract = description.contract
    if rows is None or contract.max_batch_rows <= rows:
        return description
    return description.model_copy(update={"contract": contract.model_copy(update={"max_batch_rows": rows})})


def _signatures(raw_model: RawModel, description: Description) -> list[Signature]:
    contract, entry = description.contract, description.input
    rows, size = raw_model.shape[0], (contract.input_height, contract.input_width, 3)

    def raw(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(raw_model.call(images))

    def detect_batch(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return detections(raw_model.call(prepare(images, entry, TENSORFLOW)), description)

    def detect(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return detect_batch(images) if rows is None else in_fixed_batches(detect_batch, images, rows)

    return [
        Signature("serving_default", entry.tensor, (rows, *description.image_shape[1:]), tf.as_dtype(entry.dtype), raw),
        Signature("detect", "images", (None, *size), tf.uint8, detect),
        describe_signature(contract),
    ]


def _check_input(raw_model: RawModel, description: Description) -> None:
    wanted = description.image_shape
    shape = raw_model.shape
    fits = len(shape) == 4 and all(size in {None, want} for size, want in zip(shape[1:], wanted[1:], strict=True))
    if not fits:
        raise ExportError(f"The model takes images of the shape {shape}, its description says {wanted}.")
    if raw_model.dtype is not None and raw_model.dtype != tf.as_dtype(description.input.dtype):
        raise ExportError(f"The model takes {raw_model.dtype.name}, its description says {description.input.dtype}.")
