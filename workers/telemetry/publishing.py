"""A process's counts go into everyone's totals in Redis, every few seconds, in one script: never on an image's way."""

from __future__ import annotations

import atexit
import os
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress

import structlog

from workers.errors import StoreUnavailableError
from workers.telemetry.counters import take_counted

log = structlog.get_logger(__name__)

EVERY_SECONDS = 5.0
_started_in: set[int] = set()  # processes: a pool of threads has the worker's main process for its own


class Publisher:
    """Adds what this process counted to the totals. What Redis did not confirm is sent again, and counts once."""

    def __init__(self, run: Callable[..., object]) -> None:
        self._run_script = run
        self._process = secrets.token_hex(8)
        self._number = 0
        self._under_way: dict[str, float] = {}
        self._lock = threading.Lock()

    def once(self) -> None:
        """Publish what was counted since the last time; nothing is sent where that is nothing.

        Raises StoreUnavailableError; then it is sent with the next.
        """
        with self._lock:
            if not self._under_way:
                self._under_way = take_counted()
                self._number += 1
            if self._under_way:
                flat = [part for field, by in self._under_way.items() for part in (field, repr(by))]
                self._run_script("monitoring/add_metrics", self._process, self._number, *flat)
                self._under_way = {}

    def start(self) -> None:
        """Publish from now on, in a thread that ends with the process."""
        threading.Thread(target=self._run, name="metrics", daemon=True).start()
        atexit.register(self.last)

    def last(self) -> None:
        """Publish what is left, where Redis takes it."""
        with suppress(StoreUnavailableError):
            for _ in range(2):  # what was under way, and what came since
                self.once()

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(EVERY_SECONDS):
            with suppress(StoreUnavailableError):  # which was counted too
                try:
                    self.once()
                except StoreUnavailableError:
                    raise
                except Exception:
                    log.exception("metrics not published")


_publishers: list[Publisher] = []


def start_publishing(run: Callable[..., object]) -> None:
    """Publish what this process counts, by `RedisLink.run`. A second call in the same process does nothing."""
    if os.getpid() in _started_in:
        return
    _started_in.add(os.getpid())
    _publishers[:] = [Publisher(run)]
    _publishers[0].start()


def stop_publishing() -> None:
    """Publish what is left: for a process that ends without Python's ceremony."""
    if os.getpid() in _started_in:
        _publishers[0].last()
