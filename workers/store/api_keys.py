"""API keys: who may call, for what, and how much. A key is shown once; only its hash is stored.

A key has 128 random bits, so it cannot be guessed from its SHA-256. A slow hash is only needed for passwords.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from contextlib import suppress
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from workers.errors import KeyNotFoundError, StoreUnavailableError
from workers.io.redis_link import RedisLink, translated
from workers.jobs.job import Quota
from workers.settings_checks import Name, parsed_rates
from workers.telemetry.masking import mask_keys

_KEYS, _REVOKED, _USED = "sl:keys", "sl:keys:revoked", "sl:keys:used"
_USED_EVERY = 60.0  # seconds between updates of `last_used_at`


class Scope(StrEnum):
    """What a key is for.

    `metrics` shows figures about the work of all owners together. `admin` includes the other scopes, and gives access
    to what belongs to other owners.
    """

    SUBMIT = "submit"
    READ = "read"
    METRICS = "metrics"
    ADMIN = "admin"


def _checked_rate(rate: str) -> str:
    parsed_rates(rate)
    return rate


class KeyTerms(BaseModel):
    """What a key allows. A limit that is None is taken from the settings. Times are seconds since the epoch.

    `rate` limits requests, as in "10/second;1000/minute". `concurrency` limits the requests that one API process
    handles at the same time. Keys of one owner share its jobs, waiting images and stored bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    owner: Name
    scopes: tuple[Scope, ...] = Field(default=(Scope.SUBMIT, Scope.READ), min_length=1)
    expires_at: float | None = None
    rate: Annotated[str, AfterValidator(_checked_rate)] | None = None
    concurrency: int | None = Field(default=None, ge=1)
    max_waiting_images: int | None = Field(default=None, ge=1)
    max_blob_bytes: int | None = Field(default=None, ge=1)

    def allows(self, scope: Scope) -> bool:
        """Return whether the key has a scope, by itself or through `admin`."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    @property
    def quota(self) -> Quota:
        """How much of its owner may wait and be stored."""
        return Quota(self.max_waiting_images, self.max_blob_bytes)


class ApiKey(KeyTerms):
    """A key as it is stored. `last_used_at` is exact to a minute. Fields that a later release adds are ignored."""

    model_config = ConfigDict(extra="ignore")

    id: str
    digest: str = Field(repr=False)
    created_at: float
    revoked_at: float | None = None
    last_used_at: float | None = None

    def state(self, now: float) -> str:
        """Return `active`, `expired` or `revoked`; `now` is in seconds since the epoch, by Redis' clock."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


def new_secret() -> str:
    """Return a new random key of 128 bits."""
    return f"sl_{secrets.token_hex(16)}"


def digest_of(secret: str) -> str:
    """Return the SHA-256 of a key in hex, which is stored in its place."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def id_of(secret: str) -> str:
    """Return the id of a key, which may be shown and logged."""
    return f"key_{digest_of(secret)[:12]}"


class KeyStore:
    """The keys in Redis. Every method raises StoreUnavailableError if Redis is down."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def now(self) -> float:
        """Return the time in seconds since the epoch, by Redis' clock."""
        return self._link.now()

    def create(self, terms: KeyTerms) -> tuple[str, ApiKey]:
        """Create a key. Return it with its record; the key itself is not stored, so it cannot be read again."""
        now = self.now()
        while True:
            secret = new_secret()
            key = ApiKey(**terms.model_dump(), id=id_of(secret), digest=digest_of(secret), created_at=now)
            stored = key.model_dump_json(exclude={"revoked_at", "last_used_at"})
            with translated():
                if self._link.client.hsetnx(_KEYS, key.id, stored):
                    return secret, key

    def any(self) -> bool:
        """Return whether a key was ever created. Revoked keys count: revoking the last one does not open the API."""
        with translated():
            return bool(self._link.client.exists(_KEYS))

    def find(self, secret: str) -> ApiKey | None:
        """Return the record of a key, whatever its state; None if the key is unknown.

        The use of an active key is recorded as `last_used_at`, unless Redis refuses to write it: in a full Redis keys
        stay valid, so that their owners can delete jobs.
        """
        key_id = id_of(secret)
        with translated(), self._link.client.pipeline(transaction=False) as together:
            for name in (_KEYS, _REVOKED, _USED):
                together.hget(name, key_id)
            stored, revoked, used = together.execute()
        if stored is None:
            return None
        key = _read(stored, revoked, used)
        if not hmac.compare_digest(key.digest, digest_of(secret)):
            return None
        now = self.now()
        if key.state(now) == "active" and now - (key.last_used_at or 0.0) > _USED_EVERY:
            with suppress(StoreUnavailableError), translated():
                self._link.client.hset(_USED, key_id, now)
        return key

    def all(self) -> list[ApiKey]:
        """Return every key, the oldest first."""
        with translated(), self._link.client.pipeline(transaction=False) as together:
            for name in (_KEYS, _REVOKED, _USED):
                together.hgetall(name)
            stored, revoked, used = together.execute()
        keys = [_read(text, revoked.get(key_id), used.get(key_id)) for key_id, text in stored.items()]
        return sorted(keys, key=lambda key: key.created_at)

    def revoke(self, key_id: str) -> ApiKey:
        """Revoke the key with this id for good; it stays in the list. Raises KeyNotFoundError if there is none."""
        with translated():
            if not self._link.client.hexists(_KEYS, key_id):
                raise KeyNotFoundError(f"There is no key {mask_keys(key_id)!r}: see `shelfline keys list`.")
            self._link.client.hsetnx(_REVOKED, key_id, self.now())
        return next(key for key in self.all() if key.id == key_id)


def keys_exist(redis_url: str) -> bool:
    """Return whether a key was ever created, over a new connection. Raises StoreUnavailableError if Redis is down."""
    link = RedisLink(redis_url)
    try:
        return KeyStore(link).any()
    finally:
        link.close()


def _read(stored: str, revoked_at: str | None, used_at: str | None) -> ApiKey:
    key = ApiKey.model_validate_json(stored)
    times = {"revoked_at": revoked_at, "last_used_at": used_at}
    return key.model_copy(update={name: float(at) for name, at in times.items() if at is not None})
