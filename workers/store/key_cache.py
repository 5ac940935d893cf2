"""What a process knows about keys from one moment to the next: looked up once a second, not once a request."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from workers.settings import Settings
from workers.store.api_keys import ApiKey, KeyStore, KeyTerms, Scope, digest_of, same

KNOWN_SECONDS: Final = 1.0  # for so long a revoked key may live on
_MOST_KNOWN: Final = 10_000
_ADMIN: Final = KeyTerms(name="SHELFLINE_ADMIN_KEY", owner="admin", scopes=(Scope.ADMIN,))


class KeyRing:
    """The keys as one process sees them. Every method raises StoreUnavailableError where Redis has to be asked."""

    def __init__(self, store: KeyStore, settings: Settings, now: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._now = now
        self._admin: ApiKey | None = None
        if settings.admin_key:
            digest = digest_of(settings.admin_key.get_secret_value())
            self._admin = ApiKey(**_ADMIN.model_dump(), id="key_of_settings", digest=digest, created_at=time.time())
        self._required = settings.demands_keys
        self._asked_at = float("-inf")
        self._known: dict[str, tuple[float, ApiKey]] = {}

    def required(self) -> bool:
        """Whether a caller needs a key: the settings want it, or one was made. Once it is so, it stays so."""
        now = self._now()
        if not self._required and now - self._asked_at > KNOWN_SECONDS:
            self._required = self._store.any()
            self._asked_at = now
        return self._required

    def find(self, secret: str) -> ApiKey | None:
        """The key, as long as it may be used; None where there is none, or it is revoked or expired."""
        digest = digest_of(secret)
        if self._admin and same(self._admin.digest, digest):
            return self._admin
        now = self._now()
        at, key = self._known.get(digest, (float("-inf"), None))
        if now - at > KNOWN_SECONDS:
            key = self._store.find(secret)
            self._know(digest, now, key)
        return key if key and key.state == "active" else None

    def _know(self, digest: str, now: float, key: ApiKey | None) -> None:
        """Remember a key that there is. Others are without number, and any may be made the next moment."""
        if key is None:
            self._known.pop(digest, None)
            return
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[digest] = (now, key)
