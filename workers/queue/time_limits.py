"""Time limits for what a thread of a worker may hang in: reading and decoding an image, and duties.

Python cannot end a thread that hangs. So the process is replaced: see workers/queue/pool_process.py and
docs/decisions/0026-stuck-parts.md.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, ParamSpec, TypeVar

import structlog

log = structlog.get_logger(__name__)

Given = ParamSpec("Given")
Returned = TypeVar("Returned")

_LOOK_SECONDS: Final = 0.5
_SLOW_SECONDS: Final = 5.0  # a thread that does one thing for longer is not waited for
_SPARE_THREADS: Final = 2


class Activity:
    """Something that a thread does now, and how long it may take. Threads may share it."""

    def __init__(self, kind: str, name: str, limit: float) -> None:
        self.kind = kind
        self.name = name
        self.limit = limit  # seconds without a sign of life
        self._alive_at = time.monotonic()
        self._paused_at: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds since it began or gave a sign of life, without pauses."""
        now = self._paused_at
        return (time.monotonic() if now is None else now) - self._alive_at

    @property
    def overdue(self) -> bool:
        """Whether it has taken longer than its limit."""
        return self.seconds > self.limit

    def renew(self) -> None:
        """Give a sign of life: the limit counts from now on."""
        self._alive_at = time.monotonic()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time inside: the thread waits for other threads of its process."""
        self._paused_at = began = time.monotonic()
        try:
            yield
        finally:
            self._alive_at += time.monotonic() - began
            self._paused_at = None


class TimeLimits:
    """The activities of a process, and a thread that notices when one of them is overdue.

    `on_overdue` is then called, once: the process is to finish what it has and to end. `beat` is called twice per
    second, until an activity has been overdue for `grace` seconds: a process that cannot end by itself falls silent.
    """

    def __init__(
        self, on_overdue: Callable[[], None], *, beat: Callable[[], None] = lambda: None, grace: float = 60.0
    ) -> None:
        self._on_overdue = on_overdue
        self._beat = beat
        self._grace = grace
        self._activities: dict[Activity, None] = {}
        self._lock = threading.Lock()
        self._overdue_since: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="time-limits", daemon=True)
        self._thread.start()

    @property
    def exceeded(self) -> bool:
        """Whether an activity was overdue: the process is to be replaced."""
        return self._overdue_since is not None

    @contextmanager
    def limited(self, kind: str, name: str, seconds: float) -> Iterator[Activity]:
        """Limit what is done inside to `seconds`, or to `seconds` after its last sign of life."""
        activity = Activity(kind, name, seconds)
        with self._lock:
            self._activities[activity] = None
        try:
            yield activity
        finally:
            with self._lock:
                del self._activities[activity]

    def is_slow(self, kind: str) -> bool:
        """Return whether an activity of a kind has given no sign of life for five seconds."""
        return any(activity.seconds > _SLOW_SECONDS for activity in self._current() if activity.kind == kind)

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()

    def _current(self) -> list[Activity]:
        with self._lock:
            return list(self._activities)

    def look(self) -> None:
        """Look now whether an activity is overdue."""
        overdue = [activity for activity in self._current() if activity.overdue]
        with self._lock:
            if not overdue or self._overdue_since is not None:
                return
            self._overdue_since = time.monotonic()
        for activity in overdue:
            log.error(
                "does not end: this process finishes what it has and is replaced",
                what=activity.kind,
                name=activity.name,
                seconds=round(activity.seconds),
            )
        self._on_overdue()

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            self.look()
            since = self._overdue_since
            if since is None or time.monotonic() - since < self._grace:
                self._beat()


class SpareThreads:
    """One thread for tasks of a kind, and spare ones while the task that it does is slow."""

    def __init__(self, kind: str, limits: TimeLimits) -> None:
        self._kind = kind
        self._limits = limits
        self._thread = ThreadPoolExecutor(1, kind)
        self._spare = ThreadPoolExecutor(_SPARE_THREADS, f"spare-{kind}")

    def submit(
        self, task: Callable[Given, Returned], /, *args: Given.args, **options: Given.kwargs
    ) -> Future[Returned]:
        """Have a thread run a task."""
        threads = self._spare if self._limits.is_slow(self._kind) else self._thread
        return threads.submit(task, *args, **options)

    def shutdown(self) -> None:
        """End the threads, and wait for their tasks."""
        self._thread.shutdown()
        self._spare.shutdown()
