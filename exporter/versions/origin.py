"""The origin of a version, kept in its folder so that the version can be compared with its source model.

This module imports no TensorFlow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError, model_validator

from exporter.errors import ExportError
from serving.contract import FrozenModel
from serving.description import Description

ORIGIN_FILE = "assets.extra/source.json"


class Origin(FrozenModel):
    """The kind of the source model and the description of its inputs and raw outputs."""

    kind: Literal["ssd300", "keras", "savedmodel", "onnx"]
    description: Description

    @model_validator(mode="before")
    @classmethod
    def _of_shelfline_0_2(cls, fields: Any) -> Any:  # noqa: ANN401 - JSON
        """Add what a version of Shelfline 0.2 does not say: each class of a box was a detection then."""
        match fields:
            case {"description": {"output": {"convention": "yolo_raw"} as output}}:
                output.setdefault("best_class_only", False)
        return fields


def write_origin(folder: Path, origin: Origin) -> None:
    """Write the origin into a SavedModel's folder."""
    path = folder / ORIGIN_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(origin.model_dump_json(), "utf-8")


def has_origin(folder: Path) -> bool:
    """Return whether a version has an origin: the default model has none."""
    return (folder / ORIGIN_FILE).is_file()


def read_origin(folder: Path) -> Origin:
    """Read the origin of a version. Raises ExportError if the folder has none."""
    try:
        return Origin.model_validate_json((folder / ORIGIN_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise ExportError(
            f"{folder} does not say how its source is read: leave out --source for the default model, "
            "and export any other model again."
        ) from error
