"""A cache of API keys in each process, so that a key is looked up once per second and not once per request."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from typing import Final

from workers.settings import Settings
from workers.store.api_keys import ApiKey, KeyStore, KeyTerms, Scope, digest_of

KNOWN_SECONDS: Final = 1.0  # for so long a revoked key may still be accepted
_MAX_KNOWN: Final = 10_000
_ADMIN: Final = KeyTerms(name="SHELFLINE_ADMIN_KEY", owner="admin", scopes=(Scope.ADMIN,))


class KeyCache:
    """The cached keys of one process.

    Every method raises StoreUnavailableError if it has to ask Redis and Redis is down.
    """

    def __init__(self, store: KeyStore, settings: Settings, now: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._now = now
        self._admin: ApiKey | None = None
        if settings.admin_key:
            digest = digest_of(settings.admin_key.get_secret_value())
            self._admin = ApiKey(**_ADMIN.model_dump(), id="key_of_settings", digest=digest, created_at=0.0)
        self._required = settings.demands_keys
        self._looked_up_at = float("-inf")
        self._known: dict[str, tuple[float, ApiKey]] = {}

    def required(self) -> bool:
        """Return whether callers need a key: the settings require it, or a key was ever created. True stays True."""
        now = self._now()
        if not self._required and now - self._looked_up_at > KNOWN_SECONDS:
            self._required = self._store.any()
            self._looked_up_at = now
        return self._required

    def find(self, secret: str) -> ApiKey | None:
        """Return the record of an active key; None if the key is unknown, revoked or expired."""
        digest = digest_of(secret)
        if self._admin and hmac.compare_digest(self._admin.digest, digest):
            return self._admin
        now = self._now()
        cached_at, key = self._known.get(digest, (float("-inf"), None))
        if now - cached_at > KNOWN_SECONDS:
            key = self._store.find(secret)
            self._known.pop(digest, None)
            if key is not None:  # unknown keys are not cached: they are too many, and each may be created at any time
                if len(self._known) >= _MAX_KNOWN:
                    self._known.clear()
                self._known[digest] = (now, key)
        return key if key and key.state(self._store.now()) == "active" else None
