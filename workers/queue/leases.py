"""Leases of claimed images, renewed by a thread while the images are in flight."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import structlog

from workers.errors import StoreUnavailableError
from workers.jobs.claimed_image import ClaimedImage
from workers.queue.work_queue import WorkQueue

log = structlog.get_logger(__name__)


class Leases:
    """Renew the leases of this process's images every third of a lease.

    A failed renewal loses no entry by itself. An entry is lost only when another worker takes it over, and no worker
    takes over until a whole lease has passed, also after a restart of Redis.
    """

    def __init__(self, queue: WorkQueue, lease_seconds: float) -> None:
        self._queue = queue
        self._interval = lease_seconds / 3
        self._held: dict[tuple[str, str], None] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-renewal", daemon=True)
        self._thread.start()

    def hold(self, deliveries: Iterable[ClaimedImage]) -> None:
        """Renew the leases of these images from now on."""
        with self._lock:
            self._held.update((one.held, None) for one in deliveries)

    def release(self, deliveries: Iterable[ClaimedImage]) -> None:
        """Stop renewing the leases of these images."""
        with self._lock:
            for one in deliveries:
                self._held.pop(one.held, None)

    @property
    def held(self) -> list[tuple[str, str]]:
        """Stream and entry id of each image whose lease is renewed now."""
        with self._lock:
            return list(self._held)

    def stop(self) -> None:
        """Stop the thread. It is waited for at most a third of a lease."""
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
            except Exception:  # the thread goes on: without it every slow batch would look like a dead worker
                log.exception("leases not renewed", images=len(held))
                continue
            with self._lock:
                lost &= self._held.keys()  # the other entries were settled or handed back meanwhile
                for one in lost:
                    del self._held[one]
            if lost:
                log.warning("images taken over by another worker", images=len(lost))
