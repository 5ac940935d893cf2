"""Adds the counts of a process to the totals in Redis every few seconds, by one script, in a thread of its own."""

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
_publishers: dict[int, Publisher] = {}  # by process id: in a threads pool, main process and pool process are the same


class Publisher:
    """Adds this process's counts to the totals. Counts that Redis did not confirm are sent again, and count once."""

    def __init__(self, run: Callable[..., object]) -> None:
        self._run_script = run
        self._process = secrets.token_hex(8)
        self._number = 0
        self._under_way: dict[str, float] = {}
        self._lock = threading.Lock()

    def once(self) -> None:
        """Publish what was counted since the last time, if anything was.

        Raises StoreUnavailableError; the same counts are sent again at the next call.
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
        """Publish every few seconds from now on, in a daemon thread, and once more when the process ends."""
        threading.Thread(target=self._run, name="metrics", daemon=True).start()
        atexit.register(self.last)

    def last(self) -> None:
        """Publish the remaining counts, if Redis takes them."""
        with suppress(StoreUnavailableError):
            for _ in range(2):  # first the counts that were not confirmed, then those made since
                self.once()

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(EVERY_SECONDS):
            try:
                self.once()
            except StoreUnavailableError:
                continue  # RedisLink has counted the error
            except Exception:
                log.exception("metrics not published")


def start_publishing(run: Callable[..., object]) -> None:
    """Publish what this process counts; `run` is `RedisLink.run`. A second call in the same process does nothing."""
    if os.getpid() not in _publishers:
        _publishers[os.getpid()] = Publisher(run)
        _publishers[os.getpid()].start()


def stop_publishing() -> None:
    """Publish the remaining counts, for a process that ends without calling atexit handlers."""
    if publisher := _publishers.get(os.getpid()):
        publisher.last()
