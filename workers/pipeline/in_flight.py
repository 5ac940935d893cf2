"""Images in flight: claimed, and neither settled nor handed back. Their leases are renewed until then."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from workers.errors import StoreUnavailableError
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.result import Outcome
from workers.queue.work_queue import WorkQueue
from workers.store.job_store import JobStore
from workers.telemetry.metrics import STAGE_SECONDS

log = structlog.get_logger(__name__)


class InFlight:
    """The images of one pipeline that are in flight, and their outcomes until the next settle.

    An image leaves when it is settled or handed back.
    """

    def __init__(self, queue: WorkQueue, store: JobStore, leases: Leases) -> None:
        self._queue = queue
        self._store = store
        self._leases = leases
        self._images: dict[tuple[str, str], ClaimedImage] = {}
        self._outcomes: list[Outcome] = []
        self._busy_since = 0.0

    def __bool__(self) -> bool:
        return bool(self._images)

    def __contains__(self, image: ClaimedImage) -> bool:
        return image.key in self._images

    def add(self, images: Sequence[ClaimedImage]) -> None:
        """Track claimed images; their leases are renewed from now on."""
        if not self._images:
            self._busy_since = time.monotonic()
        self._leases.add(images)
        self._images.update((image.key, image) for image in images)

    def start(self, images: Sequence[ClaimedImage]) -> list[ClaimedImage]:
        """Count that the processing of these images begins; return those that this worker is still to process."""
        if not images:
            return []
        with self._leases.ending([image.key for image in images]):
            lost = self._queue.start(images)
            self._remove(lost)
        return [image for image in images if image.key not in lost]

    def done(self, outcome: Outcome) -> None:
        """Record the outcome of an image; the next `settle` stores it."""
        self._outcomes.append(outcome)

    def settle(self) -> bool:
        """Store all recorded outcomes with one script; return whether a duty is due now."""
        if not self._outcomes:
            return False
        now = time.monotonic()
        keys = [outcome.image.key for outcome in self._outcomes]
        with self._leases.ending(keys):
            with STAGE_SECONDS.timing("settle"):
                duty_due = self._store.settle(self._outcomes, now - self._busy_since)
            self._remove(keys)
        self._busy_since = now
        self._outcomes = []
        return duty_due

    def hand_back(self, images: Sequence[ClaimedImage], *, fault: bool, as_death: bool = False) -> None:
        """Put images back into their lanes; with `fault` it counts against their retry budget.

        With `as_death` their start count stays, as if the worker had died of them.
        """
        self._remove([image.key for image in images])
        self._queue.hand_back(images, fault=fault, started=not as_death)

    def hand_back_all(self, not_started: Collection[ClaimedImage]) -> bool:
        """Put all remaining images back into their lanes; return whether there were any.

        Raises StoreUnavailableError if Redis is down. The leases are no longer renewed in that case either, so the
        images are taken over after a lease.
        """
        images = list(self._images.values())
        self._remove(list(self._images))
        self._outcomes = []
        self._queue.hand_back([image for image in images if image not in not_started])
        self._queue.hand_back([image for image in images if image in not_started], started=False)
        return bool(images)

    def _remove(self, keys: Collection[tuple[str, str]]) -> None:
        self._leases.remove(keys)
        for key in keys:
            self._images.pop(key, None)


class Leases:
    """A thread that renews the leases of this process's images every third of a lease.

    A failed renewal loses no entry by itself. An entry is lost only when another worker takes it over, and no worker
    takes over until a whole lease has passed, also after a restart of Redis.
    """

    def __init__(self, queue: WorkQueue, lease_seconds: float) -> None:
        self._queue = queue
        self._interval = lease_seconds / 3
        self._keys: dict[tuple[str, str], None] = {}
        self._ending: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-renewal", daemon=True)
        self._thread.start()

    def add(self, images: Iterable[ClaimedImage]) -> None:
        """Renew the leases of these images from now on."""
        with self._lock:
            self._keys.update((image.key, None) for image in images)

    def remove(self, keys: Iterable[tuple[str, str]]) -> None:
        """Stop renewing the leases of images, given as stream and entry id."""
        with self._lock:
            for key in keys:
                self._keys.pop(key, None)

    @contextmanager
    def ending(self, keys: Collection[tuple[str, str]]) -> Iterator[None]:
        """While a script runs that may end these leases, renew them, but do not take their end for a take-over."""
        with self._lock:
            self._ending.update(keys)
        try:
            yield
        finally:
            with self._lock:
                self._ending.difference_update(keys)

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Stream and entry id of each image whose lease is renewed now."""
        with self._lock:
            return list(self._keys)

    def stop(self) -> None:
        """Stop the thread. It is waited for at most a third of a lease."""
        self._stopping.set()
        self._thread.join(timeout=self._interval)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            keys = self.keys
            if not keys:
                continue
            try:
                lost = self._queue.renew(keys)
            except StoreUnavailableError as error:
                log.warning("leases not renewed", images=len(keys), error=str(error))
                continue
            except Exception:  # the thread goes on: without it every slow batch would look like a dead worker
                log.exception("leases not renewed", images=len(keys))
                continue
            with self._lock:
                lost &= self._keys.keys() - self._ending  # the others were, or are being, settled or handed back
                for key in lost:
                    del self._keys[key]
            if lost:
                log.warning(
                    "images are no longer this worker's: another took them over, or Redis lost them", images=len(lost)
                )
