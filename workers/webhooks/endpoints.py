"""Registered endpoints: webhooks that are sent events of every job of their owner."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self

from workers.errors import WebhookNotFoundError, WebhookStateError
from workers.io.guarded_http import webhook_guard
from workers.io.redis_link import RedisLink, translated
from workers.jobs.job import is_id, new_id, seconds_of
from workers.jobs.webhook import Event, Webhook, WebhookFormat
from workers.settings import Settings
from workers.webhooks.deliveries import Attempt

MAX_ENDPOINTS: Final = 20  # per owner: each job stores a hook for each endpoint
EndpointState = Literal["enabled", "disabled"]
_DISABLED_BY_OWNER = "You disabled it."


@dataclass(frozen=True)
class Endpoint:
    """An endpoint as callers see it, without its secrets. Times are in seconds since the epoch."""

    id: str
    owner: str
    url: str
    events: tuple[Event, ...]
    format: WebhookFormat
    state: EndpointState
    reason: str  # why it is disabled
    created_at: float
    disabled_at: float | None
    failing_since: float | None
    delivered_at: float | None
    old_secret_until: float | None

    @classmethod
    def from_hashes(
        cls, endpoint_id: str, stored: Mapping[str, str], destination: Mapping[str, str], now: float
    ) -> Self:
        """Read an endpoint from its hash in Redis and the hash of its destination; `now` is Redis' time in seconds."""
        webhook = Webhook.from_hash(stored)
        until = float(stored.get("old_secret_until") or 0)
        return cls(
            id=endpoint_id,
            owner=stored["owner"],
            url=webhook.url,
            events=webhook.events,
            format=webhook.format,
            state="enabled" if stored["state"] == "enabled" else "disabled",
            reason=stored.get("reason", ""),
            created_at=float(stored["created_at"]),
            disabled_at=seconds_of(stored.get("disabled_at")),
            failing_since=seconds_of(destination.get("failing_since")),
            delivered_at=seconds_of(destination.get("delivered_at")),
            old_secret_until=until if until > now else None,
        )


class Endpoints:
    """The endpoints in Redis. Every method raises StoreUnavailableError if Redis is down.

    Methods that are given an endpoint's id raise WebhookNotFoundError.
    """

    def __init__(self, link: RedisLink, settings: Settings) -> None:
        self._link = link
        self._threads_per_endpoint = settings.webhook_threads_per_endpoint
        self._guard = webhook_guard(settings)

    def create(self, owner: str, webhook: Webhook) -> Endpoint:
        """Register an endpoint, which is sent events of jobs created from now on.

        Raises OutboundBlockedError if its URL must not be requested, WebhookStateError if the owner has too many.
        """
        self._guard.check(webhook.url)
        endpoint_id, now = new_id("wh"), self._link.now()
        stored = webhook.stored(owner) | {"owner": owner, "state": "enabled", "created_at": str(now)}
        flat = [text for field in stored.items() for text in field]
        if not self._link.run("webhooks/endpoint_create", endpoint_id, owner, MAX_ENDPOINTS, now, *flat):
            raise WebhookStateError(
                f"You already have {MAX_ENDPOINTS} webhooks, which is the most allowed. Delete one first."
            )
        return self.get(endpoint_id)

    def get(self, endpoint_id: str) -> Endpoint:
        """Return an endpoint."""
        endpoints = self._read([endpoint_id]) if is_id("wh", endpoint_id) else []
        if not endpoints:
            raise unknown_webhook(endpoint_id)
        return endpoints[0]

    def all(self, owner: str | None) -> list[Endpoint]:
        """Return the endpoints of an owner, or of all owners if `owner` is None, oldest first."""
        with translated():
            ids = self._link.client.zrange("sl:endpoints" if owner is None else _owner_key(owner), 0, -1)
        return self._read(ids)

    def update(self, endpoint_id: str, webhook: Webhook) -> Endpoint:
        """Set URL, events and format. The secret stays. Events that wait go to the new URL.

        Raises OutboundBlockedError if the URL must not be requested.
        """
        self._guard.check(webhook.url)
        stored = webhook.stored("")
        self._change(endpoint_id, **{name: stored[name] for name in ("url", "events", "format")})
        return self.get(endpoint_id)

    def rotate(self, endpoint_id: str, secret: str, keep_old_seconds: float) -> Endpoint:
        """Set a new secret. For `keep_old_seconds` deliveries are signed with the old secret too."""
        with translated():
            old = self._link.client.hget(_key(endpoint_id), "secret") or ""
        self._change(endpoint_id, secret=secret, old_secret=old, old_secret_until=self._link.now() + keep_old_seconds)
        return self.get(endpoint_id)

    def enable(self, endpoint_id: str) -> Endpoint:
        """Send the endpoint events of jobs created from now on."""
        self._change(endpoint_id, state="enabled")
        return self.get(endpoint_id)

    def disable(self, endpoint_id: str) -> Endpoint:
        """Send the endpoint nothing more. Its waiting events are given up."""
        self._change(endpoint_id, state="disabled", reason=_DISABLED_BY_OWNER)
        return self.get(endpoint_id)

    def delete(self, endpoint_id: str) -> None:
        """Delete the endpoint. Its waiting events are given up."""
        self._change(endpoint_id)

    def test(self, endpoint_id: str) -> str:
        """Make a test event due for the endpoint, enabled or not; return the id of the delivery."""
        self.get(endpoint_id)
        event = f"test-{secrets.token_hex(16)}"
        now = int(self._link.now() * 1000)
        with translated(), self._link.client.pipeline(transaction=True) as pipe:
            pipe.zadd(f"sl:line:{endpoint_id}:todo", {f"test 0 {event}": now})
            pipe.zadd("sl:due:webhooks", {endpoint_id: now}, lt=True)
            pipe.execute()
        return f"msg_{event}"

    def attempts(self, endpoint_id: str) -> list[Attempt]:
        """Return the last attempts to deliver to the endpoint, newest first."""
        with translated():
            return list(map(Attempt.from_json, self._link.client.lrange(f"sl:line:{endpoint_id}:attempts", 0, -1)))

    def _change(self, endpoint_id: str, **fields: object) -> None:
        flat = [text for field in fields.items() for text in field]
        if not is_id("wh", endpoint_id) or not self._link.run(
            "webhooks/delivery_endpoint", endpoint_id, self._threads_per_endpoint, *flat
        ):
            raise unknown_webhook(endpoint_id)

    def _read(self, ids: list[str]) -> list[Endpoint]:
        with translated(), self._link.client.pipeline(transaction=False) as pipe:
            for endpoint_id in ids:
                pipe.hgetall(_key(endpoint_id))
                pipe.hgetall(f"sl:line:{endpoint_id}")
            hashes = pipe.execute()
        now = self._link.now()
        return [
            Endpoint.from_hashes(endpoint_id, stored, destination, now)
            for endpoint_id, stored, destination in zip(ids, hashes[::2], hashes[1::2], strict=True)
            if stored
        ]


def unknown_webhook(endpoint_id: str) -> WebhookNotFoundError:
    """Return the error for an endpoint that is missing or another owner's: the same, so that ids cannot be probed."""
    return WebhookNotFoundError(f"There is no webhook {endpoint_id[:60]!r}: look at /v1/webhooks.")


def _key(endpoint_id: str) -> str:
    return f"sl:endpoint:{endpoint_id}"


def _owner_key(owner: str) -> str:
    return f"sl:endpoints:{owner}"
