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

    def add(self, task: Task, now: float) -> None:
        """Add a task to the last batch, or to a new batch if it does not fit.

        Raises StatusError: INVALID_ARGUMENT if the task has more rows than a batch, UNAVAILABLE if the queue is full.
        """
        max_rows, max_batches = self._settings.max_batch_size, self._settings.max_enqueued_batches
        if task.rows > max_rows:
            raise invalid_argument(f"Task size {task.rows} is larger than maximum input batch size {max_rows}")
        if self._batches and self._batches[-1].rows + task.rows > max_rows and len(self._batches) >= max_batches:
            raise unavailable(
                "The batch scheduling queue to which this task was submitted is full; "
                f"currently {len(self._batches)} batches enqueued and max_enqueued_batches is {max_batches}"
            )
        if not self._batches or self._batches[-1].rows + task.rows > max_rows:
            self._batches.append(_Batch(now))
        self._batches[-1].tasks.append(task)
        self._batches[-1].rows += task.rows

    def take(self, now: float) -> list[Task] | None:
        """Remove the oldest batch from the queue and return its tasks, or None if it is not due."""
        due = self.due_at()
        return None if due is None or due > now else self._batches.popleft().tasks

    def due_at(self) -> float | None:
        """Return when the oldest batch is due, which may be in the past, or None if the queue is empty."""
        if not self._batches:
            return None
        batch = self._batches[0]
        if len(self._batches) > 1 or batch.rows >= self._settings.max_batch_size:
            return batch.opened_at
        return batch.opened_at + self._settings.batch_timeout_micros / 1e6
