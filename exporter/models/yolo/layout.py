"""Tell the layout and the units of a YOLO model's answers, from its raw outputs for a few sample images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from exporter.errors import ExportError
from exporter.models.yolo.metadata import YoloMetadata
from serving.conventions import BoxUnits, EndToEnd, YoloRaw, YoloV8

Outputs = Mapping[str, NDArray[Any]]

_FIRST_STRIDES: Final = (4, 8, 16)
_LAST_STRIDES: Final = (32, 64)
_ANCHORS: Final = 3
"""YOLOv5 answers so many boxes for each cell of its grids; later models answer one."""

_FEWEST: Final = 3
"""Fewer selected boxes than this say nothing about their units."""

_CONTRACT: Final = "describe the model with `shelfline export savedmodel --contract` (or `export onnx --contract`)"


@dataclass(frozen=True)
class _Layout:
    """A way to read an output (N, a, b): its convention, and the axis of the boxes."""

    convention: Literal["yolo_v5", "yolo_v8", "end_to_end"]
    boxes_axis: Literal[1, 2]


def tell_output(
    answers: Sequence[Outputs], metadata: YoloMetadata, size: tuple[int, int]
) -> YoloRaw | YoloV8 | EndToEnd:
    """Tell the convention of a model and its `box_units`.

    Args:
        answers: raw outputs of batches of sample images, by name.
        metadata: the classes of the model, and whether it selects its detections.
        size: (height, width) of its input in pixels.

    Raises ExportError if the outputs are those of another task, if they do not have as many classes as there are names,
    or if layout or units cannot be told.
    """
    name, raw = _only_output(answers)
    layout = _layout(raw.shape[1:], metadata, size)
    if layout.boxes_axis == 2:
        raw = raw.swapaxes(1, 2)
    if layout.convention == "end_to_end":
        units = _units_of_selected(raw, size)
        return EndToEnd(convention="end_to_end", tensor=name, box_units=units)
    units = _units(raw, size)
    if layout.convention == "yolo_v5":
        return YoloRaw(convention="yolo_v5", tensor=name, box_units=units)
    return YoloV8(convention="yolo_v8", tensor=name, boxes_axis=layout.boxes_axis, box_units=units)


def _only_output(answers: Sequence[Outputs]) -> tuple[str, NDArray[np.float32]]:
    """Return the name and the value (M, a, b) of the output, of all sample images."""
    shapes = {name: tuple(array.shape[1:]) for name, array in answers[0].items()}
    listed = ", ".join(f"{name} (N, {', '.join(map(str, shape))})" for name, shape in shapes.items())
    if any(len(shape) == 3 for shape in shapes.values()):
        raise ExportError(f"The model answers {listed}: it segments, and Shelfline serves detectors.")
    if len(shapes) != 1:
        raise ExportError(
            f"The model answers {listed}: one output is expected. If YOLOv5 wrote it with --nms, export it without, "
            f"since Shelfline suppresses overlaps itself; otherwise {_CONTRACT}."
        )
    ((name, shape),) = shapes.items()
    if len(shape) != 2:
        raise ExportError(f"The model answers {listed}, not the boxes of a detector (N, boxes, columns).")
    return name, np.concatenate([np.asarray(outputs[name], np.float32) for outputs in answers])


def _layout(shape: tuple[int, ...], metadata: YoloMetadata, size: tuple[int, int]) -> _Layout:
    """Return the layout of an output (N, *shape), by its number of columns and its number of boxes."""
    classes = len(metadata.labels)
    fits = {
        _Layout("yolo_v8", 2): shape[0] == 4 + classes,
        _Layout("yolo_v8", 1): shape[1] == 4 + classes,
        _Layout("yolo_v5", 1): shape[1] == 5 + classes,
        _Layout("end_to_end", 1): shape[1] == 6,
    }
    possible = [layout for layout, is_wide_enough in fits.items() if is_wide_enough]
    if metadata.selects is not None:
        possible = [layout for layout in possible if (layout.convention == "end_to_end") == metadata.selects]
    counts = [_known_count(shape[layout.boxes_axis - 1], size) for layout in possible]
    likely = [layout for layout, known in zip(possible, counts, strict=True) if known == layout.convention]
    if metadata.selects:
        likely = possible
    # A detector may have other strides than the known ones, but not the count of another layout.
    likely = likely or [layout for layout, known in zip(possible, counts, strict=True) if known == "end_to_end"]
    if len(likely) == 1:
        return likely[0]
    if not likely:
        raise ExportError(_other_classes(shape, metadata, size))
    names = " or ".join(sorted({layout.convention for layout in likely}))
    raise ExportError(f"The model answers {_shown(shape)}, which may be {names}: {_CONTRACT}.")


def _known_count(count: int, size: tuple[int, int]) -> str:
    """Return the convention that answers so many boxes for an input of (height, width); `end_to_end` for any others."""
    cells = {
        sum(math.ceil(size[0] / stride) * math.ceil(size[1] / stride) for stride in _strides(first, last))
        for first, last in product(_FIRST_STRIDES, _LAST_STRIDES)
    }
    if count in cells:
        return "yolo_v8"
    return "yolo_v5" if count in {_ANCHORS * cell for cell in cells} else "end_to_end"


def _strides(first: int, last: int) -> Iterator[int]:
    while first <= last:
        yield first
        first *= 2


def _other_classes(shape: tuple[int, ...], metadata: YoloMetadata, size: tuple[int, int]) -> str:
    """Return what is wrong with an output (N, *shape) that fits no layout with so many names."""
    if metadata.selects:
        return (
            f"The model answers {_shown(shape)}, but {metadata.source} says that it selects its detections, "
            f"which would be (N, K, 6): {_CONTRACT}."
        )
    known = [_known_count(count, size) for count in shape]
    boxes = next((axis for axis in (1, 0) if known[axis] != "end_to_end"), int(shape[1] > shape[0]))
    classes = shape[1 - boxes] - (5 if known[boxes] == "yolo_v5" else 4)
    return (
        f"The model answers {_shown(shape)}, that is {max(classes, 0)} classes, but {metadata.names_source} has "
        f"{len(metadata.labels)} names: name each class of the model once, in its order; if it is of another family "
        f"than Ultralytics and YOLOv5, {_CONTRACT}."
    )


def _shown(shape: tuple[int, ...]) -> str:
    return f"(N, {', '.join(map(str, shape))})"


def _units(raw: NDArray[np.float32], size: tuple[int, int]) -> BoxUnits:
    """Tell the units of all boxes of a grid (M, P, 4 + ...). Their centres spread over the whole input."""
    centres = raw[..., :2][np.isfinite(raw[..., :2]).all(-1)]
    if len(centres):
        reach = np.percentile(centres, 95, axis=0)
        for units, extent in _extents(size):
            if (reach > 0.5 * extent).all() and (reach < 2 * extent).all():
                return units
        seen = f"95 % of the centres are within {reach[0]:.3g} x {reach[1]:.3g}"
    else:
        seen = "no centre is a number"
    raise ExportError(
        f"Whether boxes are in pixels or normalised cannot be told: {seen}, "
        f"of an input of {size[1]} x {size[0]} pixels. If the model is right, {_CONTRACT}."
    )


def _units_of_selected(raw: NDArray[np.float32], size: tuple[int, int]) -> BoxUnits:
    """Tell the units of the corners of selected boxes (M, K, 6); those with a score of 0 are padding."""
    corners = raw[(raw[..., 4] > 0) & np.isfinite(raw).all(-1)][:, :4]
    if len(corners) >= _FEWEST:
        reach = np.abs(corners[:, 2:]).max(0)
        for units, extent in _extents(size):
            if (reach < 2 * extent).all() and (reach > np.minimum(2, 0.01 * extent)).all():
                return units
    raise ExportError(
        f"Whether boxes are in pixels or normalised cannot be told, since the model finds {len(corners)} in sample "
        f"images: name with --images a folder of photos in which it finds something, or {_CONTRACT}."
    )


def _extents(size: tuple[int, int]) -> list[tuple[BoxUnits, NDArray[np.float64]]]:
    """Return what the far corner of the input, (x, y), is in each unit."""
    return [("normalised", np.ones(2)), ("pixels", np.array(size[::-1], np.float64))]
