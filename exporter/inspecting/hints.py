"""Read what files say of a model: labels beside it, its Keras config, the pipeline.config of TF Object Detection."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import yaml

from exporter.errors import ExportError
from exporter.inspecting.facts import Finding, Hints
from exporter.weights.model_code import config_objects, keras_config
from serving.errors import ContractError
from serving.label_files import read_label_file
from serving.utf8_files import read_utf8

_LABEL_FILES: Final = (
    "metadata.yaml",
    "data.yaml",
    "labels.txt",
    "classes.txt",
    "*.names",
    "*label_map*.pbtxt",
    "*labels*.pbtxt",
    "labels.json",
    "*labels*.txt",
)
_ITSELF: Final = "the model scales pixels itself"


def read_hints(path: Path, labels: Path | None) -> Hints:
    """Read the hints of the model at `path`. `labels` is the file that the user names; it must be readable.

    Raises ContractError if that file is no file of labels. A file that was only found beside the model is left aside if
    it cannot be read.
    """
    findings = {each.key: each for each in (*_of_ultralytics(path), *_of_pipeline(path), *_of_keras(path))}
    is_zoo = "aspect" in findings
    findings.pop("aspect", None)
    if labels is not None:
        return Hints(read_label_file(labels, from_1=is_zoo), labels, findings)
    for candidate in _beside(path):
        with suppress(ContractError):
            from_1 = is_zoo and candidate.suffix != ".pbtxt"
            if names := read_label_file(candidate, from_1=from_1):
                return Hints(names, candidate, findings)
    return Hints(findings=findings)


def _beside(path: Path) -> Iterator[Path]:
    folders = [path, path / "assets", path / "assets.extra", path.parent] if path.is_dir() else [path.parent]
    for folder in folders:
        for pattern in _LABEL_FILES:
            with suppress(OSError):
                yield from sorted(folder.glob(pattern))


def _of_ultralytics(path: Path) -> Iterator[Finding]:
    """Yield what Ultralytics' metadata.yaml says, and how its own programs prepare photos and select boxes."""
    try:
        fields = yaml.load(read_utf8(path / "metadata.yaml"), yaml.BaseLoader)  # noqa: S506 - it makes texts only
    except (ContractError, yaml.YAMLError, RecursionError):
        return
    if not isinstance(fields, dict) or not {"names", "stride"} <= fields.keys():
        return
    why = "metadata.yaml: as Ultralytics prepares photos"
    size = fields.get("imgsz")
    if isinstance(size, list) and len(size) == 2 and all(str(side).isdigit() for side in size):
        yield from _size(int(size[0]), int(size[1]), "metadata.yaml: imgsz")
    yield Finding("", "resize_mode", "letterbox", why)
    yield Finding("", "antialias", value=False, why=why)
    yield Finding("", "clip", "after", "as Ultralytics selects boxes")
    yield Finding("input", "scale", [255, 255, 255], why)


def _of_pipeline(path: Path) -> Iterator[Finding]:
    """Yield what pipeline.config says of the size and the shape of the input."""
    files = [path / "pipeline.config", path.parent / "pipeline.config"]
    text = ""
    for file in files:
        with suppress(OSError, UnicodeDecodeError):
            text = text or file.read_text("utf-8")
    if fixed := re.search(r"fixed_shape_resizer\s*\{([^}]*)\}", text):
        height, width = (re.search(rf"\b{side}\s*:\s*(\d+)", fixed[1]) for side in ("height", "width"))
        if height and width:
            yield from _size(int(height[1]), int(width[1]), "pipeline.config: fixed_shape_resizer")
            yield Finding("", "resize_mode", "stretch", "pipeline.config: fixed_shape_resizer stretches")
    elif kept := re.search(r"keep_aspect_ratio_resizer\s*\{([^}]*)\}", text):
        longest = re.search(r"\bmax_dimension\s*:\s*(\d+)", kept[1])
        if longest:
            side = int(longest[1])
            yield from _size(side, side, "pipeline.config: max_dimension")
            why = "pipeline.config: keep_aspect_ratio_resizer"
            yield Finding("", "resize_mode", "letterbox", why)
            yield Finding("", "align", "top_left", why)
            yield Finding("", "pad_colour", [0, 0, 0], why)
    if text:
        yield Finding("", "aspect", "zoo")


def _size(height: int, width: int, why: str) -> Iterator[Finding]:
    yield Finding("", "input_height", height, why)
    yield Finding("", "input_width", width, why)


def _of_keras(path: Path) -> Iterator[Finding]:
    """Yield what the config of a Keras file says of pixels: layers that scale them, or KerasHub's image converter."""
    try:
        nodes = list(config_objects(keras_config(path)))
    except ExportError:  # a SavedModel
        return
    converter = next((node for node in nodes if str(node.get("class_name", "")).endswith("ImageConverter")), None)
    if converter is not None:
        yield from _of_converter(converter.get("config", {}))
        return
    for node in nodes:
        values = node.get("config", {})
        if node.get("class_name") == "Rescaling" and _is_of_bytes(values.get("scale")):
            why = f"{_ITSELF}: its layer {values.get('name', 'Rescaling')} multiplies them by {values.get('scale'):.4g}"
            yield Finding("input", "scale", [1, 1, 1], why)
            return


def _is_of_bytes(scale: object) -> bool:
    """Return whether a factor is one for numbers from 0 to 255."""
    return isinstance(scale, float) and 0 < scale <= 2 / 255 + 1e-6


def _of_converter(config: dict[str, Any]) -> Iterator[Finding]:
    why = "its image converter"
    size = config.get("image_size")
    if isinstance(size, list | tuple) and len(size) == 2:
        yield from _size(int(size[0]), int(size[1]), why)
    padded = bool(config.get("pad_to_aspect_ratio"))
    yield Finding("", "resize_mode", "letterbox" if padded else "stretch", why)
    if padded:
        yield Finding("", "align", "top_left", why)
        yield Finding("", "pad_colour", [0, 0, 0], why)
    yield Finding("", "antialias", bool(config.get("antialias", False)), why)
