"""Read what Ultralytics writes of a model: `metadata.yaml` beside a SavedModel, or the properties of an ONNX file."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from exporter.errors import ExportError
from serving.contract import Label
from serving.label_files import labels_of, read_label_file
from serving.utf8_files import read_utf8

METADATA_FILE: Final = "metadata.yaml"

_TRUE: Final = ("true", "yes", "on", "1")
_OF_OTHER_TASKS: Final = {
    "segment": "masks",
    "semantic": "masks",
    "pose": "keypoints",
    "obb": "rotated boxes",
    "classify": "one label for the whole photo",
    "depth": "distances",
}


@dataclass(frozen=True)
class YoloMetadata:
    """What a YOLO model says of itself.

    `labels` are its classes, with the ids 0, 1, .... `size` is (height, width) of its input in pixels. `selects` is
    whether it selects its detections itself, so that it answers (N, K, 6). Both are None if nothing is said of them.
    `source` and `names_source` are the files that say it and that have the names.
    """

    labels: tuple[Label, ...]
    names_source: Path
    source: Path
    size: tuple[int, int] | None = None
    selects: bool | None = None
    provenance: str = ""


def read_metadata(folder: Path, labels: Path | None = None) -> YoloMetadata:
    """Read `metadata.yaml` in the folder of a SavedModel. The names in the file `labels` replace those in it.

    YOLOv5 writes no such file; `labels` is enough then. Raises ExportError if there is neither, or if the file is not
    what Ultralytics writes, and ContractError for labels that cannot be read.
    """
    path = folder / METADATA_FILE
    if not path.exists():
        if labels is None:
            raise ExportError(
                f"{folder} has no {METADATA_FILE}, which Ultralytics writes beside saved_model.pb: copy it there, "
                "or name the classes with --labels FILE (the data.yaml of the training, or a name per line)."
            )
        return _metadata({}, folder, labels)
    try:
        # This loader makes texts only: a class `no` must not become false.
        fields = yaml.load(read_utf8(path), yaml.BaseLoader)  # noqa: S506 - it makes texts, lists and dictionaries
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split()).rstrip(".")[:200]
        raise ExportError(f"{path} is not YAML: {reason}: copy the file again that Ultralytics wrote.") from error
    if not isinstance(fields, dict):
        raise ExportError(f"{path} is not what Ultralytics writes: copy it again from where the model was exported.")
    return _metadata(fields, path, labels)


def metadata_of_properties(properties: Mapping[str, str], path: Path, labels: Path | None = None) -> YoloMetadata:
    """Read the properties of an ONNX file, where Ultralytics and YOLOv5 write the same, each value as Python's text.

    Raises ExportError and ContractError, as `read_metadata`.
    """
    fields = {key: _value(text) for key, text in properties.items()}
    if isinstance(names := fields.get("names"), dict):
        fields["names"] = {key: str(name) for key, name in names.items()}
    return _metadata(fields, path, labels)


def _value(text: str) -> Any:  # noqa: ANN401 - whatever a property holds
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _metadata(fields: Mapping[str, Any], path: Path, labels_file: Path | None) -> YoloMetadata:
    task = str(fields.get("task", "detect"))
    if task != "detect":
        answers = _OF_OTHER_TASKS.get(task)
        raise ExportError(
            f'{path}: the task of the model is "{task}"{f", which answers {answers}" if answers else ""}: '
            'Shelfline serves detectors, so export a model whose task is "detect".'
        )
    channels = str(fields.get("channels", 3))
    if channels != "3":
        raise ExportError(f"{path}: the model takes images of {channels} channels: Shelfline gives it three, RGB.")
    labels = _labels(fields, path) if labels_file is None else read_label_file(labels_file)
    ids = [label.id for label in labels]
    if ids != list(range(len(labels))):
        raise ExportError(
            f"{labels_file or path}: the ids of the names must be 0, 1, ... without a gap, but {_first_gap(ids)} is "
            "missing: name each class."
        )
    size = _size(fields.get("imgsz"), path)
    return YoloMetadata(labels, labels_file or path, path, size, _selects(fields), _provenance(fields))


def _labels(fields: Mapping[str, Any], path: Path) -> tuple[Label, ...]:
    if "names" not in fields:
        raise ExportError(
            f"{path} has no `names`: name the classes with --labels FILE (the data.yaml of the training, "
            "or a name per line)."
        )
    return labels_of(fields["names"], path)


def _first_gap(ids: list[int]) -> int:
    return next(number for number in range(len(ids) + 1) if number not in ids)


def _size(size: Any, path: Path) -> tuple[int, int] | None:  # noqa: ANN401 - whatever YAML holds
    """Return (height, width) of `imgsz`, which is one number or [height, width]."""
    if size is None:
        return None
    sides = size if isinstance(size, list | tuple) else [size, size]
    try:
        height, width = (int(side) for side in (sides * 2 if len(sides) == 1 else sides))
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise ExportError(f"{path}: imgsz is {size}: it must be the side in pixels, or [height, width].")
    return height, width


def _selects(fields: Mapping[str, Any]) -> bool | None:
    """Return whether the model answers detections: it was trained so, or exported with `nms=True`.

    A YOLOv10 that an older Ultralytics exported does so and does not say it.
    """
    arguments = fields.get("args")
    with_nms = arguments.get("nms", False) if isinstance(arguments, Mapping) else False
    if _is_true(with_nms) or _is_true(fields.get("end2end")):
        return True
    return False if "end2end" in fields else None


def _is_true(value: object) -> bool:
    return str(value).lower() in _TRUE


def _provenance(fields: Mapping[str, Any]) -> str:
    parts = [str(fields.get("description", "")), str(fields.get("date", "")), str(fields.get("license", ""))]
    return "; ".join(part for part in parts if part)
