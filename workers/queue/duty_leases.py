"""Leases of duties that take longer than a lease: whoever does one says so, and stops where it is another's."""

from __future__ import annotations

import time
from collections.abc import Callable

from workers.io.redis_link import RedisLink


class LeaseLostError(Exception):
    """Raised where a duty is no longer this process's to do, or the process is told to stop."""


class DutyLease:
    """One duty in this process's hands."""

    def __init__(self, link: RedisLink, duty: str, lease: str, lease_ms: int, stopping: Callable[[], bool]) -> None:
        self.duty = duty
        self.lease = lease  # as Redis has it
        self._link = link
        self._lease_ms = lease_ms
        self._stopping = stopping
        self._renewed_at = -float("inf")

    def renew(self) -> None:
        """Say that the duty is being done; cheap to call often. Raises LeaseLostError, StoreUnavailableError."""
        if self._stopping():
            raise LeaseLostError
        if time.monotonic() - self._renewed_at < self._lease_ms / 3000:
            return
        lease = self._link.run("duties/renew_duty", self.duty, self.lease, self._lease_ms)
        if lease is None:
            raise LeaseLostError
        self.lease, self._renewed_at = lease, time.monotonic()
