from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.server.batching.merge import merge, rows_of, split
from serving.server.errors import StatusError


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 3))
def test_what_is_merged_is_split_again(sizes: list[int], padding: int) -> None:
    """Each request gets its own rows, and nobody those that fill the batch up."""
    total = sum(sizes)
    whole = np.arange(total * 2, dtype=np.float32).reshape(total, 2)
    ends = np.cumsum(sizes)
    requests = [{"x": whole[end - size : end]} for size, end in zip(sizes, ends, strict=True)]
    merged = merge(requests, total + padding, pad=False)["x"]

    assert len(merged) == total + padding
    assert np.array_equal(merged[:total], whole)
    assert all(np.array_equal(row, requests[-1]["x"][0]) for row in merged[total:])
    parts = split([merged, merged[:, 0]], sizes, total + padding)
    assert all(np.array_equal(part[0], request["x"]) for part, request in zip(parts, requests, strict=True))
    assert all(np.array_equal(part[1], request["x"][:, 0]) for part, request in zip(parts, requests, strict=True))


def test_other_shapes_do_not_merge() -> None:
    """Unless they are padded, with zeros or with empty strings."""
    short, long = np.ones((1, 2), np.uint8), np.ones((2, 3), np.uint8)
    with pytest.raises(StatusError, match="Tensors with name 'x' from different tasks have different shapes") as error:
        merge([{"x": short}, {"x": long}], 3, pad=False)

    assert error.value.code.name == "FAILED_PRECONDITION"
    assert merge([{"x": short}, {"x": long}], 3, pad=True)["x"].tolist() == [[1, 1, 0], [1, 1, 1], [1, 1, 1]]
    strings = [np.array([[b"a"]], object), np.array([[b"b", b"c"]], object)]
    assert merge([{"x": tensor} for tensor in strings], 2, pad=True)["x"].tolist() == [[b"a", b""], [b"b", b"c"]]
    with pytest.raises(StatusError, match="different shapes"):
        merge([{"x": short}, {"x": np.ones(1, np.uint8)}], 2, pad=True)


def test_the_rows_of_a_request() -> None:
    """All its tensors have as many."""
    assert rows_of({"a": np.ones((3, 2)), "b": np.ones(3)}) == 3
    with pytest.raises(StatusError, match="equal 0th-dimension size"):
        rows_of({"a": np.ones(3), "b": np.ones(2)})
    with pytest.raises(StatusError, match="at least one dimension"):
        rows_of({"a": np.array(1, np.float32)})
    with pytest.raises(StatusError, match="at least one input tensor"):
        rows_of({})


@pytest.mark.parametrize(
    ("output", "message"), [(np.ones(()), "has 0 dimensions"), (np.ones(3), "0th dimension does not equal the sum")]
)
def test_outputs_that_are_not_by_row_are_refused(output: np.ndarray, message: str) -> None:
    """Nobody could be told which part is whose."""
    with pytest.raises(StatusError, match=message) as error:
        split([output], [1, 1], 2)

    assert error.value.code.name == "FAILED_PRECONDITION"
