from __future__ import annotations

import numpy as np
import pytest

from serving.boxes.decode import decode
from serving.conventions import TfObjectDetection
from serving.errors import RowsRejectedError
from tests.support.raw_answers import BOX, answer_with, decoded_rows, described


def test_object_detection_counts_its_detections() -> None:
    """What stands past `num_detections` is padding, whatever it looks like."""
    outputs = {
        "detection_boxes": [[BOX, BOX], [BOX, BOX]],
        "detection_scores": [[0.5, 0.9], [0.5, 0.9]],
        "detection_classes": [[1, 2], [1, 2]],
        "num_detections": [1, 2],
    }

    expected = [[(1, 0.5, BOX)], [(2, 0.9, BOX), (1, 0.5, BOX)]]
    assert expected == decoded_rows(outputs, TfObjectDetection(convention="tf_object_detection"))


@pytest.mark.parametrize("count", [np.nan, -1, 3])
def test_a_count_that_cannot_be_is_refused(count: float) -> None:
    """With the words of the signature `detect`."""
    outputs, output = answer_with("tf_object_detection", 0.5)
    outputs["num_detections"][1] = count

    with pytest.raises(RowsRejectedError, match=r"num_detections is not within 0..2"):
        decode(outputs, described(output))
