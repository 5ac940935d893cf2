"""The origin of a version, kept in its folder so that the version can be compared with its source model.

This module imports no TensorFlow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from exporter.errors import ExportError
from serving.contract import FrozenModel
from serving.description import Description

ORIGIN_FILE = "assets.extra/source.json"


class Origin(FrozenModel):
    """The kind of the source model and the description of its inputs and raw outputs."""

    kind: Literal["ssd300", "keras", "savedmodel"]
    description: Description


def write_origin(folder: Path, origin: Origin) -> None:
    """Write the origin into a SavedModel's folder."""
    path = folder / ORIGIN_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(origin.model_dump_json(), "utf-8")


def read_origin(folder: Path) -> Origin:
    """Read the origin of a version. Raises ExportError if the folder has none."""
    try:
        return Origin.model_validate_json((folder / ORIGIN_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise ExportError(
            f"{folder} does not say how its source is read: leave out --source for the default model, "
            "and export any other model again."
        ) from error
