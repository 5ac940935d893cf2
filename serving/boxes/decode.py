"""Prepare a model's raw input and decode its raw outputs with NumPy, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.boxes.answer_checks import PADDING_SCORE, check_counts, check_probabilities, surely_probabilities
from serving.boxes.arrays import NUMPY, Array, Arrays
from serving.boxes.candidates import Candidates, candidates
from serving.boxes.detections import Detections
from serving.boxes.suppression import suppress
from serving.description import Description, RawInput


def decode(outputs: Mapping[str, NDArray[Any]], description: Description) -> list[Detections]:
    """Return the detections of each row of a batch, from the raw outputs of a model with a description.

    `outputs` holds the arrays by output name, with the batch as the first axis. Boxes of the result are
    [ymin, xmin, ymax, xmax], normalised to the row, best first. Priors with values that are not finite are dropped and
    counted. Raises RowsRejectedError if an output is missing or does not have the shape that the description gives, or
    if a score is not in 0..1.
    """
    contract = description.contract
    with np.errstate(all="ignore"):  # `suppress` drops priors that are not finite
        decoded = candidates(outputs, description)
        not_finite = _checked(decoded)
    thresholds = contract.threshold_by_id
    rows = suppress(
        decoded.boxes,
        decoded.scores,
        score_threshold=np.array([thresholds[label] for label in decoded.ids], np.float32),
        nms_iou=contract.nms_iou,
        max_detections=contract.max_detections,
        nms=contract.nms,
        clip=contract.clip,
    )
    classes = np.array(decoded.ids, np.int64)
    return [
        Detections(row.boxes, np.minimum(row.scores, np.float32(1)), classes[row.classes], int(dropped))
        for row, dropped in zip(rows, not_finite, strict=True)
    ]


def _checked(decoded: Candidates) -> NDArray[np.int64]:
    """Check the scores of an answer; return how many priors (N,) of each row have a value that is not finite.

    Padding is neither checked nor counted: a label that the contract does not have, what comes after `num_detections`,
    a score of -1. Raises RowsRejectedError.
    """
    scores, finite_boxes = decoded.answered, np.isfinite(decoded.boxes).all(-1)
    if decoded.counts is not None:
        check_counts(decoded.counts, scores.shape[1])
    if surely_probabilities(scores) and finite_boxes.all():
        return np.zeros(len(scores), np.int64)
    real = np.ones(scores.shape[:2], np.bool_)
    if decoded.counts is not None:
        real &= np.arange(scores.shape[1]) < decoded.counts[:, None]
    if decoded.labels is not None:
        real &= np.isin(decoded.labels, decoded.ids) | ~np.isfinite(decoded.labels)
    finite = finite_boxes & np.isfinite(scores).all(-1)
    judged = scores[real & finite]
    check_probabilities(judged[judged != PADDING_SCORE])
    dropped: NDArray[np.int64] = (real & ~finite).sum(-1)
    return dropped


def prepare(images: Array, raw_input: RawInput, arrays: Arrays = NUMPY) -> Array:
    """Convert images, uint8 (N, H, W, 3) RGB of the contract's size, to the model's raw input.

    Returns an array with the layout, channel order, dtype, mean and scale of `raw_input`.
    """
    images = arrays.flip(images) if raw_input.channels == "bgr" else images
    if raw_input.dtype != "uint8":
        images = arrays.float32(images) - np.array(raw_input.mean, np.float32)
        if set(raw_input.scale) != {1.0}:
            images = images / np.array(raw_input.scale, np.float32)
    return arrays.transpose(images, (0, 3, 1, 2)) if raw_input.layout == "nchw" else images


def constants(raw_input: RawInput, rows: int) -> dict[str, NDArray[Any]]:
    """Return the model's other inputs by name, for a batch of `rows` images."""
    return {
        constant.tensor: np.broadcast_to(constant.array(), (rows, *constant.array().shape))
        if constant.per_image
        else constant.array()
        for constant in raw_input.constants
    }
