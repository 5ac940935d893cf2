"""Read the labels of an SSD, whose class 0 is the background."""

from __future__ import annotations

from pathlib import Path

from exporter.errors import ExportError
from serving.contract import Label
from serving.label_files import read_label_file


def read_labels(path: Path, *, classes: int) -> tuple[Label, ...]:
    """Read the labels of the classes 1 to `classes` - 1. The label with id 0 is the background, and is left out.

    Raises ContractError if the file is no file of labels (see `read_label_file`), ExportError if its labels are not
    those of `classes` classes, background included.
    """
    labels = tuple(label for label in read_label_file(path) if label.id)
    ids = [label.id for label in labels]
    if ids != list(range(1, classes)):
        numbers = f"{len(ids)} labels beside the background" + (f", with ids from {ids[0]} to {ids[-1]}" if ids else "")
        raise ExportError(
            f"{path} has {numbers}, but the weights have {classes} classes, background included: "
            f"write {classes} lines, the first for the background, or the ids 1 to {classes - 1}."
        )
    return labels
