"""Bisecting: whoever is guilty is found, nobody else is touched, and it costs few calls."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.boxes.detections import Detections
from serving.errors import RowsRejectedError
from workers.pipeline.predicting import bisect_rows


class Model:
    """Rejects every batch with a guilty row; else answers each row with its own number."""

    def __init__(self, guilty: set[int]) -> None:
        self.guilty, self.calls = guilty, 0

    def predict(self, rows: Sequence[int]) -> list[Detections]:
        self.calls += 1
        if self.guilty & set(rows):
            raise RowsRejectedError("a row is at fault")
        return [
            Detections(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.array([row], np.int64)) for row in rows
        ]


@given(st.integers(1, 16).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_the_guilty_and_only_they_fail(case: tuple[int, set[int]]) -> None:
    """Each row gets its own answer, or the error if it is guilty."""
    count, guilty = case
    model = Model(guilty)
    answers = bisect_rows(model.predict, list(range(count)))
    for row, answer in enumerate(answers):
        if row in guilty:
            assert isinstance(answer, RowsRejectedError)
        else:
            assert isinstance(answer, Detections)
            assert answer.classes.tolist() == [row]


@given(st.integers(1, 16).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))))
def test_one_guilty_row_costs_few_calls(case: tuple[int, int]) -> None:
    """At most 2 log2(B) + 1 calls more than without it."""
    count, guilty = case
    model = Model({guilty})
    bisect_rows(model.predict, list(range(count)))
    assert model.calls - 1 <= 2 * math.ceil(math.log2(count)) + 1
