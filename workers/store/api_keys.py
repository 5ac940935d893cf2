"""API keys: who may call, for what, how much. A key itself is shown once and stored nowhere, only its hash.

A key has 128 random bits, so a plain SHA-256 of it cannot be guessed back; a slow hash is for passwords.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_validator

from workers.errors import KeyNotFoundError
from workers.io.redis_link import RedisLink, translated
from workers.jobs.job import Quota
from workers.settings_checks import Name, parsed_rates
from workers.telemetry.masking import mask_keys

_KEYS, _REVOKED, _USED = "sl:keys", "sl:keys:revoked", "sl:keys:used"
_USED_EVERY = 60.0  # seconds: how exact `last_used_at` is


class Scope(StrEnum):
    """What a key is for.

    `metrics` shows figures of everyone's work together; `admin` includes the others, and what belongs to other owners.
    """

    SUBMIT = "submit"
    READ = "read"
    METRICS = "metrics"
    ADMIN = "admin"


class KeyTerms(BaseModel):
    """What a key allows; what is None is bounded by the settings. Times are seconds since the epoch.

    `rate` is as in "10/second;1000/minute"; `concurrency` bounds the requests under way in one API process. Keys of one
    owner share jobs, waiting images and stored bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    owner: Name
    scopes: tuple[Scope, ...] = Field(default=(Scope.SUBMIT, Scope.READ), min_length=1)
    expires_at: float | None = None
    rate: str | None = None
    concurrency: int | None = Field(default=None, ge=1)
    max_waiting_images: int | None = Field(default=None, ge=1)
    max_blob_bytes: int | None = Field(default=None, ge=1)

    @field_validator("rate")
    @classmethod
    def _check_rate(cls, value: str | None) -> str | None:
        if value is not None:
            parsed_rates(value)
        return value

    def allows(self, scope: Scope) -> bool:
        """Whether the key is for that."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    @property
    def quota(self) -> Quota:
        """How much may wait on its account."""
        return Quota(self.max_waiting_images, self.max_blob_bytes)


class ApiKey(KeyTerms):
    """A key as it is stored; `last_used_at` is exact to a minute. What a later version adds is left aside."""

    model_config = ConfigDict(extra="ignore")

    id: str
    digest: str = Field(repr=False)
    created_at: float
    revoked_at: float | None = None
    last_used_at: float | None = None

    @property
    def state(self) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= time.time() else "active"


def new_secret() -> str:
    """A key that nobody can guess."""
    return f"sl_{secrets.token_hex(16)}"


def digest_of(secret: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def id_of(secret: str) -> str:
    """The name of a key, which may be shown and logged."""
    return f"key_{digest_of(secret)[:12]}"


def same(one: str, other: str) -> bool:
    """Compare two digests; how long it takes says nothing about them."""
    return hmac.compare_digest(one, other)


class KeyStore:
    """The keys in Redis. Every method raises StoreUnavailableError where it is down."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def create(self, terms: KeyTerms) -> tuple[str, ApiKey]:
        """Make a key; it is in the answer, and nowhere else."""
        while True:
            secret = new_secret()
            key = ApiKey(**terms.model_dump(), id=id_of(secret), digest=digest_of(secret), created_at=time.time())
            stored = key.model_dump_json(exclude={"revoked_at", "last_used_at"})
            with translated():
                if self._link.client.hsetnx(_KEYS, key.id, stored):
                    return secret, key

    def any(self) -> bool:
        """Whether a key was ever made. A revoked one counts: taking the last key away opens nothing."""
        with translated():
            return bool(self._link.client.exists(_KEYS))

    def find(self, secret: str) -> ApiKey | None:
        """The record of a key, revoked and expired ones too; notes that it was used."""
        key_id = id_of(secret)
        with translated(), self._link.client.pipeline(transaction=False) as together:
            for where in (_KEYS, _REVOKED, _USED):
                together.hget(where, key_id)
            stored, revoked, used = together.execute()
        if stored is None:
            return None
        key = _read(stored, revoked, used)
        if not same(key.digest, digest_of(secret)):
            return None
        now = time.time()
        if key.state == "active" and now - (key.last_used_at or 0.0) > _USED_EVERY:
            with translated():
                self._link.client.hset(_USED, key_id, now)
        return key

    def all(self) -> list[ApiKey]:
        """Every key, the oldest first."""
        with translated(), self._link.client.pipeline(transaction=False) as together:
            for where in (_KEYS, _REVOKED, _USED):
                together.hgetall(where)
            stored, revoked, used = together.execute()
        found = [_read(text, revoked.get(key_id), used.get(key_id)) for key_id, text in stored.items()]
        return sorted(found, key=lambda key: key.created_at)

    def revoke(self, key_id: str) -> ApiKey:
        """Take a key back for ever, named by its id; it stays in the list. Raises KeyNotFoundError."""
        with translated():
            if not self._link.client.hexists(_KEYS, key_id):
                raise KeyNotFoundError(f"There is no key {mask_keys(key_id)!r}: see `shelfline keys list`.")
            self._link.client.hsetnx(_REVOKED, key_id, time.time())
        return next(key for key in self.all() if key.id == key_id)


def keys_exist(redis_url: str) -> bool:
    """Whether a key was ever made, by a connection of its own; raises StoreUnavailableError."""
    link = RedisLink(redis_url)
    try:
        return KeyStore(link).any()
    finally:
        link.close()


def _read(stored: str, revoked_at: str | None, used_at: str | None) -> ApiKey:
    key = ApiKey.model_validate_json(stored)
    times = {"revoked_at": revoked_at, "last_used_at": used_at}
    return key.model_copy(update={name: float(at) for name, at in times.items() if at is not None})
