"""Who sends what when: as many attempts at once as there are places, a part of them for slow endpoints."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from workers.errors import StoreUnavailableError
from workers.settings import Settings
from workers.webhooks.outbox import DueDelivery, Outbox

log = structlog.get_logger(__name__)

_IDLE_SECONDS = 1.0  # with nothing due, until a run is over
_LOOK_EVERY = 0.05  # seconds
_STOP_SECONDS = 3.0  # that a sender which stops waits for what is under way


class Dispatcher:
    """Claims what is due and has it attempted, each in a thread of its own.

    A line has more places the longer it answers quickly (`window` in lib/outbox.lua); those with one only, since
    they are slow or fail, have half of all places together. Threads are daemons: an attempt that a stop cuts off is
    made again, with the same id, when its lease is over.
    """

    def __init__(self, outbox: Outbox, attempt: Callable[[DueDelivery], None], settings: Settings) -> None:
        self._outbox = outbox
        self._attempt = attempt
        self._places = settings.webhook_threads
        self._busy = 0
        self._slow = 0
        self._changed = threading.Condition()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """From now on nothing is claimed; safe to call from a signal handler."""
        self._stopping.set()

    def close(self) -> None:
        """Stop, and wait a little for what is under way."""
        self.stop()
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, _STOP_SECONDS)

    def run(self) -> None:
        """Deliver until nothing has been due for a while, whatever is under way; raises StoreUnavailableError."""
        idle_since = time.monotonic()
        while not self._stopping.is_set() and time.monotonic() - idle_since < _IDLE_SECONDS:
            with self._changed:
                free, slow = self._places - self._busy, self._places // 2 - self._slow
                if not free:
                    self._changed.wait(_LOOK_EVERY)
                    idle_since = time.monotonic()
                    continue
            claimed = self._outbox.claim(free, slow)
            for due in claimed:
                self._start(due)
            if claimed:
                idle_since = time.monotonic()
            else:
                with self._changed:  # what ends makes room for the next
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


class Watch:
    """A timer in the sender's main process that rings when something is due: no message has to survive anything."""

    def __init__(self, outbox: Outbox, ring: Callable[[], None]) -> None:
        self._outbox = outbox
        self._ring = ring
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhook-watch", daemon=True)

    def start(self) -> None:
        """Begin; call it after the pool's processes were forked."""
        self._thread.start()

    def stop(self) -> None:
        """End soon."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(_IDLE_SECONDS / 4):
            try:
                if self._outbox.waits():
                    self._ring()
            except StoreUnavailableError as error:
                log.warning("webhooks wait", error=str(error))
                self._stopping.wait(_IDLE_SECONDS)
            except Exception:
                log.exception("webhooks wait")
                self._stopping.wait(_IDLE_SECONDS)
