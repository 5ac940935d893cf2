"""Run a model on sample photos, and measure what its outputs look like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exporter.errors import ModelNotRunError
from exporter.graph.sample_photos import made_up_photos, read_photos
from exporter.inspecting.facts import Finding, TensorFacts
from exporter.inspecting.layouts import Layout, Outputs, tell_layout
from exporter.inspecting.opening import Run
from serving.boxes.decode import prepare
from serving.contract import Contract
from serving.description import UNKNOWN, RawInput

_MOST_PHOTOS: Final = 4
_CLEARLY: Final = 3.0
_A_LITTLE: Final = 1.25
_BETTER: Final = 1.1
_FEWEST: Final = 3

# What models are trained with, by what is said of it. Means and scales are those of Keras and torchvision.
PIXELS: Final[Mapping[str, Mapping[str, Any]]] = {
    "0 to 255": {"scale": [1, 1, 1]},
    "0 to 1": {"scale": [255, 255, 255]},
    "-1 to 1": {"mean": [127.5, 127.5, 127.5], "scale": [127.5, 127.5, 127.5]},
    "ImageNet's mean and deviation": {"mean": [123.675, 116.28, 103.53], "scale": [58.395, 57.12, 57.375]},
    "BGR minus Caffe's mean": {"channels": "bgr", "mean": [103.939, 116.779, 123.68]},
}


@dataclass(frozen=True)
class OutputStatistics:
    """What the values of an output look like, for all sample photos."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    least: float
    most: float
    finite: float
    whole_numbers: bool
    over_a_quarter: int
    sum_of_last_axis: float | None


@dataclass(frozen=True)
class Trial:
    """What a model answered. `photos` says which photos; `scores` are those over 0.25 by what pixels were tried."""

    photos: str
    size: tuple[int, int]
    statistics: tuple[OutputStatistics, ...]
    layout: Layout
    findings: tuple[Finding, ...]
    scores: Mapping[str, str]


def try_model(
    run: Run,
    entry: TensorFacts,
    size: tuple[int, int],
    findings: Mapping[str, Finding],
    *,
    labels: int | None,
    images: Path | None,
) -> Trial:
    """Run a model with the input `entry` on photos of `size` (height, width), and tell what its outputs are.

    `findings` are the keys that are certain already; what they leave open of the pixels is tried. Raises
    ModelNotRunError if the model does not run, ExportError if `images` has no photo.
    """
    if entry.dtype not in {"float32", "uint8"}:
        raise ModelNotRunError(f"its input is {entry.dtype}, and photos are float32 or uint8")
    layout_of_input = "nchw" if is_nchw(entry) else "nhwc"
    photos = _photos(size, images, letterbox=_is_letterbox(findings))
    base = {"tensor": entry.name, "layout": layout_of_input, "dtype": entry.dtype}
    known = findings.get("scale")
    candidates = {"as is": {}} if entry.dtype == "uint8" else PIXELS
    if known and entry.dtype != "uint8":
        fitting = [(name, fields) for name, fields in PIXELS.items() if fields.get("scale", [1, 1, 1]) == known.value]
        # That a graph scales pixels does not say that it takes them as they are: photos may show a mean before it.
        candidates = dict(fitting[: None if images else 1]) or {"as the file says": {"scale": known.value}}
    answers: dict[str, tuple[Outputs, Layout]] = {}
    for name, fields in candidates.items():
        answer = run(prepare(photos, RawInput(**base, **fields)))
        answers[name] = answer, tell_layout(answer, size, labels)
    sums = {name: _found(layout) for name, (_, layout) in answers.items()}
    scores = {name: f"{count} scores over 0.25, the best {best:.2f}" for name, (count, _, best) in sums.items()}
    best, pixels = _tell_pixels(sums, candidates, of_photos=images is not None, is_scaled=known is not None)
    if any(each.value == UNKNOWN for each in pixels):  # wrong pixels may give wild boxes: look at those that tell most
        best = min(answers, key=lambda name: (answers[name][1].unknown, -sums[name][1]))
    outputs, layout = answers[best]
    shapes: tuple[Finding, ...] = ()
    if images and "resize_mode" not in findings:
        boxed = prepare(_photos(size, images, letterbox=True), RawInput(**base, **candidates[best]))
        other = _found(tell_layout(run(boxed), size, labels))
        scores |= {"letterboxed": f"{other[0]} scores over 0.25, the best {other[2]:.2f}"}
        shapes = _tell_shape(sums[best], other)
    many = f"{len(photos)} photos" if len(photos) > 1 else "1 photo"
    where = f"{many} in {images}" if images else f"{len(photos)} made-up images"
    statistics = tuple(_statistics(name, value) for name, value in sorted(outputs.items()))
    return Trial(where, size, statistics, layout, (*pixels, *shapes), scores)


def is_nchw(entry: TensorFacts) -> bool:
    """Return whether an input has its channels first."""
    return entry.shape is not None and len(entry.shape) == 4 and entry.shape[1] == 3 and entry.shape[3] != 3


def _is_letterbox(findings: Mapping[str, Finding]) -> bool:
    return "resize_mode" in findings and findings["resize_mode"].value == "letterbox"


def _photos(size: tuple[int, int], images: Path | None, *, letterbox: bool) -> NDArray[np.uint8]:
    contract = Contract(
        name="sample",
        input_height=size[0],
        input_width=size[1],
        resize_mode="letterbox" if letterbox else "stretch",
        score_threshold=0,
        nms_iou=1,
        max_detections=1,
        labels=({"id": 0, "name": "any"},),
        weights_sha256="0" * 64,
    )
    return read_photos(contract, images)[:_MOST_PHOTOS] if images else made_up_photos(contract)


def _found(layout: Layout) -> tuple[int, float, float]:
    """Return number and sum of the scores over 0.25, and the best score."""
    if layout.scores is None or not layout.scores.size:
        return 0, 0.0, 0.0
    best = layout.scores if layout.scores.ndim == 2 else layout.scores.max(-1)
    high = best[best > 0.25]
    return len(high), float(high.sum()), float(np.nan_to_num(best).max())


def _tell_pixels(
    sums: Mapping[str, tuple[int, float, float]],
    candidates: Mapping[str, Mapping[str, Any]],
    *,
    of_photos: bool,
    is_scaled: bool,
) -> tuple[str, tuple[Finding, ...]]:
    """Return the best way to scale pixels, and the keys that say so, UNKNOWN if none is clearly the best.

    With `is_scaled` the scale is known, and the first way stands unless another is better.
    """
    ranked = sorted(sums, key=lambda name: -sums[name][1])
    best, first = ranked[0], next(iter(candidates))
    if len(ranked) == 1 or (is_scaled and sums[best][1] < _BETTER * sums[first][1]):
        return first, ()
    count, total, _ = sums[best]
    clear = of_photos and count >= _FEWEST and total >= _CLEARLY * sums[ranked[1]][1]
    why = "; ".join(f"{name}: {sums[name][0]} scores over 0.25" for name in candidates)
    if not clear:
        hint = "" if of_photos else "; photos of yours tell it, with --images"
        return best, (Finding("input", "scale", UNKNOWN, f"pixels are divided by it. {why}{hint}"),)
    return best, tuple(
        Finding("input", key, value, f"pixels from {best}. {why}") for key, value in candidates[best].items()
    )


def _tell_shape(stretched: tuple[int, float, float], boxed: tuple[int, float, float]) -> tuple[Finding, ...]:
    why = f"scores over 0.25: {stretched[0]} stretched, {boxed[0]} letterboxed"
    least, most = sorted((stretched[1], boxed[1]))
    if max(stretched[0], boxed[0]) < _FEWEST or most < _A_LITTLE * least:
        return (Finding("", "resize_mode", UNKNOWN, f'"stretch" or "letterbox", as in its training. {why}'),)
    return (Finding("", "resize_mode", "stretch" if stretched[1] > boxed[1] else "letterbox", why),)


def _statistics(name: str, value: NDArray[Any]) -> OutputStatistics:
    finite = np.isfinite(value)
    numbers = value[finite]
    wide = value.ndim >= 3 and value.shape[-1] > 1
    return OutputStatistics(
        name=name,
        shape=tuple(value.shape[1:]),
        dtype=str(value.dtype),
        least=float(numbers.min()) if numbers.size else 0.0,
        most=float(numbers.max()) if numbers.size else 0.0,
        finite=float(finite.mean()) if value.size else 1.0,
        whole_numbers=bool(numbers.size and (numbers == np.round(numbers)).all()),
        over_a_quarter=int((numbers > 0.25).sum()),
        sum_of_last_axis=float(np.where(finite, value, 0).sum(-1).mean()) if wide else None,
    )
