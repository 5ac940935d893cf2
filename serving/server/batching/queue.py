"""Decide when a batch is due and when a queue is full; pure, after TF Serving's shared_batch_scheduler.h."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from serving.server.batching.settings import BatchSettings
from serving.server.errors import invalid_argument, unavailable


@dataclass(eq=False)
class Task:
    """A call that waits for its batch: its arrays by tensor name, its rows, and in the end its outputs or its error.

    `deadline` and `enqueued_at` are in the seconds of `time.monotonic`. `done` is set when the batch has ended.
    """

    feeds: Mapping[str, NDArray[Any]]
    rows: int
    deadline: float | None
    enqueued_at: float
    done: threading.Event = field(default_factory=threading.Event)
    outputs: list[NDArray[Any]] = field(default_factory=list)
    error: BaseException | None = None

    def parts(self, first: int, rows: int) -> list[Task]:
        """Split the task into tasks of at most `first`, `rows`, `rows`, ... rows; it stays whole if it fits.

        With 0 as `first`, all parts have at most `rows` rows.
        """
        if self.rows <= (first or rows):
            return [self]
        ends = [*range(first or rows, self.rows, rows), self.rows]
        return [
            Task(
                {name: array[begin:end] for name, array in self.feeds.items()},
                end - begin,
                self.deadline,
                self.enqueued_at,
            )
            for begin, end in zip([0, *ends], ends, strict=False)
        ]


@dataclass
class _Batch:
    opened_at: float
    tasks: list[Task] = field(default_factory=list)
    rows: int = 0


class BatchQueue:
    """Batches that wait, oldest first; tasks are added to the last batch. Times are in seconds.

    The queue is not safe for threads: the caller must hold a lock.
    """

    def __init__(self, settings: BatchSettings) -> None:
        self._settings = settings
        self._batches: deque[_Batch] = deque()

    def add(self, task: Task, now: float) -> list[Task]:
        """Add a task to the last batch, or to a new batch if it does not fit. Return what was added.

        That is the task itself or, with `enable_large_batch_splitting`, its parts: the first part fills the last batch,
        and the others fill new batches. Raises StatusError, and adds nothing: INVALID_ARGUMENT if the task has too many
        rows, UNAVAILABLE if the queue is full.
        """
        settings = self._settings
        if task.rows > settings.max_batch_size:
            raise invalid_argument(
                f"Task size {task.rows} is larger than maximum input batch size {settings.max_batch_size}"
            )
        room = settings.rows_of_a_batch - self._batches[-1].rows if self._batches else 0
        parts = task.parts(room, settings.rows_of_a_batch) if settings.enable_large_batch_splitting else [task]
        new_batches = len(parts) - (parts[0].rows <= room)
        # An empty queue takes a task even if its batches are as many as may wait or more.
        if self._batches and new_batches and len(self._batches) + new_batches > settings.max_enqueued_batches:
            raise unavailable(
                "The batch scheduling queue to which this task was submitted is full; "
                f"currently {len(self._batches)} batches enqueued and max_enqueued_batches is "
                f"{settings.max_enqueued_batches}"
            )
        for part in parts:
            if not self._batches or self._batches[-1].rows + part.rows > settings.rows_of_a_batch:
                self._batches.append(_Batch(now))
            self._batches[-1].tasks.append(part)
            self._batches[-1].rows += part.rows
        return parts

    def take(self, now: float) -> list[Task] | None:
        """Remove the oldest batch from the queue and return its tasks, or None if it is not due."""
        due = self.due_at()
        return None if due is None or due > now else self._batches.popleft().tasks

    def due_at(self) -> float | None:
        """Return when the oldest batch is due, which may be in the past, or None if the queue is empty."""
        if not self._batches:
            return None
        batch = self._batches[0]
        if len(self._batches) > 1 or batch.rows >= self._settings.rows_of_a_batch:
            return batch.opened_at
        return batch.opened_at + self._settings.batch_timeout_micros / 1e6
