"""The last steps of every export: write, add the warm-up records, verify, and only then give it its number."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from exporter.catalogue import write_contract
from exporter.origin import Origin, write_origin
from exporter.verify import verify
from exporter.versions import next_free, publish
from exporter.warmup import write_warmup
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
        write(folder)
        write_contract(folder, contract)
        if origin is not None:
            write_origin(folder, origin)
        write_warmup(folder, contract)
        verify(folder, contract)

    if not dry_run:
        return publish(model, complete, version=version)
    with tempfile.TemporaryDirectory() as scratch:
        publish(Path(scratch) / model.name, complete)
    return model / str(next_free(model) if version is None else version)
