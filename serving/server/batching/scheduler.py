"""Server-side batching: threads take due batches, run them and return each caller its outputs."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

from serving.server.batching.merge import joined, merge, rows_of, split
from serving.server.batching.queue import BatchQueue, Task
from serving.server.batching.settings import BatchSettings
from serving.server.errors import StatusError, resource_exhausted
from serving.server.metrics import Metrics
from serving.server.versions.servable import Servable
from serving.wire.protos import ProtoMessage

_TIMED_OUT: Final = "Run() timeout exceeded while waiting in batching queue"


@dataclass(frozen=True)
class _Kind:
    """What calls must have in common to be merged: the version and the names of its inputs and outputs, sorted."""

    servable: Servable
    feeds: tuple[str, ...]
    fetches: tuple[str, ...]


class BatchScheduler:
    """The batching threads. All models share them; their queues are served in turn.

    There is a queue for each version and each set of inputs and outputs. It exists as long as a call waits in it.
    """

    def __init__(self, settings: BatchSettings, metrics: Metrics) -> None:
        self.settings = settings
        self._metrics = metrics
        self._changed = threading.Condition()
        self._queues: dict[_Kind, BatchQueue] = {}  # the next turn is the first one's
        for number in range(settings.num_batch_threads):
            threading.Thread(target=self._run, name=f"{settings.thread_pool_name}-{number}", daemon=True).start()

    def run(
        self,
        servable: Servable,
        feeds: Mapping[str, NDArray[Any]],
        fetches: Sequence[str],
        deadline: float | None,
    ) -> list[NDArray[Any]]:
        """Run a call of a version as a part of a batch and return the tensors named `fetches`, in that order.

        `feeds` are the arrays by tensor name. `deadline` is in the seconds of `time.monotonic`. A call with more rows
        than a batch is run in parts if the settings allow that. Raises StatusError if the queue is full, if the call
        has too many rows or if its batch failed.
        """
        kind = _Kind(servable, tuple(sorted(feeds)), tuple(sorted(set(fetches))))
        now = time.monotonic()
        task = Task(feeds, rows_of(feeds), deadline, now)
        with self._changed:
            queue = self._queues.get(kind) or BatchQueue(self.settings)
            parts = queue.add(task, now)
            self._queues[kind] = queue
            self._changed.notify(len(parts))
        for part in parts:
            part.done.wait()
        for part in parts:
            if isinstance(part.error, StatusError):  # a new error: other threads raise the shared one at the same time
                raise StatusError(part.error.code, part.error.message) from part.error
            if part.error is not None:
                raise part.error
        outputs = joined([part.outputs for part in parts])
        return [outputs[kind.fetches.index(name)] for name in fetches]

    def _run(self) -> None:
        while True:
            self._work(*self._next())  # no local variable keeps a batch in memory during the next wait

    def _work(self, kind: _Kind, tasks: list[Task]) -> None:
        try:
            self._process(kind, tasks)
        except BaseException as error:  # noqa: BLE001 - each waiting call raises it, and the thread must live on
            for task in tasks:
                task.error = error
        for task in tasks:
            task.done.set()

    def _next(self) -> tuple[_Kind, list[Task]]:
        with self._changed:
            while True:
                now = time.monotonic()
                for kind, queue in self._queues.items():
                    tasks = queue.take(now)
                    if tasks is not None:
                        del self._queues[kind]
                        if queue.due_at() is not None:
                            self._queues[kind] = queue  # the other queues are next
                        return kind, tasks
                due_times = [due for queue in self._queues.values() if (due := queue.due_at()) is not None]
                self._changed.wait(min(due_times) - now if due_times else None)

    def _process(self, kind: _Kind, tasks: list[Task]) -> None:
        """Run the tasks as one batch. An error of the batch is the error of all its tasks, as in TF Serving."""
        now = time.monotonic()
        for task in tasks:
            self._metrics.queued(self.settings.thread_pool_name, now - task.enqueued_at)
        deadlines = [task.deadline for task in tasks]
        latest = None if None in deadlines else max(filter(None, deadlines))
        if latest is not None and latest <= now:
            raise resource_exhausted(_TIMED_OUT)
        sizes = [task.rows for task in tasks]
        rows = self.settings.padded(sum(sizes))
        self._metrics.batched(sizes, rows)
        merged = merge([task.feeds for task in tasks], rows, pad=self.settings.pad_variable_length_inputs)
        outputs = kind.servable.run(merged, kind.fetches, deadline=latest)
        for task, task_outputs in zip(tasks, split(outputs, sizes, rows), strict=True):
            task.outputs = task_outputs


class BatchedModel:
    """A version whose calls are batched, with whatever outputs they ask for.

    Calls of 0 rows run without batching. In TF Serving they hang until their deadline.
    """

    def __init__(self, servable: Servable, scheduler: BatchScheduler) -> None:
        self.signatures: dict[str, ProtoMessage] = servable.signatures
        self._servable = servable
        self._scheduler = scheduler

    def run(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], *, deadline: float | None = None
    ) -> list[NDArray[Any]]:
        """See Servable."""
        if not rows_of(feeds):
            return self._servable.run(feeds, fetches, deadline=deadline)
        return self._scheduler.run(self._servable, feeds, fetches, deadline)

    def close(self) -> None:
        """Free the memory. All calls must have ended."""
        self._servable.close()
