"""Isolation: one status for a whole Predict is not one verdict for every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from serving.detections import Detections
from serving.errors import RowsRejectedError

Row = TypeVar("Row")


def predict_isolated(
    predict: Callable[[Sequence[Row]], list[Detections]], rows: Sequence[Row]
) -> list[Detections | RowsRejectedError]:
    """Call `predict` on all rows; where it rejects them, on halves, down to the guilty rows.

    One guilty row among B costs at most 2 log2(B) further calls. An error that is no row's fault is raised as it
    comes; what was answered before it is computed again with the next delivery.
    """
    try:
        return list(predict(rows))
    except RowsRejectedError as error:
        if len(rows) == 1:
            return [error]
    half = len(rows) // 2
    return predict_isolated(predict, rows[:half]) + predict_isolated(predict, rows[half:])
