"""Leases of duties: a process renews the lease of a long duty while it works, and stops if the lease is lost."""

from __future__ import annotations

import time
from collections.abc import Callable

from workers.io.redis_link import RedisLink


class LeaseLostError(Exception):
    """Raised if the lease of a duty is lost, or if the process is told to stop."""


class DutyLease:
    """The lease of a duty that this process is doing."""

    def __init__(self, link: RedisLink, duty: str, lease: str, lease_ms: int, stopping: Callable[[], bool]) -> None:
        self.duty = duty
        self.lease = lease  # its value in Redis
        self._link = link
        self._lease_ms = lease_ms
        self._stopping = stopping
        self._renewed_at = -float("inf")
        self.on_renewal: Callable[[], None] = lambda: None  # called at each sign of life of who does the duty

    def renew(self) -> None:
        """Renew the lease if a third of it has passed since the last renewal; cheap to call often.

        Raises LeaseLostError if the lease is lost or the process is told to stop, StoreUnavailableError if Redis is
        down.
        """
        self.on_renewal()
        if self._stopping():
            raise LeaseLostError
        if time.monotonic() - self._renewed_at < self._lease_ms / 3000:
            return
        lease = self._link.run("duties/renew_duty", self.duty, self.lease, self._lease_ms)
        if lease is None:
            raise LeaseLostError
        self.lease, self._renewed_at = lease, time.monotonic()

    def end(self) -> None:
        """Remove the duty, which is done, unless the lease was lost. Raises StoreUnavailableError if Redis is down."""
        self._link.run("duties/end_duty", self.duty, self.lease)
