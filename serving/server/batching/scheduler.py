"""Server-side batching: threads take due batches, run them and return each caller its outputs."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

from serving.server.batching.merge import merge, rows_of, split
from serving.server.batching.queue import BatchQueue, Task
from serving.server.batching.settings import BatchSettings
from serving.server.errors import StatusError, resource_exhausted
from serving.server.metrics import Metrics
from serving.server.versions.servable import Servable
from serving.wire.protos import ProtoMessage

_TIMED_OUT: Final = "Run() timeout exceeded while waiting in batching queue"

_Signature = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(eq=False)
class _Queue:
    servable: Servable
    fetches: tuple[str, ...]
    tasks: BatchQueue


class BatchScheduler:
    """The batching threads. All models share them; their queues are served in turn."""

    def __init__(self, settings: BatchSettings, metrics: Metrics) -> None:
        self.settings = settings
        self._metrics = metrics
        self._changed = threading.Condition()
        self._queues: list[_Queue] = []
        for number in range(settings.num_batch_threads):
            threading.Thread(target=self._run, name=f"{settings.thread_pool_name}-{number}", daemon=True).start()

    def open(self, servable: Servable, fetches: tuple[str, ...]) -> _Queue:
        """Add a queue for calls of one version with the same inputs and outputs."""
        queue = _Queue(servable, fetches, BatchQueue(self.settings))
        with self._changed:
            self._queues.append(queue)
        return queue

    def close(self, queue: _Queue) -> None:
        """Remove a queue, which must be empty."""
        with self._changed:
            self._queues.remove(queue)

    def run(self, queue: _Queue, feeds: Mapping[str, NDArray[Any]], deadline: float | None) -> list[NDArray[Any]]:
        """Run a call as a part of a batch and return its outputs, in the order of the queue's fetches.

        `feeds` are the arrays by tensor name. `deadline` is in the seconds of `time.monotonic`. Raises StatusError if
        the queue is full or the batch failed.
        """
        now = time.monotonic()
        task = Task(feeds, rows_of(feeds), deadline, now)
        with self._changed:
            queue.tasks.add(task, now)
            self._changed.notify()
        task.done.wait()
        if isinstance(task.error, StatusError):  # a new error: other threads raise the shared one at the same time
            raise StatusError(task.error.code, task.error.message) from task.error
        if task.error is not None:
            raise task.error
        return task.outputs

    def _run(self) -> None:
        while True:
            self._work(*self._next())  # no local variable keeps a batch in memory during the next wait

    def _work(self, queue: _Queue, tasks: list[Task]) -> None:
        try:
            self._process(queue, tasks)
        except BaseException as error:  # noqa: BLE001 - each waiting call raises it, and the thread must live on
            for task in tasks:
                task.error = error
        for task in tasks:
            task.done.set()

    def _next(self) -> tuple[_Queue, list[Task]]:
        with self._changed:
            while True:
                now = time.monotonic()
                for position, queue in enumerate(self._queues):
                    tasks = queue.tasks.take(now)
                    if tasks is not None:
                        self._queues.append(self._queues.pop(position))  # the other queues are next
                        return queue, tasks
                due_times = [due for queue in self._queues if (due := queue.tasks.due_at()) is not None]
                self._changed.wait(min(due_times) - now if due_times else None)

    def _process(self, queue: _Queue, tasks: list[Task]) -> None:
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
        self._metrics.batched(rows)
        merged = merge([task.feeds for task in tasks], rows, pad=self.settings.pad_variable_length_inputs)
        outputs = queue.servable.run(merged, queue.fetches, deadline=latest)
        for task, task_outputs in zip(tasks, split(outputs, sizes, rows), strict=True):
            task.outputs = task_outputs


class BatchedModel:
    """A version whose calls are batched if they ask for the inputs and outputs of a signature.

    Calls with another set of outputs run without batching, and so do calls of 0 rows.
    """

    def __init__(self, servable: Servable, scheduler: BatchScheduler) -> None:
        self.signatures: dict[str, ProtoMessage] = servable.signatures
        self._servable = servable
        self._scheduler = scheduler
        self._queues: dict[_Signature, _Queue] = {}
        for signature in servable.signatures.values():
            key = _key(
                (info.name for info in signature.inputs.values()), (info.name for info in signature.outputs.values())
            )
            if key not in self._queues:
                self._queues[key] = scheduler.open(servable, key[1])

    def run(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], *, deadline: float | None = None
    ) -> list[NDArray[Any]]:
        """See Servable."""
        queue = self._queues.get(_key(feeds, fetches))
        if queue is None or not rows_of(feeds):
            return self._servable.run(feeds, fetches, deadline=deadline)
        outputs = dict(zip(queue.fetches, self._scheduler.run(queue, feeds, deadline), strict=True))
        return [outputs[name] for name in fetches]

    def close(self) -> None:
        """Free the memory. All calls must have ended."""
        for queue in self._queues.values():
            self._scheduler.close(queue)
        self._servable.close()


def _key(feeds: Any, fetches: Any) -> _Signature:  # noqa: ANN401 - any iterables of names
    return tuple(sorted(set(feeds))), tuple(sorted(set(fetches)))
