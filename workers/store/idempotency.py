"""Idempotency keys: the same request sent again returns the job that it created the first time."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass, field

from workers.errors import IdempotencyInFlightError, IdempotencyMismatchError, StoreUnavailableError
from workers.io.redis_link import RedisLink

_LEASE_SECONDS = 60.0  # for so long a request that died blocks its key
_RENEW_SECONDS = 10.0


@dataclass
class Reservation:
    """An idempotency key, reserved for this request, or used before. `job` is then the job that it created, else ''."""

    key: str
    token: str
    job: str = ""
    fingerprint: str = ""
    renewed_at: float = field(default_factory=time.monotonic)

    def check(self, fingerprint: str) -> None:
        """Raise IdempotencyMismatchError if the key was used for another request. Else note the fingerprint."""
        if self.job and fingerprint != self.fingerprint:
            raise IdempotencyMismatchError(
                "This Idempotency-Key was used for another request: send a new key with a new request."
            )
        self.fingerprint = fingerprint


class IdempotencyKeys:
    """Reserve idempotency keys under a lease, so that a request that dies does not block its key for long."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def reserve(self, owner: str, key: str) -> Reservation:
        """Reserve an owner's idempotency key, or find the job that it was used for.

        Raises IdempotencyInFlightError if another request with the key is being accepted, StoreUnavailableError if
        Redis is down.
        """
        digest = hashlib.sha256(f"{owner}\0{key}".encode()).hexdigest()
        reservation = Reservation(f"sl:idempotency:{digest}", secrets.token_hex(8))
        verdict, *details = self._reserve(reservation)
        if verdict == "done":
            reservation.job, reservation.fingerprint = details
        return reservation

    def renew(self, reservation: Reservation) -> None:
        """Extend the lease while the request is being accepted; cheap to call often.

        Raises IdempotencyInFlightError if the lease ended and another request took the key, StoreUnavailableError if
        Redis is down.
        """
        if not reservation.job and time.monotonic() - reservation.renewed_at > _RENEW_SECONDS:
            self._reserve(reservation)
            reservation.renewed_at = time.monotonic()

    def release(self, reservation: Reservation) -> None:
        """Free the key after its request failed. Does not raise if Redis is down."""
        try:
            self._link.run("requests/release", reservation.key, reservation.token)
        except StoreUnavailableError:
            return  # the lease ends by itself

    def _reserve(self, reservation: Reservation) -> list[str]:
        answer: list[str] = self._link.run(
            "requests/reserve", reservation.key, reservation.token, int(_LEASE_SECONDS * 1000)
        )
        if answer[0] == "in_flight":
            raise IdempotencyInFlightError(
                "A request with this Idempotency-Key is being accepted: send yours again in a few seconds."
            )
        return answer
