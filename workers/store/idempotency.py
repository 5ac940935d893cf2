"""Idempotency keys: the same request sent again gives the job that it made the first time."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass, field

from workers.errors import IdempotencyInFlightError, IdempotencyMismatchError, StoreUnavailableError
from workers.io.redis_link import RedisLink

_LEASE_SECONDS = 60.0  # that a request which died keeps its key from the next
_RENEW_SECONDS = 10.0


@dataclass
class Reservation:
    """An idempotency key in this request's hands: reserved, or used before and then with the job that was made."""

    key: str
    token: str
    job: str = ""
    fingerprint: str = ""
    renewed_at: float = field(default_factory=time.monotonic)

    def check(self, fingerprint: str) -> None:
        """Raise IdempotencyMismatchError where the key was used for another request."""
        if self.job and fingerprint != self.fingerprint:
            raise IdempotencyMismatchError(
                "This Idempotency-Key was used for another request: send a new key with a new request."
            )
        self.fingerprint = fingerprint


class Reservations:
    """Leased marks, so that a request that dies keeps nobody out for long."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def reserve(self, owner: str, key: str) -> Reservation:
        """Reserve an owner's key, or find what it was used for; raises IdempotencyInFlightError."""
        digest = hashlib.sha256(f"{owner}\0{key}".encode()).hexdigest()
        reservation = Reservation(f"sl:idempotency:{digest}", secrets.token_hex(8))
        verdict, *details = self._ask(reservation)
        if verdict == "done":
            reservation.job, reservation.fingerprint = details
        return reservation

    def renew(self, reservation: Reservation) -> None:
        """Say that the request is still under way; cheap to call often. Raises IdempotencyInFlightError."""
        if not reservation.job and time.monotonic() - reservation.renewed_at > _RENEW_SECONDS:
            self._ask(reservation)
            reservation.renewed_at = time.monotonic()

    def release(self, reservation: Reservation) -> None:
        """Give a reservation back, since its request failed."""
        try:
            self._link.run("requests/release", reservation.key, reservation.token)
        except StoreUnavailableError:
            return  # then its lease ends

    def _ask(self, reservation: Reservation) -> list[str]:
        answer: list[str] = self._link.run(
            "requests/reserve", reservation.key, reservation.token, int(_LEASE_SECONDS * 1000)
        )
        if answer[0] == "in_flight":
            raise IdempotencyInFlightError(
                "A request with this Idempotency-Key is being accepted: ask again in a few seconds."
            )
        return answer
