from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.errors import ExportError
from exporter.models.onnx_files.agreement import require_agreement
from serving.contract import Contract, Label
from serving.conventions import EndToEnd, Output, YoloV8
from serving.description import Description

YOLO = YoloV8(convention="yolo_v8", tensor="x", boxes_axis=1)
SELECTED = EndToEnd(convention="end_to_end", tensor="x")


def described(output: Output) -> Description:
    contract = Contract(
        name="yolo",
        input_height=32,
        input_width=32,
        score_threshold=0.25,
        nms_iou=0.5,
        max_detections=10,
        labels=(Label(id=0, name="tea"), Label(id=1, name="rice")),
        weights_sha256="0" * 64,
    )
    return Description(contract=contract, output=output)


def answer() -> NDArray[np.float32]:
    """Boxes and scores (2, 300, 6) of two images."""
    return np.random.default_rng(0).uniform(0.1, 0.9, (2, 300, 6)).astype(np.float32)


def test_rounding_is_no_difference() -> None:
    """Also where a box has no number in both."""
    left, right = answer(), answer() + 5e-4
    left[0, 0] = right[0, 0] = np.nan

    require_agreement([{"x": left}], [{"x": right}], described(YOLO))


def test_the_order_of_selected_boxes_is_no_difference() -> None:
    """Those with equal scores may come in any."""
    own = answer()
    own[..., 5] = 0

    require_agreement([{"x": own}], [{"x": own[:1, ::-1]}, {"x": own[1:, ::-1]}], described(SELECTED))


@pytest.mark.parametrize("column", range(6))
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("change", [3e-3, np.nan])
def test_one_value_of_a_good_box_is_a_difference(column: int, change: float, *, first: bool) -> None:
    """In either answer, of any image: a box edge or a score."""
    left, right = answer(), answer()
    left[1, 7, 4:] = right[1, 7, 4:] = (0.95, 0.96)
    (left if first else right)[1, 7, column] += change

    with pytest.raises(ExportError, match="boxes or scores of sample images differ by"):
        require_agreement([{"x": left}], [{"x": right}], described(YOLO))


def test_an_answer_of_another_shape_is_refused() -> None:
    """As the description's error."""
    with pytest.raises(ExportError, match="The model is not what its description says: x has the shape"):
        require_agreement([{"x": answer()}], [{"x": answer()[..., :5]}], described(YOLO))
