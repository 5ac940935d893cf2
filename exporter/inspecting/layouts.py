"""Tell the convention of a model's outputs from their names, shapes and values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exporter.inspecting.boxes import tell_boxes
from exporter.inspecting.facts import Finding
from serving.conventions import TF_OBJECT_DETECTION
from serving.description import UNKNOWN

Outputs = Mapping[str, NDArray[Any]]

_MOST_SELECTED: Final = 1000
_OF_DETR: Final = "pred_boxes"
_SHARE: Final = 0.8
_STRIDES: Final = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (8, 16, 32, 64, 128))


@dataclass(frozen=True)
class Layout:
    """What the outputs are.

    `keys` are those of `[output]`; empty if no convention fits, and `why` says what was found. `classes` is the number
    of labels that the model has, None if the outputs do not tell. `scores` are the probabilities (M, P, C) or (M, P),
    None if they are not known. `top` are further keys of the contract.
    """

    keys: Sequence[Finding] = ()
    why: str = ""
    classes: int | None = None
    scores: NDArray[Any] | None = None
    top: Sequence[Finding] = ()

    @property
    def unknown(self) -> int:
        """Return how many keys were not told; a layout without a convention has the most."""
        return sum(finding.value == UNKNOWN for finding in self.keys) if self.keys else 99

    @property
    def convention(self) -> str:
        """Return the name of the convention, '' if none fits."""
        return next((str(finding.value) for finding in self.keys if finding.key == "convention"), "")


def tell_layout(outputs: Outputs, size: tuple[int, int], labels: int | None) -> Layout:
    """Tell the layout of outputs by name, of M sample photos.

    `size` is (height, width) of the input in pixels, `labels` the number of labels if a file names them.
    """
    if set(TF_OBJECT_DETECTION) <= set(outputs):
        return _tf_object_detection(outputs)
    if len(outputs) > 1:
        return _several_tensors(outputs, size, labels)
    ((name, raw),) = outputs.items()
    if raw.ndim == 3:
        return _one_tensor(name, raw, size, labels)
    return Layout(why=f"one output of {raw.ndim} dimensions; the known layouts have three (N, boxes, columns)")


def _several_tensors(outputs: Outputs, size: tuple[int, int], labels: int | None) -> Layout:
    if {"bbox_regression", "cls_logits"} <= set(outputs):
        return Layout(why="deltas to anchors: export the model with its decoder in the graph; docs/export.md has a way")
    boxes, others = _boxes_among(outputs)
    if boxes is None:
        return Layout(why="no output, or more than one, has the shape (N, P, 4) of boxes")
    count = outputs[boxes].shape[1]
    per_box = {name: raw for name, raw in others.items() if raw.shape[1:2] == (count,)}
    wide = [name for name, raw in per_box.items() if raw.ndim == 3]
    flat = [name for name, raw in per_box.items() if raw.ndim == 2]
    if (scores := _one_of(wide, ("logits", "pred_logits", "scores"), "score")) and not flat:
        return _boxes_class_scores(outputs, boxes, scores, size, labels)
    if len(flat) == 2 and not wide:
        return _boxes_scores_labels(outputs, boxes, flat, size)
    return Layout(why=f"boxes in {boxes}, and no other outputs that fit: scores (N, {count}, C), or scores and labels")


def _tf_object_detection(outputs: Outputs) -> Layout:
    scores = outputs["detection_scores"]
    classes = outputs["detection_classes"][scores > 0]
    lowest = int(classes.min()) if len(classes) else 1
    keys = [Finding("output", "convention", "tf_object_detection", "by the names of the outputs")]
    if lowest == 0:
        keys.append(Finding("output", "label_offset", 0, "class 0 is among the answers"))
    return Layout(keys, scores=scores, top=_SELECTS_ITSELF)


_SELECTS_ITSELF = (Finding("", "nms", "none", "the model selects its detections itself"),)


def _one_tensor(name: str, raw: NDArray[Any], size: tuple[int, int], labels: int | None) -> Layout:
    if _is_end_to_end(raw):
        keys = [
            Finding("output", "convention", "end_to_end", "six columns: a box, a score and a whole number"),
            Finding("output", "tensor", name),
            *tell_boxes(raw[..., :4], size, "xyxy", selected=True),
            Finding("output", "label_offset", 0, "a class is a label's id minus it"),
        ]
        return Layout(keys, scores=raw[..., 4], top=_SELECTS_ITSELF)
    if _is_ssd(raw):
        keys = [
            Finding(
                "output", "convention", "ssd_raw", "the last 8 columns are the same for all photos: priors, variances"
            ),
            Finding("output", "tensor", name),
        ]
        return Layout(keys, classes=raw.shape[2] - 13, scores=raw[..., 5:-8])
    return _yolo(name, raw, size, labels)


def _is_end_to_end(raw: NDArray[Any]) -> bool:
    if raw.shape[2] != 6 or raw.shape[1] > _MOST_SELECTED or not np.isfinite(raw).all():
        return False
    scores, classes = raw[..., 4], raw[..., 5]
    return bool((classes == np.round(classes)).all() and (scores >= 0).all() and (scores <= 1).all())


def _is_ssd(raw: NDArray[Any]) -> bool:
    if raw.shape[2] < 14 or len(raw) < 2:
        return False
    fixed = raw[..., -8:]
    variances = fixed[..., 4:]
    same = bool((fixed == fixed[:1]).all() and (variances == variances[:1, :1]).all())
    return same and bool((variances > 0).all() and (variances <= 1).all())


def _yolo(name: str, raw: NDArray[Any], size: tuple[int, int], labels: int | None) -> Layout:
    if raw.shape[1] == raw.shape[2]:
        return Layout(why=f"{name} is square, so that its axis of the boxes cannot be told")
    axis = 1 if raw.shape[1] > raw.shape[2] else 2
    rows = raw if axis == 1 else raw.swapaxes(1, 2)
    count, width = rows.shape[1:]
    if width < 5:
        return Layout(why=f"{name} has {width} columns, fewer than a box and a score")
    scores = rows[..., 4:]
    if scores.min() < -1e-3 or scores.max() > 1 + 1e-3:
        seen = f"{scores.min():.3g} to {scores.max():.3g}"
        return Layout(why=f"the columns of {name} behind the boxes are no scores: they go from {seen}")
    convention, why = _yolo_kind(count, width, axis, size, labels)
    keys = [Finding("output", "convention", convention, why), Finding("output", "tensor", name)]
    if convention == "yolo_v8":
        keys.append(Finding("output", "boxes_axis", axis, f"the axis of the {count} boxes"))
    keys += tell_boxes(rows[..., :4], size, "cxcywh")
    if convention == UNKNOWN:
        return Layout(keys)
    if convention == "yolo_v5":
        return Layout(keys, classes=width - 5, scores=scores[..., :1] * scores[..., 1:])
    return Layout(keys, classes=width - 4, scores=scores)


def _yolo_kind(count: int, width: int, axis: int, size: tuple[int, int], labels: int | None) -> tuple[str, str]:
    if labels == width - 5 and axis == 1:
        return "yolo_v5", f"{width} columns: a box, objectness and {labels} classes"
    if labels == width - 4:
        return "yolo_v8", f"{width} columns: a box and {labels} classes"
    cells = {sum(math.ceil(size[0] / s) * math.ceil(size[1] / s) for s in strides) for strides in _STRIDES}
    if axis == 2:
        return "yolo_v8", "columns first, as Ultralytics writes it"
    if count in {3 * number for number in cells} and count not in cells:
        return "yolo_v5", f"{count} boxes are three for each cell of its grids"
    return UNKNOWN, (
        f'"yolo_v5" if column 4 is objectness (then there are {width - 5} classes), '
        f'"yolo_v8" if it is a class ({width - 4} classes)'
    )


def _boxes_among(outputs: Outputs) -> tuple[str | None, Outputs]:
    """Return the name of the output with boxes (N, P, 4), and the other outputs."""
    fitting = [name for name, raw in outputs.items() if raw.ndim == 3 and raw.shape[2] == 4]
    chosen = _one_of(fitting, (_OF_DETR, "boxes"), "box")
    return chosen, {name: raw for name, raw in outputs.items() if name != chosen}


def _one_of(names: Sequence[str], exact: Sequence[str], part: str) -> str | None:
    """Return one of several names: the first of `exact` among them, else the only one with `part` in it, or at all."""
    for name in exact:
        if name in names:
            return name
    chosen = [name for name in names if part in name.lower()] or list(names)
    return chosen[0] if len(chosen) == 1 else None


def _boxes_class_scores(outputs: Outputs, boxes: str, name: str, size: tuple[int, int], labels: int | None) -> Layout:
    scores = outputs[name]
    columns = scores.shape[2]
    shape = f"boxes (N, {scores.shape[1]}, 4) and {columns} scores for each"
    keys = [
        Finding("output", "convention", "boxes_class_scores", shape),
        Finding("output", "boxes", boxes),
        Finding("output", "scores", name),
        *tell_boxes(outputs[boxes], size, "cxcywh" if boxes == _OF_DETR else None),
    ]
    best = np.bincount(scores.argmax(-1).ravel(), minlength=columns)
    usual = int(best.argmax())
    usually = best[usual] / best.sum()
    is_last = {0: "first", columns - 1: "last"}.get(usual, UNKNOWN) if usually >= _SHARE else UNKNOWN
    sums = scores.sum(-1)
    probabilities: NDArray[Any] | None = scores
    background = "none"
    if scores.min() < 0 or scores.max() > 1:
        seen = f"the scores go from {scores.min():.3g} to {scores.max():.3g}, so they are logits"
        if labels == columns:
            activation, why = "sigmoid", f"{seen}; there are as many columns as labels, so none is a background"
            probabilities = 1 / (1 + np.exp(-np.clip(scores, -60, 60)))
        elif labels == columns - 1:
            activation, why, background = "softmax", f"{seen}; one column more than labels is the background", is_last
            powers = np.exp(scores - scores.max(-1, keepdims=True))
            probabilities = powers / powers.sum(-1, keepdims=True)
        else:
            activation, why, background = UNKNOWN, f'{seen}: "softmax" with a background, or "sigmoid"', UNKNOWN
            probabilities = None
    elif np.abs(sums - 1).max() < 1e-3 and labels != columns:
        activation, why, background = "none", "the scores of a box add up to 1", is_last
    else:
        activation, why = "none", f"the scores go from {scores.min():.3g} to {scores.max():.3g}"
    keys.append(Finding("output", "activation", activation, why))
    column = f"column {usual} is the best of {usually:.0%} of the boxes"
    keys.append(Finding("output", "background", background, column if background != "none" else ""))
    known = None if UNKNOWN in {activation, background} else columns - (background != "none")
    if probabilities is not None and background in {"first", "last"}:
        probabilities = probabilities[..., 1:] if background == "first" else probabilities[..., :-1]
    return Layout(keys, classes=labels if known is None else known, scores=probabilities)


def _boxes_scores_labels(outputs: Outputs, boxes: str, flat: Sequence[str], size: tuple[int, int]) -> Layout:
    whole = [name for name in flat if bool((outputs[name] == np.round(outputs[name])).all())]
    if len(whole) == 2:  # nothing was found, so that the scores are all zeros: by their names
        whole = [name for name in flat if any(word in name.lower() for word in ("label", "class"))]
    if len(whole) != 1:
        return Layout(why=f"which of {', '.join(flat)} are scores, and which are labels, cannot be told")
    (labels,) = whole
    (scores,) = (name for name in flat if name != labels)
    keys = [
        Finding("output", "convention", "boxes_scores_labels", f"boxes, scores and whole numbers of {boxes}"),
        Finding("output", "boxes", boxes),
        Finding("output", "scores", scores),
        Finding("output", "labels", labels),
        *tell_boxes(outputs[boxes], size),
        Finding("output", "label_offset", 0, "a label is a label's id minus it"),
    ]
    return Layout(keys, scores=outputs[scores])
