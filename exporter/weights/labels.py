"""Reads label files: a name a line, the first of class 0, which an SSD's background is."""

from __future__ import annotations

from pathlib import Path

from exporter.errors import ExportError
from serving.contract import Label


def read_labels(path: Path, *, classes: int) -> tuple[Label, ...]:
    """The labels of the classes 1 to `classes` - 1; a name may be followed by a tab and its category path.

    Raises ExportError where the file has not `classes` lines, background included, or a blank line or a name twice.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise ExportError(f"Cannot read the labels {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ExportError(f"The labels {path} are not UTF-8 text.") from error
    seen: dict[str, int] = {}
    labels = []
    for number, line in enumerate(lines):
        name, _, root = (part.strip() for part in line.partition("\t"))
        if not name:
            raise ExportError(f"{path}, line {number + 1}: the name is blank.")
        if name in seen:
            raise ExportError(f"{path}, line {number + 1}: {name!r} stands on line {seen[name]} already.")
        seen[name] = number + 1
        labels.append(Label(id=number, name=name, root=root))
    if len(labels) != classes:
        raise ExportError(
            f"{path} has {len(labels)} lines, but the weights have {classes} classes: "
            "give one name a line, the first for the background."
        )
    return tuple(labels[1:])
