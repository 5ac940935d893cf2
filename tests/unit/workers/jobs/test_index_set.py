from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.jobs.index_set import IndexSet

SETS = st.sets(st.integers(0, 60), max_size=40)


def _of(indexes: set[int]) -> IndexSet:
    return IndexSet.of((index, index + 1) for index in indexes)


@settings(deadline=None)
@given(SETS, SETS)
def test_it_is_a_set(left: set[int], right: set[int]) -> None:
    """Ranges hold what a set would, in order, and none touches the next."""
    union = _of(left) | _of(right)
    assert list(union) == sorted(left | right)
    assert len(union) == len(left | right)
    assert all(first < behind for first, behind in union.ranges)
    assert all(a[1] < b[0] for a, b in zip(union.ranges, union.ranges[1:], strict=False))


@settings(deadline=None)
@given(SETS, st.integers(0, 70))
def test_what_is_missing(indexes: set[int], total: int) -> None:
    """The complement, up to a total; nothing beyond it."""
    assert set(_of(indexes).missing(total)) == set(range(total)) - indexes


@settings(deadline=None)
@given(SETS, st.integers(1, 9))
def test_it_is_written_and_read(indexes: set[int], most: int) -> None:
    """What is read back is the set, or where that would be too long its beginning: never more than it holds."""
    index_set = _of(indexes)
    assert IndexSet.from_text(index_set.to_text()) == index_set
    short = index_set.to_text(most)
    assert len(short.split(".")) <= max(most, 1)
    kept = set(IndexSet.from_text(short))
    assert kept == {index for index in indexes if index <= max(kept, default=-1)}


@pytest.mark.parametrize("text", ["", "x", "1.", "-1", "1..2", "1" * 10, "²", "1." * 5000 + "1", "1\n"])
def test_what_is_no_set(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="not a set of indexes"):
        IndexSet.from_text(text)
