"""Decode a model's raw outputs into boxes and scores, and select detections. Vectorised over the batch.

The same code runs with NumPy in the client and with TensorFlow in the exported graph: see `Arrays`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.boxes.answer_checks import PADDING_SCORE, check_counts, check_probabilities, surely_probabilities
from serving.boxes.detections import Detections
from serving.boxes.suppression import suppress
from serving.description import BoxesScoresLabels, BoxOrder, Description, RawInput, SsdRaw, YoloRaw
from serving.errors import RowsRejectedError

Array = Any
"""A NumPy array or a TensorFlow tensor."""


@dataclass(frozen=True)
class Arrays:
    """The operations that NumPy and TensorFlow spell differently.

    `exp`: e to the power of each element. `stack`: stack arrays along a new last axis. `float32`: cast to float32.
    `columns`: 0, 1, ... x.shape[1] - 1. `flip`: reverse the last axis.
    """

    exp: Callable[[Array], Array]
    stack: Callable[[Sequence[Array]], Array]
    float32: Callable[[Array], Array]
    columns: Callable[[Array], Array]
    flip: Callable[[Array], Array]


@np.errstate(over="ignore", invalid="ignore")
def _exp(x: Array) -> Array:
    return np.exp(x)


NUMPY: Final = Arrays(
    exp=_exp,
    stack=lambda parts: np.stack(parts, axis=-1),
    float32=lambda x: np.asarray(x, np.float32),
    columns=lambda x: np.arange(x.shape[1]),
    flip=lambda x: x[..., ::-1],
)


def decode(outputs: Mapping[str, NDArray[Any]], description: Description) -> list[Detections]:
    """Return the detections of each row of a batch, from the raw outputs of a model with a description.

    `outputs` holds the arrays by output name, with the batch as the first axis. Boxes of the result are
    [ymin, xmin, ymax, xmax], normalised to the row, best first. Priors with values that are not finite are dropped and
    counted. Raises RowsRejectedError if an output is missing or does not have the shape that the description gives, or
    if a score is not in 0..1.
    """
    contract = description.contract
    with np.errstate(all="ignore"):  # `suppress` drops priors that are not finite
        boxes, scores, ids = candidates(outputs, description)
        not_finite = _checked(outputs, description, boxes)
    rows = suppress(
        boxes,
        scores,
        score_threshold=contract.score_threshold,
        nms_iou=contract.nms_iou,
        max_detections=contract.max_detections,
    )
    classes = np.array(ids, np.int64)
    return [
        Detections(row.boxes, np.minimum(row.scores, np.float32(1)), classes[row.classes], int(dropped))
        for row, dropped in zip(rows, not_finite, strict=True)
    ]


def _checked(outputs: Mapping[str, NDArray[Any]], description: Description, boxes: NDArray[Any]) -> NDArray[np.int64]:
    """Check the scores of an answer; return how many priors (N,) of each row have a value that is not finite.

    `boxes` are the decoded ones, (N, P, 4). Padding is neither checked nor counted: a label that the contract does not
    have, what comes after `num_detections`, a score of -1. Raises RowsRejectedError.
    """
    scores, real = _model_scores(outputs, description)
    finite_boxes = np.isfinite(boxes).all(-1)
    if surely_probabilities(scores) and finite_boxes.all():
        return np.zeros(len(boxes), np.int64)
    finite = finite_boxes & np.isfinite(scores).all(-1)
    judged = scores[real & finite]
    check_probabilities(judged[judged != PADDING_SCORE])
    dropped: NDArray[np.int64] = (real & ~finite).sum(-1)
    return dropped


def _model_scores(
    outputs: Mapping[str, NDArray[Any]], description: Description
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the scores (N, P, S) that a model itself answers, and which priors (N, P) are not padding.

    The objectness of `yolo_raw` is a score of its own, since the product with a class's score may hide a logit.
    """
    output = description.output
    ids = sorted(label.id for label in description.contract.labels)
    if isinstance(output, SsdRaw):
        scores = _columns(outputs[output.tensor], [4 + label for label in ids], NUMPY)
        return scores, np.ones(scores.shape[:2], np.bool_)
    if isinstance(output, YoloRaw):
        scores = outputs[output.tensor][..., 4:]
        return scores, np.ones(scores.shape[:2], np.bool_)
    if isinstance(output, BoxesScoresLabels):
        scores, labels = outputs[output.scores], np.asarray(outputs[output.labels], np.float32)
        real = np.ones(scores.shape, np.bool_)
    else:
        scores, labels = outputs["detection_scores"], np.asarray(outputs["detection_classes"], np.float32)
        counts = np.asarray(outputs["num_detections"], np.float32)
        check_counts(counts, scores.shape[1])
        real = np.arange(scores.shape[1]) < counts[:, None]
    in_contract = np.isin(labels, [label - output.label_offset for label in ids])
    return scores[..., None], real & (in_contract | ~np.isfinite(labels))


def prepare(images: Array, raw_input: RawInput, arrays: Arrays = NUMPY) -> Array:
    """Convert images, uint8 (N, H, W, 3) RGB of the contract's size, to the model's raw input.

    Returns an array of the same shape, with the channel order, dtype, mean and scale of `raw_input`.
    """
    images = arrays.flip(images) if raw_input.channels == "bgr" else images
    if raw_input.dtype == "uint8":
        return images
    images = arrays.float32(images) - np.array(raw_input.mean, np.float32)
    return images if set(raw_input.scale) == {1.0} else images / np.array(raw_input.scale, np.float32)


def candidates(
    outputs: Mapping[str, Array], description: Description, arrays: Arrays = NUMPY
) -> tuple[Array, Array, list[int]]:
    """Return the boxes and scores before thresholds and NMS.

    Boxes are float32 (N, P, 4), [ymin, xmin, ymax, xmax], normalised and not clipped. Scores are float32 (N, P, C).
    The last value is the label id of each of the C columns. Raises RowsRejectedError if an output is missing or has a
    wrong shape.
    """
    output, contract = description.output, description.contract
    ids = sorted(label.id for label in contract.labels)
    if isinstance(output, SsdRaw):
        raw = arrays.float32(_tensor(outputs, output.tensor, 3, wanted=4 + ids[-1] + 1 + 8))
        boxes = arrays.stack(ssd_boxes(raw, arrays, legacy_cy_width=output.legacy_cy_width))
        return boxes, _columns(raw, [4 + label for label in ids], arrays), ids
    if isinstance(output, YoloRaw):
        columns = [label - output.label_offset for label in ids]
        raw = arrays.float32(_tensor(outputs, output.tensor, 3, wanted=5 + columns[-1] + 1))
        scores = raw[..., 4:5] * _columns(raw, [5 + column for column in columns], arrays)
        boxes = _corners(raw, output.box_order)
        return _normalised(arrays.stack(boxes), output.box_units, description), scores, ids
    if isinstance(output, BoxesScoresLabels):
        boxes = _tensor(outputs, output.boxes, 3, wanted=4)
        scores, labels = _tensor(outputs, output.scores, 2), _tensor(outputs, output.labels, 2)
        boxes = _normalised(
            arrays.stack(_corners(arrays.float32(boxes), output.box_order)), output.box_units, description
        )
    else:
        boxes = arrays.float32(_tensor(outputs, "detection_boxes", 3, wanted=4))
        scores, labels = (
            arrays.float32(_tensor(outputs, "detection_scores", 2)),
            _tensor(outputs, "detection_classes", 2),
        )
        count = arrays.float32(_tensor(outputs, "num_detections", 1))
        scores = scores * arrays.float32(arrays.float32(arrays.columns(scores)) < count[:, None])
    wanted = np.array([label - output.label_offset for label in ids], np.float32)
    spread = arrays.float32(arrays.float32(labels)[..., None] == wanted)
    return boxes, arrays.float32(scores)[..., None] * spread, ids


def ssd_boxes(
    raw: Array, arrays: Arrays = NUMPY, *, legacy_cy_width: bool = False
) -> tuple[Array, Array, Array, Array]:
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


def _columns(raw: Array, columns: list[int], arrays: Arrays) -> Array:
    """Select columns of the last axis, in ascending order. Consecutive columns are taken as one slice."""
    if columns == list(range(columns[0], columns[-1] + 1)):
        return raw[..., columns[0] : columns[-1] + 1]
    return arrays.stack([raw[..., column] for column in columns])


def _corners(boxes: Array, order: BoxOrder) -> tuple[Array, Array, Array, Array]:
    a, b, c, d = (boxes[..., column] for column in range(4))
    if order == "yxyx":
        return a, b, c, d
    if order == "xyxy":
        return b, a, d, c
    if order == "xywh":
        return b, a, b + d, a + c
    return b - d / 2, a - c / 2, b + d / 2, a + c / 2


def _normalised(boxes: Array, units: str, description: Description) -> Array:
    height, width = description.contract.input_height, description.contract.input_width
    return boxes / np.array([height, width, height, width], np.float32) if units == "pixels" else boxes


def _tensor(outputs: Mapping[str, Array], name: str, rank: int, *, wanted: int | None = None) -> Array:
    if name not in outputs:
        raise RowsRejectedError(f"The model answers no {name}, only {', '.join(sorted(outputs))}.")
    shape = outputs[name].shape
    if len(shape) != rank or (wanted is not None and shape[-1] not in {None, wanted}):
        last = "" if wanted is None else f", the last of them of {wanted}"
        raise RowsRejectedError(f"{name} has the shape {tuple(shape)}; {rank} dimensions were expected{last}.")
    return outputs[name]
