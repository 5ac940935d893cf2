"""Which rows go next, whatever came in whatever order."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.jobs.options import Lane
from workers.pipeline.rows import Row, RowBuffer, kept_for_bulk

LANE = st.sampled_from(["interactive", "bulk"])


def row(number: int, lane: Lane) -> Row:
    """A row that is told apart by its number; its image is known by the lane alone."""
    image = SimpleNamespace(claimed=SimpleNamespace(lane=lane))
    return Row(image, number, np.zeros((1, 1, 3), np.uint8))  # type: ignore[arg-type]


def filled(batch_rows: int, lanes: list[Lane]) -> tuple[RowBuffer, list[Row]]:
    buffer = RowBuffer(batch_rows)
    rows = [row(number, lane) for number, lane in enumerate(lanes)]
    buffer.add(rows)
    return buffer, rows


@given(st.integers(1, 16), st.lists(LANE, max_size=60))
def test_every_row_goes_once_in_the_order_of_its_lane(batch_rows: int, lanes: list[Lane]) -> None:
    """No row is lost, doubled or overtaken by one of its own lane, and no batch is larger than it may be."""
    buffer, rows = filled(batch_rows, lanes)
    sent: list[Row] = []
    while batch := buffer.take_batch():
        assert len(batch) <= batch_rows
        sent += batch
    assert len(buffer) == 0
    for lane in ("interactive", "bulk"):
        assert [row for row in sent if row.lane == lane] == [row for row in rows if row.lane == lane]


@given(st.integers(2, 16), st.lists(LANE, max_size=60))
def test_interactive_rows_come_first_and_bulk_keeps_its_share(batch_rows: int, lanes: list[Lane]) -> None:
    """Bulk gets what is kept for it, and more only where interactive rows leave room."""
    buffer, _ = filled(batch_rows, lanes)
    before = Counter(lanes)
    batch = Counter(row.lane for row in buffer.take_batch())

    kept = min(before["bulk"], kept_for_bulk(batch_rows))
    assert batch["interactive"] == min(before["interactive"], batch_rows - kept)
    assert batch["bulk"] == min(before["bulk"], batch_rows - batch["interactive"])


@pytest.mark.parametrize(("rows", "kept"), [(1, 1), (2, 1), (8, 1), (15, 1), (16, 2)])
def test_what_bulk_keeps_of_a_batch(rows: int, kept: int) -> None:
    """An eighth, at least one row."""
    assert kept_for_bulk(rows) == kept


def test_batches_of_one_row() -> None:
    """Every eighth is bulk's while interactive rows wait as well."""
    lanes: list[Lane] = ["interactive" if number < 100 else "bulk" for number in range(105)]
    buffer, _ = filled(1, lanes)
    sent = [buffer.take_batch()[0].lane for _ in range(40)]

    assert [number for number, lane in enumerate(sent, 1) if lane == "bulk"] == [8, 16, 24, 32, 40]


@given(st.integers(1, 16), st.lists(LANE, min_size=1, max_size=60))
def test_a_batch_that_is_put_back_is_the_next(batch_rows: int, lanes: list[Lane]) -> None:
    """In the order in which it was taken."""
    buffer, _ = filled(max(2, batch_rows), lanes)
    batch = buffer.take_batch()
    buffer.put_back(batch)

    assert buffer.take_batch() == batch
