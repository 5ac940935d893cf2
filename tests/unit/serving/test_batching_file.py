from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from serving.batching_file import batching_problem, most_rows
from serving.client import ServedModel
from serving.contract import Contract, warmup_rows
from serving.errors import ContractError
from tests.support.models import tiny_contract


def contract_of(rows: int) -> Contract:
    """A contract that takes at most so many rows a call."""
    return tiny_contract().model_copy(update={"max_batch_rows": rows})


@pytest.mark.parametrize(
    ("most", "batch_rows", "contract_rows", "problem"),
    [
        (16, 16, 16, None),
        (8, 8, 16, None),
        (8, 16, 8, None),
        (4, 4, 4, None),
        (4, 4, 16, "warm-up records have up to 8 rows.*set max_batch_size to 8 or more"),
        (2, 2, 5, "warm-up records have up to 4 rows.*max_batch_size 2.*set max_batch_size to 4"),
        (8, 16, 16, "sends it 16 rows a call, and max_batch_size 8 refuses.*SHELFLINE_BATCH_ROWS to 8"),
        (12, 16, 13, "sends it 13 rows a call"),
    ],
)
def test_a_worker_s_batch_and_the_warm_up_fit(
    most: int, batch_rows: int, contract_rows: int, problem: str | None
) -> None:
    """Otherwise TF Serving refuses calls, or does not start."""
    served = ServedModel("m", 1, contract_of(contract_rows))
    answer = batching_problem(most, served, batch_rows)

    if problem is None:
        assert answer is None
    else:
        with pytest.raises(AssertionError, match=problem):
            raise AssertionError(answer)


def test_a_model_of_one_batch_size_is_not_merged() -> None:
    """The server would merge its calls to batches that it does not take, unless a call fills a batch."""
    served = ServedModel("m", 1, contract_of(2), fixed_rows=2)

    for most in (1, 3, 1000):
        assert "without --enable_batching, or with max_batch_size 2" in (batching_problem(most, served, 16) or "")
    assert batching_problem(2, served, 16) is None
    assert batching_problem(1000, replace(served, fixed_rows=None), 16) is None


@pytest.mark.parametrize(("rows", "recorded"), [(1, (1,)), (3, (1, 2)), (8, (1, 2, 4, 8)), (16, (1, 2, 4, 8))])
def test_warm_up_records_keep_to_the_contract(rows: int, recorded: tuple[int, ...]) -> None:
    """A model that takes 2 rows a call is not warmed up with 8."""
    assert warmup_rows(contract_of(rows)) == recorded


def test_a_batching_file_that_is_none(tmp_path: Path) -> None:
    """It is named, with the place of the mistake."""
    path = tmp_path / "batching.txt"
    with pytest.raises(ContractError, match="Cannot read"):
        most_rows(path)
    path.write_text("max_batch_size { value: many }")
    with pytest.raises(ContractError, match="is not a batching file"):
        most_rows(path)
