"""Make many deliveries at once, of which slow destinations may use only a part."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from workers.settings import Settings
from workers.webhooks.outbox import DueDelivery, Outbox

_IDLE_SECONDS = 1.0  # a run ends when nothing was due for so long
_LOOK_EVERY = 0.05  # seconds
_STOP_SECONDS = 3.0  # how long a sender that stops waits for attempts under way


class Dispatcher:
    """Lease due deliveries, and attempt each in a thread of its own.

    A destination that answers quickly gets more attempts at once (`window` in lib/outbox.lua). One that is slow or
    fails gets a single one. All of these together, with those that have taken no delivery yet, get half of the threads;
    those of one owner get a quarter. Threads are daemons: an attempt that is cut off when the process stops is made
    again, with the same id, when its lease ends.
    """

    def __init__(self, outbox: Outbox, attempt: Callable[[DueDelivery], None], settings: Settings) -> None:
        self._outbox = outbox
        self._attempt = attempt
        self._threads = settings.webhook_threads
        self._busy = 0  # threads that make an attempt
        self._slow = 0  # of these, for destinations that are slow, fail or are unknown
        self._changed = threading.Condition()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Lease nothing from now on. Safe to call from a signal handler."""
        self._stopping.set()

    def close(self) -> None:
        """Stop, and wait up to 3 s for attempts under way."""
        self.stop()
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, _STOP_SECONDS)

    def run(self) -> None:
        """Deliver until nothing was due for a second, even if attempts are under way. Raises StoreUnavailableError."""
        idle_since = time.monotonic()
        while not self._stopping.is_set() and time.monotonic() - idle_since < _IDLE_SECONDS:
            with self._changed:
                free, free_slow = self._threads - self._busy, self._threads // 2 - self._slow
                if not free:
                    self._changed.wait(_LOOK_EVERY)
                    idle_since = time.monotonic()
                    continue
            deliveries = self._outbox.claim(free, free_slow)
            for due in deliveries:
                self._start(due)
            if deliveries:
                idle_since = time.monotonic()
            else:
                with self._changed:  # an attempt that ends may let the next one begin
                    self._changed.wait(_LOOK_EVERY)

    def _start(self, due: DueDelivery) -> None:
        with self._changed:
            self._busy += 1
            self._slow += due.slow
        threading.Thread(target=self._run, args=(due,), name="webhook", daemon=True).start()

    def _run(self, due: DueDelivery) -> None:
        try:
            self._attempt(due)
        finally:
            with self._changed:
                self._busy -= 1
                self._slow -= due.slow
                self._changed.notify_all()
