from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.server.batching.queue import BatchQueue, Task
from serving.server.batching.settings import BatchSettings
from serving.server.errors import StatusError


def task(rows: int) -> Task:
    """A call of so many rows."""
    return Task(feeds={}, rows=rows, deadline=None, enqueued_at=0.0)


def queue(max_rows: int = 4, timeout_micros: int = 0, enqueued: int = 10) -> BatchQueue:
    """A queue of batches of at most so many rows."""
    return BatchQueue(
        BatchSettings(max_batch_size=max_rows, batch_timeout_micros=timeout_micros, max_enqueued_batches=enqueued)
    )


def rows(tasks: list[Task] | None) -> list[int] | None:
    """The rows of each call of a batch."""
    return None if tasks is None else [task.rows for task in tasks]


def test_without_a_timeout_what_waits_is_due() -> None:
    """However small the batch: what arrives while it runs makes the next one larger."""
    waiting = queue()

    assert waiting.due_at() is None
    assert waiting.take(0.0) is None

    waiting.add(task(1), 5.0)
    waiting.add(task(2), 6.0)

    assert waiting.due_at() == 5.0
    assert rows(waiting.take(6.0)) == [1, 2]
    assert waiting.take(7.0) is None


def test_with_a_timeout_a_batch_is_due_when_it_is_full_or_old() -> None:
    """Counted from its first task."""
    waiting = queue(timeout_micros=2_000_000)
    waiting.add(task(1), 10.0)
    waiting.add(task(1), 11.5)

    assert waiting.due_at() == 12.0
    assert waiting.take(11.9) is None
    assert rows(waiting.take(12.0)) == [1, 1]

    for _ in range(4):
        waiting.add(task(1), 20.0)

    assert rows(waiting.take(20.0)) == [1] * 4


def test_a_task_that_does_not_fit_opens_the_next_batch() -> None:
    """And the one before it is due at once."""
    waiting = queue(timeout_micros=2_000_000)
    waiting.add(task(3), 0.0)
    waiting.add(task(2), 0.0)

    assert rows(waiting.take(0.0)) == [3]
    assert waiting.take(0.0) is None
    assert rows(waiting.take(2.0)) == [2]


def test_a_full_queue_refuses() -> None:
    """The open batch counts; a batch that is taken makes room. To the letter: clients match on the text."""
    waiting = queue(enqueued=2)
    for _ in range(2):
        waiting.add(task(4), 0.0)
    with pytest.raises(StatusError) as error:
        waiting.add(task(1), 0.0)

    assert (error.value.code.name, error.value.message) == (
        "UNAVAILABLE",
        (
            "The batch scheduling queue to which this task was submitted is full; "
            "currently 2 batches enqueued and max_enqueued_batches is 2"
        ),
    )

    assert rows(waiting.take(0.0)) == [4]
    waiting.add(task(1), 0.0)


def test_a_task_larger_than_a_batch_is_refused() -> None:
    """It would never fit; one as large as a batch does."""
    waiting = queue()
    waiting.add(task(4), 0.0)
    with pytest.raises(StatusError) as error:
        waiting.add(task(5), 0.0)

    assert (error.value.code.name, error.value.message) == (
        "INVALID_ARGUMENT",
        "Task size 5 is larger than maximum input batch size 4",
    )


@given(st.lists(st.integers(1, 4), max_size=50))
def test_every_task_is_taken_once_in_order(sizes: list[int]) -> None:
    """In batches that are never larger than they may be."""
    waiting = queue(enqueued=100)
    added = [task(size) for size in sizes]
    for call in added:
        waiting.add(call, 0.0)
    batches = []
    while (tasks := waiting.take(0.0)) is not None:
        batches.append(tasks)

    assert [call for tasks in batches for call in tasks] == added
    assert all(sum(call.rows for call in tasks) <= 4 for tasks in batches)


def test_parts_that_do_not_all_find_room_are_refused_together() -> None:
    """Nothing of a refused call is computed."""
    waiting = BatchQueue(
        BatchSettings(
            max_batch_size=9, max_execution_batch_size=3, enable_large_batch_splitting=True, max_enqueued_batches=2
        )
    )
    waiting.add(task(2), 0.0)
    with pytest.raises(StatusError, match="currently 1 batches enqueued and max_enqueued_batches is 2"):
        waiting.add(task(5), 0.0)
    assert rows(waiting.take(0.0)) == [2]

    waiting.add(task(2), 0.0)
    assert [part.rows for part in waiting.add(task(4), 0.0)] == [1, 3]
    assert [rows(waiting.take(0.0)) for _ in range(2)] == [[2, 1], [3]]


def test_a_call_that_fits_the_next_batch_is_not_split() -> None:
    """But by `room`: what fills the open batch goes first."""
    assert [part.rows for part in task(3).parts(0, 3)] == [3]
    assert [part.rows for part in task(3).parts(3, 3)] == [3]
    assert [part.rows for part in task(3).parts(2, 3)] == [2, 1]
    assert [part.rows for part in task(7).parts(0, 3)] == [3, 3, 1]
