"""Steps of a Celery worker: take the next wake-up when a thread is free, forget broken connections, touch a file.

Celery takes no message while the pool is busy (`worker_disable_prefetch`). The end of a task in a pool process wakes
Celery's event loop, but the end of a task in a thread does not. Measured without `WakeAfterTask`: a single image waited
for the loop's next timer before it was claimed, 0.35 s at the median, 1.5 s at the 95th percentile.
"""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from celery import Celery, bootsteps, signals

from workers.errors import SettingsError

_AFTER_TASKS = ("celery.worker.consumer.tasks:Tasks",)  # the step that must have started
_TRANSPORT: Final = "kombu.transport.redis"
_LOOK_AFTER: Final = (0.003, 0.03)  # seconds after a task's end; Celery counts it as running for a moment longer
_HEARTBEAT_SECONDS: Final = 5.0


class WakeAfterTask(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery carries no types
    """Wake the event loop when a task has ended in this process."""

    requires = _AFTER_TASKS

    def __init__(self, consumer: Any, **options: Any) -> None:  # noqa: ANN401  Celery carries no types
        super().__init__(consumer, **options)
        self._hub: Any = None
        self._read_end, self._write_end = os.pipe()
        for end in (self._read_end, self._write_end):
            os.set_blocking(end, False)
        signals.task_postrun.connect(self._ended, weak=False)

    def start(self, consumer: Any) -> None:  # noqa: ANN401  Celery carries no types
        """Register the pipe; called with each new connection, since the event loop then has forgotten its readers."""
        self._hub = consumer.hub
        if self._hub is not None:
            self._hub.add_reader(self._read_end, self._look)

    def _ended(self, **_: object) -> None:
        with suppress(BlockingIOError):  # the pipe is full: the loop is about to wake
            os.write(self._write_end, b"x")

    def _look(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._read_end, 1 << 10)
        for seconds in _LOOK_AFTER:  # in each round the loop checks whether it may take messages
            self._hub.call_later(seconds, lambda: None)


class ForgetBrokenConnection(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery carries no types
    """Make the event loop forget a connection to the broker when the connection is broken.

    For each connection, kombu's Redis transport adds a callback to the loop, `on_poll_start`, and never removes it
    (since kombu's pull request 2492). The callback keeps the connection with its channels and pools in memory, 13 kB
    (measured), and the loop calls it in every round. So it is removed when Celery stops the steps of a connection. What
    is left then refers to itself in circles, and Python would collect it only after hundreds of broken connections.
    """

    requires = _AFTER_TASKS

    def start(self, consumer: Any) -> None:  # noqa: ANN401  Celery carries no types
        """Collect what is left of the connection before, whose error is over now."""
        if consumer.restart_count:
            gc.collect()

    def stop(self, consumer: Any) -> None:  # noqa: ANN401  Celery carries no types
        """Remove the transport's callbacks; called when the connection is broken, and at the end of the worker."""
        if consumer.hub is not None:
            ticks = consumer.hub.on_tick
            ticks -= {tick for tick in ticks if tick.__module__ == _TRANSPORT}


def add_heartbeat(app: Celery, path: Path | None) -> None:
    """Have the workers of an application touch a file every 5 s while they receive wake-ups; None: do nothing.

    The timer belongs to the event loop and to its connection, and stops with either. Raises SettingsError if the file
    cannot be written.
    """
    if path is None:
        return
    touch = path.touch
    try:
        touch()
    except OSError as error:
        raise SettingsError(
            f"SHELFLINE_HEARTBEAT_FILE is wrong: {path} cannot be written: {error.strerror}."
        ) from error

    class Heartbeat(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery carries no types
        requires = _AFTER_TASKS

        def start(self, consumer: Any) -> None:  # noqa: ANN401  Celery carries no types
            touch()
            self._timer = consumer.timer.call_repeatedly(_HEARTBEAT_SECONDS, touch)

        def stop(self, consumer: Any) -> None:  # noqa: ANN401, ARG002  Celery carries no types, and passes this
            self._timer.cancel()

    app.steps["consumer"].add(Heartbeat)
