"""Images in flight: claimed by a pipeline, and neither settled nor handed back."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.job import Outcome
from workers.queue.leases import Leases
from workers.queue.work_queue import WorkQueue
from workers.store.job_store import JobStore
from workers.telemetry.metrics import STAGE_SECONDS


class InFlight:
    """Claimed images under lease, and their outcomes until the next settle.

    An image leaves when it is settled or handed back.
    """

    def __init__(self, queue: WorkQueue, store: JobStore, leases: Leases) -> None:
        self._queue = queue
        self._store = store
        self._leases = leases
        self._mine: dict[tuple[str, str], ClaimedImage] = {}
        self._outcomes: list[tuple[ClaimedImage, Outcome]] = []
        self._busy_since = 0.0

    def __bool__(self) -> bool:
        return bool(self._mine)

    def __contains__(self, delivery: ClaimedImage) -> bool:
        return delivery.held in self._mine

    def take(self, deliveries: Sequence[ClaimedImage]) -> None:
        """Track claimed images; their leases are renewed from now on."""
        if not self._mine:
            self._busy_since = time.monotonic()
        self._leases.hold(deliveries)
        self._mine.update((one.held, one) for one in deliveries)

    def start(self, deliveries: Sequence[ClaimedImage]) -> list[ClaimedImage]:
        """Count that the processing of these images begins; return those that this worker is still to process."""
        lost = self._queue.start(deliveries)
        self._release([one for one in deliveries if one.held in lost])
        return [one for one in deliveries if one.held not in lost]

    def done(self, delivery: ClaimedImage, outcome: Outcome) -> None:
        """Record the outcome of an image; the next `settle` stores it."""
        self._outcomes.append((delivery, outcome))

    def settle(self) -> tuple[list[ClaimedImage], bool]:
        """Store all recorded outcomes with one script; return their images, and whether a duty is due now."""
        if not self._outcomes:
            return [], False
        now = time.monotonic()
        with STAGE_SECONDS.timing("settle"):
            duty_due = self._store.settle([outcome for _, outcome in self._outcomes], now - self._busy_since)
        self._busy_since = now
        settled = [delivery for delivery, _ in self._outcomes]
        self._outcomes = []
        self._release(settled)
        return settled, duty_due

    def hand_back(self, deliveries: Sequence[ClaimedImage], *, fault: bool) -> None:
        """Put images back into their lanes; with `fault` it counts against their retry budget."""
        self._release(deliveries)
        self._queue.hand_back(deliveries, fault=fault)

    def hand_back_all(self, not_started: Collection[ClaimedImage]) -> bool:
        """Put all remaining images back into their lanes; return whether there were any.

        Raises StoreUnavailableError if Redis is down. The leases are no longer renewed in that case either, so the
        images are taken over after a lease.
        """
        rest = list(self._mine.values())
        self._release(rest)
        self._outcomes = []
        if rest:
            self._queue.hand_back([one for one in rest if one not in not_started])
            self._queue.hand_back([one for one in rest if one in not_started], started=False)
        return bool(rest)

    def _release(self, deliveries: Sequence[ClaimedImage]) -> None:
        self._leases.release(deliveries)
        for one in deliveries:
            self._mine.pop(one.held, None)
