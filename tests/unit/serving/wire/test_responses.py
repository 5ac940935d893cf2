from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from serving.errors import ContractError, RowsRejectedError
from serving.wire.protos import ModelSpec, PredictResponse
from serving.wire.responses import parse_response, to_contract, to_detections
from serving.wire.tensors import encode_response

Outputs = dict[str, NDArray[Any]]


def answer(rows: int = 2, most: int = 3) -> Outputs:
    """A good answer: scores 0.9, 0.7, 0.5, ..., as many detections as there is room for."""
    scores = np.tile(np.linspace(0.9, 0.5, most, dtype=np.float32), (rows, 1))
    return {
        "detection_boxes": np.tile(np.array([0.1, 0.2, 0.3, 0.4], np.float32), (rows, most, 1)),
        "detection_scores": scores,
        "detection_classes": np.ones((rows, most), np.float32),
        "num_detections": np.full(rows, most, np.float32),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
def test_num_detections_is_honoured_in_any_dtype(dtype: type) -> None:
    """TF Object Detection's models answer it as a float, others as an integer."""
    outputs = answer() | {"num_detections": np.array([1, 3], dtype)}

    first, second = to_detections(outputs, 2)

    assert (len(first), len(second)) == (1, 3)
    assert [np.float32, np.float32, np.int64] == [first.boxes.dtype, first.scores.dtype, first.classes.dtype]


def test_detections_come_best_first_and_ties_in_the_models_order() -> None:
    """Whatever order the model answers in."""
    outputs = answer(1) | {
        "detection_scores": np.array([[0.2, 0.8, 0.2]], np.float32),
        "detection_classes": np.array([[5, 6, 7]]),
    }

    (row,) = to_detections(outputs, 1)

    assert row.classes.tolist() == [6, 5, 7]


@pytest.mark.parametrize("alias", ["detection_boxes", "detection_scores", "detection_classes"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_detection_that_is_not_finite_is_left_out(alias: str, value: float) -> None:
    """And its neighbours stay."""
    outputs = answer(1)
    outputs[alias][0, 1] = value

    (row,) = to_detections(outputs, 1)

    assert (len(row), row.not_finite) == (2, 1)
    assert np.isfinite(row.boxes).all()


def test_rounding_past_one_is_clipped() -> None:
    """A sigmoid's float32 may be 1.0000001."""
    outputs = answer(1, 1) | {"detection_scores": np.array([[1.0000002]], np.float32)}

    assert to_detections(outputs, 1)[0].scores.tolist() == [1.0]


@pytest.mark.parametrize(
    ("alias", "value", "says"),
    [
        ("detection_scores", np.zeros((1, 3), np.float32), "detection_scores has the shape"),
        ("detection_scores", np.zeros(2, np.float32), "detection_scores has the shape"),
        ("detection_boxes", np.zeros((2, 3, 5), np.float32), "detection_boxes has the shape"),
        ("detection_boxes", np.zeros((2, 4, 4), np.float32), "detection_boxes has the shape"),
        ("detection_classes", np.zeros((2, 2), np.float32), "detection_classes has the shape"),
        ("detection_classes", np.array([[b"a"] * 3] * 2, object), "not numeric"),
        ("num_detections", np.zeros((2, 1), np.float32), "num_detections has the shape"),
        ("num_detections", np.array([0, 4], np.float32), "not within 0..3"),
        ("num_detections", np.array([0, -1], np.float32), "not within 0..3"),
        ("num_detections", np.array([0, np.nan], np.float32), "not within 0..3"),
        ("detection_scores", np.full((2, 3), 7.5, np.float32), "not within 0..1"),
        ("num_detections", None, "no num_detections"),
    ],
)
def test_an_answer_of_the_wrong_form_is_rejected(alias: str, value: NDArray[Any] | None, says: str) -> None:
    """It may be one row's doing, so the batch is split."""
    outputs = {name: array for name, array in (answer() | {alias: value}).items() if array is not None}

    with pytest.raises(RowsRejectedError, match=says):
        to_detections(outputs, 2)


@given(
    boxes=hnp.arrays(np.float32, (2, 3, 4)),
    scores=hnp.arrays(np.float32, (2, 3)),
    counts=hnp.arrays(np.float32, 2, elements=st.floats(width=32)),
)
def test_whatever_comes_out_is_finite_and_sorted(
    boxes: NDArray[Any], scores: NDArray[Any], counts: NDArray[Any]
) -> None:
    """Or it is rejected; nothing else."""
    outputs = answer() | {"detection_boxes": boxes, "detection_scores": scores, "num_detections": counts}
    try:
        rows = to_detections(outputs, 2)
    except RowsRejectedError:
        return
    for row in rows:
        assert np.isfinite(row.boxes).all()
        assert (np.diff(row.scores) <= 0).all()
        assert len(row.boxes) == len(row.scores) == len(row.classes) <= 3


def test_bytes_that_are_no_response_are_rejected() -> None:
    """A proxy's error page, say."""
    with pytest.raises(RowsRejectedError, match="not a PredictResponse"):
        parse_response(b"\xff<html>")


def test_a_malformed_tensor_is_rejected_by_name() -> None:
    """Its alias says where to look."""
    response = PredictResponse()
    response.outputs["scores"].dtype = 99

    with pytest.raises(RowsRejectedError, match="output scores is malformed"):
        parse_response(response.SerializeToString())


def test_a_response_is_parsed() -> None:
    """Spec and outputs."""
    spec, outputs = parse_response(encode_response(ModelSpec(name="m"), answer()))

    assert spec.name == "m"
    assert set(answer()) == set(outputs)


@pytest.mark.parametrize("outputs", [{}, {"contract": np.zeros(1)}, {"contract": np.empty(0, object)}])
def test_an_answer_without_a_contract_says_what_to_do(outputs: Outputs) -> None:
    """The model was exported by something else."""
    with pytest.raises(ContractError, match="export it anew"):
        to_contract(outputs)
