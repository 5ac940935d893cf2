from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from exporter.graph import tensorflow
from tests.support.models import tiny_contract
from tests.unit.exporter import plain


@pytest.fixture(scope="module")
def graph() -> Any:
    """`suppress` as a function of boxes and scores, traced by TensorFlow."""
    tensorflow.prepare()
    import tensorflow as tf

    from exporter.graph.suppression import suppress

    contract = tiny_contract(max_detections=20).model_copy(update={"score_threshold": 0.3, "nms_iou": 0.5})
    return tf.function(lambda boxes, scores: suppress(boxes, scores, contract), reduce_retracing=True)


def batch(rng: np.random.Generator, *, rows: int, priors: int, classes: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Boxes that often overlap and reach over the edge, with scores of which many are equal."""
    corner = rng.uniform(-0.2, 0.9, (rows, priors, 2)).round(1)
    size = rng.uniform(0, 0.6, (rows, priors, 2)).round(1)
    scores = rng.uniform(0, 1, (rows, priors, classes)).round(1)
    return np.concatenate([corner, corner + size], -1).astype(np.float32), scores.astype(np.float32)


def kept(answer: dict[str, Any], row: int) -> list[tuple[int, float, list[float]]]:
    """What the graph kept of one row."""
    n = int(answer["num_detections"][row])
    values = [answer[f"detection_{key}"][row, :n].numpy().tolist() for key in ("classes", "scores", "boxes")]
    return list(zip(*values, strict=True))


def expected(boxes: NDArray[Any], scores: NDArray[Any]) -> list[tuple[int, float, list[float]]]:
    """What the plain one keeps of one row."""
    kept = plain.suppress(boxes, scores, threshold=0.3, nms_iou=0.5, limit=20)
    return [(detection.class_column, detection.score, list(detection.box)) for detection in kept]


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 3), priors=st.integers(1, 40), classes=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_it_keeps_what_plain_nms_keeps(graph: Any, seed: int, rows: int, priors: int, classes: int) -> None:
    """Order, ties and limits included, for every image of the batch."""
    boxes, scores = batch(np.random.default_rng(seed), rows=rows, priors=priors, classes=classes)

    answer = graph(boxes, scores)

    assert [expected(b, s) for b, s in zip(boxes, scores, strict=True)] == [kept(answer, n) for n in range(rows)]


@given(seed=st.integers(0, 2**32 - 1), broken=st.sampled_from([np.nan, np.inf, -np.inf]))
@settings(max_examples=30, deadline=None)
def test_a_row_that_is_not_finite_is_left_out(graph: Any, seed: int, broken: float) -> None:
    """TensorFlow's own operation would keep it; nothing else may change by its absence."""
    rng = np.random.default_rng(seed)
    boxes, scores = batch(rng, rows=2, priors=12, classes=3)
    boxes[0, rng.integers(12), rng.integers(4)] = broken
    scores[1, rng.integers(12), rng.integers(3)] = broken

    answer = graph(boxes, scores)

    assert [expected(b, s) for b, s in zip(boxes, scores, strict=True)] == [kept(answer, n) for n in range(2)]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_no_kept_pair_overlaps_too_much_and_all_are_kept_again(graph: Any, seed: int) -> None:
    """What is kept is some of what was given, and is kept whole when it is suppressed again."""
    boxes, scores = batch(np.random.default_rng(seed), rows=1, priors=60, classes=1)
    once = kept(graph(boxes, scores), 0)
    assume(once)
    corners = [np.array(box, np.float32) for _, _, box in once]
    assert all(plain.iou(a, b) <= 0.5 for a, b in itertools.combinations(corners, 2))
    given_ = {(float(s), *box.tolist()) for box, s in zip(boxes[0].clip(0, 1), scores[0, :, 0], strict=True)}
    assert {(score, *box) for _, score, box in once} <= given_

    again = graph(
        np.array([[box for _, _, box in once]], np.float32), np.array([[[score] for _, score, _ in once]], np.float32)
    )

    assert once == kept(again, 0)


def test_nothing_above_the_threshold_is_no_detections(graph: Any) -> None:
    """And the padding is zeros, so that no reader mistakes it for a box."""
    answer = graph(np.ones((2, 5, 4), np.float32), np.full((2, 5, 3), 0.3, np.float32))

    assert answer["num_detections"].numpy().tolist() == [0, 0]
    assert all(not value.numpy().any() for value in answer.values())
    assert answer["detection_boxes"].shape == (2, 20, 4)


@pytest.mark.parametrize(("rows", "priors"), [(0, 3), (1, 3), (2, 0), (0, 0)])
def test_an_empty_batch_and_no_priors(graph: Any, rows: int, priors: int) -> None:
    """Neither fails: a model may answer only the boxes that it found, and the signature promises its shapes."""
    answer = graph(np.zeros((rows, priors, 4), np.float32), np.zeros((rows, priors, 2), np.float32))

    assert (rows, 20) == answer["detection_scores"].shape
    assert not answer["num_detections"].numpy().any()
