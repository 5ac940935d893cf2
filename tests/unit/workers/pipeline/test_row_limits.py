"""A model server without enough memory for a batch: smaller calls, remembered for a while, and no row lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.boxes.detections import Detections
from serving.errors import ModelOutOfMemoryError, ModelUnavailableError, RowsRejectedError
from workers.pipeline.predicting import predict_within_memory
from workers.pipeline.row_limits import RowLimit, RowLimits


class Model:
    """Has memory for so many rows a call, for huge rows at no time, and rejects each call with a bad row."""

    def __init__(self, fits: int, huge: Sequence[int] = (), bad: Sequence[int] = ()) -> None:
        self.fits, self.huge, self.bad = fits, huge, bad
        self.calls: list[int] = []

    def predict(self, rows: Sequence[int]) -> list[Detections]:
        self.calls.append(len(rows))
        if len(rows) > self.fits or set(rows) & set(self.huge):
            raise ModelOutOfMemoryError("OOM when allocating tensor")
        if set(rows) & set(self.bad):
            raise RowsRejectedError("bad")
        return [
            Detections(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.array([row], np.int64)) for row in rows
        ]


def test_calls_are_halved_until_they_fit() -> None:
    """The size that fits is kept for the rest and for the next batches."""
    model, limit = Model(fits=3), RowLimit()

    assert len(predict_within_memory(model.predict, range(16), limit)) == 16
    assert model.calls == [16, 8, 4, *[2] * 8]
    model.calls.clear()
    predict_within_memory(model.predict, range(5), limit)
    assert model.calls == [2, 2, 1]


def test_calls_of_a_fixed_size_are_not_halved() -> None:
    """They would be filled up to as many rows, take as much memory, and be slow for ten minutes."""
    model, limit = Model(fits=3), RowLimit()

    answers = predict_within_memory(model.predict, range(8), limit, least=8)
    assert [type(answer) for answer in answers] == [ModelOutOfMemoryError] * 8
    assert model.calls == [8]
    assert limit.rows > 1000


def test_the_full_size_is_tried_again_after_a_while() -> None:
    """The memory may be there then. Meanwhile the limit is only lowered."""
    now = 100.0
    limit = RowLimit(lambda: now)
    limit.lower(4)
    limit.lower(8)
    assert limit.rows == 4
    now += 599
    limit.lower(2)
    now += 599
    assert limit.rows == 2
    now += 2
    assert limit.rows > 1000
    limit.lower(8)
    assert limit.rows == 8


@given(
    st.integers(1, 16),
    st.integers(1, 16),
    st.sets(st.integers(0, 15), max_size=3),
    st.sets(st.integers(0, 15), max_size=3),
)
def test_every_row_is_answered_in_its_place(count: int, fits: int, huge: set[int], bad: set[int]) -> None:
    """With its own detections, its own rejection, or the lack of memory if it does not fit alone."""
    model = Model(fits, sorted(huge), sorted(bad))
    answers = predict_within_memory(model.predict, range(count), RowLimit())

    assert len(answers) == count
    for row, answer in enumerate(answers):
        if row in huge:
            assert isinstance(answer, ModelOutOfMemoryError)
        elif row in bad:
            assert type(answer) is RowsRejectedError
        else:
            assert isinstance(answer, Detections)
            assert answer.classes.tolist() == [row]


def test_an_overload_is_no_lack_of_memory() -> None:
    """It is raised, and calls stay as large as they are."""
    limit = RowLimit()

    def predict(_rows: Sequence[int]) -> list[Detections]:
        raise ModelUnavailableError("the queue is full")

    with pytest.raises(ModelUnavailableError):
        predict_within_memory(predict, range(8), limit)
    assert limit.rows > 1000


def test_each_version_has_a_limit_of_its_own() -> None:
    """A smaller model fits where a larger one does not."""
    limits = RowLimits()
    limits.of("a", 1).lower(2)

    assert limits.of("a", 1).rows == 2
    assert min(limits.of("a", 2).rows, limits.of("b", 1).rows) > 1000
