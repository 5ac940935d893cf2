"""Leases: while a process holds images, a thread of it says so."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import structlog

from workers.errors import StoreUnavailableError
from workers.jobs.claimed_image import Delivery
from workers.queue.work_queue import WorkQueue

log = structlog.get_logger(__name__)


class Leases:
    """What this process holds, renewed every third of a lease.

    A renewal that fails is not the end: an entry is lost only when another worker has taken it, and that worker gives
    everyone a whole lease first.
    """

    def __init__(self, queue: WorkQueue, lease_seconds: float) -> None:
        self._queue = queue
        self._interval = lease_seconds / 3
        self._held: dict[tuple[str, str], None] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-renewal", daemon=True)
        self._thread.start()

    def hold(self, deliveries: Iterable[Delivery]) -> None:
        """From now on these are renewed."""
        with self._lock:
            self._held.update((one.held, None) for one in deliveries)

    def release(self, deliveries: Iterable[Delivery]) -> None:
        """From now on these are not renewed."""
        with self._lock:
            for one in deliveries:
                self._held.pop(one.held, None)

    @property
    def held(self) -> list[tuple[str, str]]:
        """What is held now."""
        with self._lock:
            return list(self._held)

    def stop(self) -> None:
        """End the thread."""
        self._wake.set()
        self._thread.join(timeout=self._interval)

    def _run(self) -> None:
        while not self._wake.wait(self._interval):
            held = self.held
            if not held:
                continue
            try:
                lost = self._queue.renew(held)
            except StoreUnavailableError as error:
                log.warning("leases not renewed", images=len(held), error=str(error))
                continue
            except Exception:  # without this thread every slow batch would look like a death
                log.exception("leases not renewed", images=len(held))
                continue
            with self._lock:
                lost &= self._held.keys()  # the others were settled or handed back meanwhile
                for one in lost:
                    del self._held[one]
            if lost:
                log.warning("images taken over by another worker", images=len(lost))
