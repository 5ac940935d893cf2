"""The last steps of every export: write, add the warm-up records, verify, and only then give it its number."""

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
    """Publish what `write` writes as a version of the folder `model`; returns its path (see `versions.publish`).

    `origin` is kept beside it where it has a source of its own. With `dry_run` all is done in a temporary folder that
    is then removed, and the path is where it would have gone. Raises ExportError; then nothing is left behind.
    """

    def complete(folder: Path) -> None:
        try:
            write(folder)
            write_contract(folder, contract)
            if origin is not None:
                write_origin(folder, origin)
            write_warmup(folder, contract)
        except tf.errors.OpError as error:  # a full disk, say, which TensorFlow does not raise as an OSError
            raise ExportError(f"Cannot write to {folder.parent}: {_reason(error)}.") from error
        verify(folder, contract)

    if not dry_run:
        return publish(model, complete, version=version)
    with tempfile.TemporaryDirectory() as scratch:
        publish(Path(scratch) / model.name, complete)
    return model / str(next_free(model) if version is None else version)


def _reason(error: tf.errors.OpError) -> str:
    """What the operating system said, which comes last; TensorFlow puts its own names before and after it."""
    return str(error.message).partition(" [Op:")[0].strip().splitlines()[-1].rpartition("; ")[2]
