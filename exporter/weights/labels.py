"""Read label files: one name per line. The first line is class 0, the background of an SSD."""

from __future__ import annotations

from pathlib import Path

from exporter.errors import ExportError
from serving.contract import Label


def read_labels(path: Path, *, classes: int) -> tuple[Label, ...]:
    """Read the labels of the classes 1 to `classes` - 1. A tab and a category path may follow a name.

    Raises ExportError if the file cannot be read, if it does not have `classes` lines (background included), or if it
    has a blank name or the same name twice.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise ExportError(f"Cannot read the labels {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ExportError(f"The labels {path} are not UTF-8 text: save the file as UTF-8.") from error
    seen: dict[str, int] = {}
    labels = []
    for number, line in enumerate(lines):
        name, _, root = (part.strip() for part in line.partition("\t"))
        if not name:
            raise ExportError(f"{path}, line {number + 1}: the name is blank: give each class a name.")
        if name in seen:
            raise ExportError(
                f"{path}, line {number + 1}: {name!r} stands on line {seen[name]} already: name each class once."
            )
        seen[name] = number + 1
        labels.append(Label(id=number, name=name, root=root))
    if len(labels) != classes:
        raise ExportError(
            f"{path} has {len(labels)} lines, but the weights have {classes} classes: "
            "write one name per line, the first for the background."
        )
    return tuple(labels[1:])
