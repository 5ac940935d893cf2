"""The headers of Standard Webhooks 1.0, by the library that receivers verify with."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from standardwebhooks import Webhook as Signer


def signed_headers(message: str, body: str, secrets: Iterable[str], at: datetime | None = None) -> dict[str, str]:
    """The headers for one attempt: a signature for each secret, two while they are rotated, none without a secret."""
    now = (at or datetime.now(UTC)).replace(microsecond=0)
    found = {"webhook-id": message, "webhook-timestamp": str(int(now.timestamp()))}
    signatures = [Signer(secret).sign(message, now, body) for secret in secrets]
    if signatures:
        found["webhook-signature"] = " ".join(signatures)
    return found
