"""Look at the answers of a model, and refuse a description with which they cannot be boxes and scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from exporter.errors import ExportError
from serving.boxes.candidates import candidates
from serving.boxes.decode import decode
from serving.conventions import BoxesClassScores, BoxOrder, BoxUnits, DescribedBoxes
from serving.description import Description
from serving.errors import RowsRejectedError

Outputs = Mapping[str, NDArray[Any]]

_BEST: Final = 100
"""How many boxes of an image are looked at, those with the best scores."""

_FEWEST: Final = 3
"""Fewer boxes than this say nothing."""


def check_boxes(answers: Iterable[Outputs], description: Description) -> None:
    """Raise ExportError if the best boxes of a model are no boxes, or its scores no scores, with this description.

    That is so if all boxes are smaller than 2 pixels, if nine of ten reach beyond twice the image, if most end before
    they begin, or if a score is not in 0..1. The error names the values of `box_units`, `box_order` or `activation` to
    try. `answers` are raw outputs of batches. Raises RowsRejectedError if an output is missing or has a wrong shape.
    """
    answers = list(answers)
    if problem := _problem(answers, description):
        raise ExportError(f"{problem}: {_advice(answers, description)}.")
    for outputs in answers:
        try:
            decode(outputs, description)
        except RowsRejectedError as error:
            raise ExportError(f"{str(error).rstrip('.')}{_advice_on_scores(description)}.") from error


def _best_boxes(outputs: Outputs, description: Description) -> NDArray[np.float32]:
    """Return the best boxes of each image of a batch, float32 (M, 4), [ymin, xmin, ymax, xmax], normalised."""
    with np.errstate(all="ignore"):  # boxes that are not finite are left out
        decoded = candidates(outputs, description)
    boxes, best = decoded.boxes, decoded.scores.max(-1)
    best = np.where(np.isfinite(boxes).all(-1) & (best > 0), best, 0)
    places = np.argsort(-best, axis=-1, kind="stable")[:, :_BEST]
    chosen: NDArray[np.float32] = np.take_along_axis(boxes, places[..., None], 1)
    return chosen[np.take_along_axis(best, places, 1) > 0]


def _problem(answers: Sequence[Outputs], description: Description) -> str:
    contract = description.contract
    chosen = np.concatenate([_best_boxes(outputs, description) for outputs in answers])
    if len(chosen) < _FEWEST:
        return ""
    sides = (chosen[:, 2:] - chosen[:, :2]) * (contract.input_height, contract.input_width)
    if (np.abs(sides).max(-1) < 2).all():
        return f"The {len(chosen)} best boxes of sample images are all smaller than 2 pixels"
    if np.mean(np.abs(chosen).max(-1) > 2) >= 0.9:
        reach = float(np.median(np.abs(chosen).max(-1)))
        return f"The {len(chosen)} best boxes of sample images reach to {reach:.0f} times the size of the image"
    if np.mean((sides < 0).any(-1)) > 0.5:
        return f"Most of the {len(chosen)} best boxes of sample images end before they begin"
    return ""


def _advice(answers: Sequence[Outputs], description: Description) -> str:
    output = description.output
    if not isinstance(output, DescribedBoxes):
        if output.convention == "tf_object_detection":
            return 'try convention = "boxes_scores_labels" with box_units = "pixels"'
        return "check that the convention is the model's"
    fitting = [text for text, other in _others(description) if not _problem(answers, other)]
    return f"try {' or '.join(fitting[:3])}" if fitting else "check that tensor and convention are the model's"


def _advice_on_scores(description: Description) -> str:
    output = description.output
    if isinstance(output, BoxesClassScores):
        others = [f'"{name}"' for name in ("none", "sigmoid", "softmax") if name != output.activation]
        return f", or try activation = {' or '.join(others)}"
    return ""


def _others(description: Description) -> Iterator[tuple[str, Description]]:
    """Yield other descriptions and what they change: first another unit, then another order, then both."""
    output = description.output
    assert isinstance(output, DescribedBoxes)
    pairs = list(product(get_args(BoxUnits), get_args(BoxOrder)))
    changes = [
        {"box_units": units, "box_order": order}
        for units, order in sorted(pairs, key=lambda pair: (pair[1] != output.box_order, pair[0] != output.box_units))
    ]
    for change in changes:
        different = {key: value for key, value in change.items() if value != getattr(output, key)}
        if different:
            text = ", ".join(f'{key} = "{value}"' for key, value in different.items())
            yield text, description.model_copy(update={"output": output.model_copy(update=different)})
