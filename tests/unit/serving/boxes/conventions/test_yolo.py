from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from serving.boxes.decode import decode
from serving.conventions import YoloV8
from serving.errors import RowsRejectedError
from tests.support.raw_answers import answer_with, decoded_rows, described


@pytest.mark.parametrize("priors", [1, 7, 9, 40])
@pytest.mark.parametrize("axis", [1, 2])
def test_the_axis_of_the_boxes_is_told_by_the_shape(priors: int, axis: int) -> None:
    """Of 4 + 4 columns; named, it is the same."""
    raw = np.random.default_rng(0).uniform(0.4, 0.6, (2, priors, 8))
    outputs = {"x": raw if axis == 1 else raw.swapaxes(1, 2)}

    by_shape, named = (
        decoded_rows(outputs, YoloV8(convention="yolo_v8", tensor="x", label_offset=1, boxes_axis=boxes_axis))
        for boxes_axis in (None, axis)
    )

    assert by_shape == named
    assert all(by_shape)


@pytest.mark.parametrize(
    ("shape", "axis", "complaint"),
    [
        ((1, 8, 8), None, "does not tell where its 8 columns are: set boxes_axis"),
        ((1, 9, 40), None, r"\(1, 9, 40\); 3 dimensions were expected, one of them of 8"),
        ((1, 40, 8), 2, r"\(1, 40, 8\); 3 dimensions were expected, one of them of 8"),
        ((8, 40), None, "3 dimensions were expected"),
    ],
)
def test_a_yolo_of_other_classes_is_refused(shape: tuple[int, ...], axis: Any, complaint: str) -> None:
    """A class more or less would shift what a column means."""
    output = YoloV8(convention="yolo_v8", tensor="x", label_offset=1, boxes_axis=axis)

    with pytest.raises(RowsRejectedError, match=complaint):
        decoded_rows({"x": np.zeros(shape)}, output)


def test_an_objectness_that_is_a_logit_is_refused() -> None:
    """Also where the product with the class's score looks like a probability."""
    outputs, output = answer_with("yolo_raw", 0.1)
    outputs["x"][1, 1, 4] = 7.5

    with pytest.raises(RowsRejectedError, match=r"not within 0..1"):
        decode(outputs, described(output))
