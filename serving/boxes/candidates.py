"""Decode a model's raw outputs into boxes and scores, by the convention that its description names.

The same code runs with NumPy in the client and with TensorFlow in the exported graph: see `Arrays`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from serving.boxes.arrays import NUMPY, Array, Arrays
from serving.conventions import (
    BoxesClassScores,
    BoxesScoresLabels,
    BoxOrder,
    DescribedBoxes,
    EndToEnd,
    SsdRaw,
    TfObjectDetection,
    YoloRaw,
    YoloV8,
)
from serving.description import Description
from serving.errors import RowsRejectedError

Sides = tuple[Array, Array, Array, Array]


@dataclass(frozen=True)
class Candidates:
    """The boxes and scores of a batch before thresholds and NMS.

    `boxes` float32 (N, P, 4): [ymin, xmin, ymax, xmax], normalised to the input, not clipped. `scores` float32
    (N, P, C): a column for each label of the contract, in the order of `ids`.

    `answered` (N, P, S): the scores as the model answers them, after its activation; S is 1 if it answers labels.
    `labels` (N, P): the label ids that it answers, or None. `counts` (N): how many of the P are detections, or None if
    all may be.
    """

    boxes: Array
    scores: Array
    ids: list[int]
    answered: Array
    labels: Array | None = None
    counts: Array | None = None


def candidates(outputs: Mapping[str, Array], description: Description, arrays: Arrays = NUMPY) -> Candidates:
    """Decode raw outputs by name. Raises RowsRejectedError if an output is missing or has a wrong shape."""
    output = description.output
    ids = sorted(label.id for label in description.contract.labels)
    match output:
        case SsdRaw():
            decoded = _ssd(outputs, output, ids, arrays)
        case YoloRaw():
            decoded = _yolo_v5(outputs, output, ids, description, arrays)
        case YoloV8():
            decoded = _yolo_v8(outputs, output, ids, description, arrays)
        case BoxesClassScores():
            decoded = _boxes_class_scores(outputs, output, ids, description, arrays)
        case BoxesScoresLabels():
            decoded = _boxes_scores_labels(outputs, output, ids, description, arrays)
        case EndToEnd():
            decoded = _end_to_end(outputs, output, ids, description, arrays)
        case TfObjectDetection():
            decoded = _tf_object_detection(outputs, output, ids, arrays)
    return decoded


def _ssd(outputs: Mapping[str, Array], output: SsdRaw, ids: list[int], arrays: Arrays) -> Candidates:
    raw = arrays.float32(_tensor(outputs, output.tensor, 3, wanted=4 + ids[-1] + 1 + 8))
    boxes = arrays.stack(ssd_boxes(raw, arrays, legacy_cy_width=output.legacy_cy_width))
    answered = _columns(raw, [4 + label for label in ids], arrays)
    first = min(ids[0], 1)  # the background does not compete, unless the contract has it as a label
    columns = [label - first for label in ids]
    scores = _of_labels(raw[..., 4 + first : -8], columns, arrays, best_class_only=output.best_class_only)
    return Candidates(boxes, scores, ids, answered)


def _yolo_v5(
    outputs: Mapping[str, Array], output: YoloRaw, ids: list[int], description: Description, arrays: Arrays
) -> Candidates:
    columns = [label - output.label_offset for label in ids]
    raw = arrays.float32(_tensor(outputs, output.tensor, 3, wanted=5 + columns[-1] + 1))
    boxes = _to_boxes(raw, output, description, arrays)
    scores = raw[..., 4:5] * raw[..., 5:]
    scores = _of_labels(scores, columns, arrays, best_class_only=output.best_class_only)
    # The objectness is checked by itself, since its product with a class's score may hide a logit.
    return Candidates(boxes, scores, ids, raw[..., 4:])


def _yolo_v8(
    outputs: Mapping[str, Array], output: YoloV8, ids: list[int], description: Description, arrays: Arrays
) -> Candidates:
    columns = [label - output.label_offset for label in ids]
    width = 4 + columns[-1] + 1
    raw = _tensor(outputs, output.tensor, 3)
    if (output.boxes_axis or _boxes_axis(output.tensor, raw.shape, width)) == 2:
        raw = arrays.transpose(raw, (0, 2, 1))
    if raw.shape[2] not in {None, width}:
        raise RowsRejectedError(_wrong_shape(output.tensor, outputs[output.tensor].shape, 3, f"one of them of {width}"))
    raw = arrays.float32(raw)
    boxes = _to_boxes(raw, output, description, arrays)
    scores = _of_labels(raw[..., 4:], columns, arrays, best_class_only=output.best_class_only)
    return Candidates(boxes, scores, ids, raw[..., 4:])


def _boxes_axis(name: str, shape: tuple[int | None, ...], width: int) -> int:
    """Return the axis of the boxes, 1 or 2, if the other one has `width` columns and this one has not."""
    may_be_columns = [size in {None, width} for size in shape[1:]]
    if may_be_columns == [True, True]:
        may_be_columns = [size is not None for size in shape[1:]]  # a known size against an open one
    if may_be_columns in ([True, True], [False, False]):
        if width in shape[1:] or None in shape[1:]:
            raise RowsRejectedError(
                f"{name} has the shape {tuple(shape)}, which does not tell where its {width} columns are: "
                "set boxes_axis in the contract, to 2 for (N, 4 + C, P) or to 1 for (N, P, 4 + C)."
            )
        raise RowsRejectedError(_wrong_shape(name, shape, 3, f"one of them of {width}"))
    return 2 if may_be_columns[0] else 1


def _boxes_class_scores(
    outputs: Mapping[str, Array], output: BoxesClassScores, ids: list[int], description: Description, arrays: Arrays
) -> Candidates:
    columns = [label - output.label_offset for label in ids]
    first, width = int(output.background == "first"), columns[-1] + 1
    boxes = arrays.float32(_tensor(outputs, output.boxes, 3, wanted=4))
    answered = arrays.float32(
        _tensor(outputs, output.scores, 3, wanted=width + int(output.background in {"first", "last"}))
    )
    _require_same_length(outputs, output.tensors)
    if output.activation == "sigmoid":
        answered = 1 / (1 + arrays.exp(-answered))
    elif output.activation == "softmax":
        answered = arrays.softmax(answered)
    classes = answered[..., first : first + width]
    scores = _of_labels(classes, columns, arrays, best_class_only=output.best_class_only)
    boxes = _to_boxes(boxes, output, description, arrays)
    return Candidates(boxes, scores, ids, answered)


def _boxes_scores_labels(
    outputs: Mapping[str, Array], output: BoxesScoresLabels, ids: list[int], description: Description, arrays: Arrays
) -> Candidates:
    boxes = arrays.float32(_tensor(outputs, output.boxes, 3, wanted=4))
    scores, labels = _tensor(outputs, output.scores, 2), _tensor(outputs, output.labels, 2)
    _require_same_length(outputs, output.tensors)
    boxes = _to_boxes(boxes, output, description, arrays)
    return _labelled(boxes, scores, labels, ids, output.label_offset, arrays)


def _end_to_end(
    outputs: Mapping[str, Array], output: EndToEnd, ids: list[int], description: Description, arrays: Arrays
) -> Candidates:
    raw = arrays.float32(_tensor(outputs, output.tensor, 3, wanted=6))
    boxes = _to_boxes(raw, output, description, arrays)
    return _labelled(boxes, raw[..., 4], raw[..., 5], ids, output.label_offset, arrays)


def _tf_object_detection(
    outputs: Mapping[str, Array], output: TfObjectDetection, ids: list[int], arrays: Arrays
) -> Candidates:
    boxes = arrays.float32(_tensor(outputs, "detection_boxes", 3, wanted=4))
    scores = arrays.float32(_tensor(outputs, "detection_scores", 2))
    labels = _tensor(outputs, "detection_classes", 2)
    counts = arrays.float32(_tensor(outputs, "num_detections", 1))
    _require_same_length(outputs, output.tensors[:3])
    counted = scores * arrays.float32(arrays.float32(arrays.columns(scores)) < counts[:, None])
    decoded = _labelled(boxes, counted, labels, ids, output.label_offset, arrays)
    return Candidates(boxes, decoded.scores, ids, scores[..., None], decoded.labels, counts)


def _labelled(
    boxes: Array, scores: Array, labels: Array, ids: list[int], label_offset: int, arrays: Arrays
) -> Candidates:
    """Return the candidates of boxes (N, P, 4) with a score (N, P) and a label (N, P) each."""
    scores, labels = arrays.float32(scores)[..., None], arrays.float32(labels) + label_offset
    spread = arrays.float32(labels[..., None] == np.array(ids, np.float32))
    return Candidates(boxes, scores * spread, ids, scores, labels)


def ssd_boxes(raw: Array, arrays: Arrays = NUMPY, *, legacy_cy_width: bool = False) -> Sides:
    """Decode a raw SSD output (N, P, 4 + C + 8) into ymin, xmin, ymax, xmax, each (N, P), normalised, not clipped.

    Source: ssd300.md, "Decoding"; Liu et al. 2016. `legacy_cy_width` scales the offset of the centre's y by the
    prior's width instead of its height, a known defect of ssd_keras.
    """
    xmin, ymin, xmax, ymax, *variances = (raw[..., column] for column in range(-8, 0))
    width, height = xmax - xmin, ymax - ymin
    centre_y = raw[..., 1] * (width if legacy_cy_width else height) * variances[1] + (ymin + ymax) / 2
    centre_x = raw[..., 0] * width * variances[0] + (xmin + xmax) / 2
    half_width = width * arrays.exp(raw[..., 2] * variances[2]) / 2
    half_height = height * arrays.exp(raw[..., 3] * variances[3]) / 2
    return centre_y - half_height, centre_x - half_width, centre_y + half_height, centre_x + half_width


def _of_labels(scores: Array, columns: list[int], arrays: Arrays, *, best_class_only: bool) -> Array:
    """Return the columns of the contract's labels, from the scores (N, P, M) of all the model's classes.

    With `best_class_only`, a score that is not its box's best of all M becomes 0. NaN stays NaN.
    """
    chosen = _columns(scores, columns, arrays)
    if not best_class_only:
        return chosen
    return chosen * arrays.float32(arrays.argmax(scores)[..., None] == np.array(columns))


def _columns(raw: Array, columns: list[int], arrays: Arrays) -> Array:
    """Select columns of the last axis, in ascending order. Consecutive columns are taken as one slice."""
    if columns == list(range(columns[0], columns[-1] + 1)):
        return raw[..., columns[0] : columns[-1] + 1]
    return arrays.stack([raw[..., column] for column in columns])


def _to_boxes(raw: Array, output: DescribedBoxes, description: Description, arrays: Arrays) -> Array:
    """Return boxes (N, P, 4), [ymin, xmin, ymax, xmax], normalised, from the first four columns of `raw`."""
    boxes = arrays.stack(_corners(raw, output.box_order))
    height, width = description.contract.input_height, description.contract.input_width
    return boxes / np.array([height, width, height, width], np.float32) if output.box_units == "pixels" else boxes


def _corners(boxes: Array, order: BoxOrder) -> Sides:
    a, b, c, d = (boxes[..., column] for column in range(4))
    if order == "yxyx":
        return a, b, c, d
    if order == "xyxy":
        return b, a, d, c
    if order == "xywh":
        return b, a, b + d, a + c
    return b - d / 2, a - c / 2, b + d / 2, a + c / 2


def _tensor(outputs: Mapping[str, Array], name: str, rank: int, *, wanted: int | None = None) -> Array:
    if name not in outputs:
        raise RowsRejectedError(f"The model answers no {name}, only {', '.join(sorted(outputs))}.")
    shape = outputs[name].shape
    if len(shape) != rank or (wanted is not None and shape[-1] not in {None, wanted}):
        raise RowsRejectedError(_wrong_shape(name, shape, rank, wanted and f"the last of them of {wanted}"))
    return outputs[name]


def _require_same_length(outputs: Mapping[str, Array], names: tuple[str, ...]) -> None:
    """Raise RowsRejectedError if outputs (N, P, ...) differ in P, the number of boxes."""
    lengths = {name: outputs[name].shape[1] for name in names}
    if len({length for length in lengths.values() if length is not None}) > 1:
        each = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise RowsRejectedError(
            f"The outputs have different numbers of boxes ({each}): name outputs that belong together."
        )


def _wrong_shape(name: str, shape: tuple[int | None, ...], rank: int, wanted: str | int | None) -> str:
    return f"{name} has the shape {tuple(shape)}; {rank} dimensions were expected{f', {wanted}' if wanted else ''}."
