"""Decide when a batch is due and when a queue is full; pure, after TF Serving's shared_batch_scheduler.h."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from serving.server.batching.settings import BatchSettings
from serving.server.errors import invalid_argument, unavailable


class Sized(Protocol):
    """A task that can wait in a queue."""

    rows: int


T = TypeVar("T", bound=Sized)


@dataclass
class _Batch(Generic[T]):
    tasks: list[T] = field(default_factory=list)
    rows: int = 0
    opened_at: float = 0.0


class BatchQueue(Generic[T]):
    """Batches that wait, oldest first; tasks are added to the last batch. Times are in seconds.

    The queue is not safe for threads: the caller must hold a lock.
    """

    def __init__(self, settings: BatchSettings) -> None:
        self._settings = settings
        self._batches: deque[_Batch[T]] = deque([_Batch()])

    def add(self, task: T, now: float) -> None:
        """Add a task to the last batch, or to a new batch if it does not fit.

        Raises StatusError: INVALID_ARGUMENT if the task has more rows than a batch, UNAVAILABLE if the queue is full.
        """
        most = self._settings.max_batch_size
        if task.rows > most:
            raise invalid_argument(f"Task size {task.rows} is larger than maximum input batch size {most}")
        if self._batches[-1].rows + task.rows > most:
            enqueued, limit = len(self._batches), self._settings.max_enqueued_batches
            if enqueued >= limit:
                raise unavailable(
                    "The batch scheduling queue to which this task was submitted is full; "
                    f"currently {enqueued} batches enqueued and max_enqueued_batches is {limit}"
                )
            self._batches.append(_Batch())
        batch = self._batches[-1]
        if not batch.tasks:
            batch.opened_at = now
        batch.tasks.append(task)
        batch.rows += task.rows

    def take(self, now: float) -> list[T] | None:
        """Remove the oldest batch from the queue and return its tasks, or None if it is not due."""
        due = self.due_at()
        if due is None or due > now:
            return None
        batch = self._batches.popleft()
        if not self._batches:
            self._batches.append(_Batch())
        return batch.tasks

    def due_at(self) -> float | None:
        """Return when the oldest batch is due, which may be in the past, or None if the queue is empty."""
        batch = self._batches[0]
        if not batch.tasks:
            return None
        if len(self._batches) > 1 or batch.rows >= self._settings.max_batch_size:
            return batch.opened_at
        return batch.opened_at + self._settings.batch_timeout_micros / 1e6
