"""The last steps of every export: write the SavedModel, add warm-up records, verify, rename to the version number."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from exporter.errors import ExportError
from exporter.versions.catalogue import write_contract
from exporter.versions.folders import next_free, publish
from exporter.versions.origin import Origin, write_origin
from exporter.versions.verify import verify
from exporter.versions.warmup_records import write_warmup
from serving.contract import Contract


def publish_model(
    model: Path,
    contract: Contract,
    write: Callable[[Path], None],
    *,
    origin: Origin | None = None,
    version: int | None = None,
    dry_run: bool = False,
) -> Path:
    """Publish the SavedModel that `write` writes as a version in the folder `model`; see `folders.publish`.

    `origin` is written into the version if it was made of a source model. With `dry_run`, all steps run in a temporary
    folder, which is then removed. Returns the folder of the version, or with `dry_run` the folder that it would have.
    Raises ExportError; no files are left then.
    """

    def complete(folder: Path) -> None:
        try:
            write(folder)
            write_contract(folder, contract)
            if origin is not None:
                write_origin(folder, origin)
            write_warmup(folder, contract)
        except tf.errors.OpError as error:  # such as a full disk, which TensorFlow does not raise as OSError
            raise ExportError(f"Cannot write to {folder.parent}: {_reason(error)}.") from error
        verify(folder, contract)

    if not dry_run:
        return publish(model, complete, version=version)
    with tempfile.TemporaryDirectory() as scratch:
        publish(Path(scratch) / model.name, complete)
    return model / str(next_free(model) if version is None else version)


def _reason(error: tf.errors.OpError) -> str:
    """Return the operating system's part of a message. TensorFlow adds its own names before and after it."""
    return str(error.message).partition(" [Op:")[0].strip().splitlines()[-1].rpartition("; ")[2]
