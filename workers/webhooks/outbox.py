"""The outbox of webhooks in Redis: lease due deliveries and record their attempts. See lib/outbox.lua."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from workers.io.redis_link import RedisLink, hash_of, translated
from workers.jobs.job import Job
from workers.jobs.webhook import DeliveryId, Webhook
from workers.settings import Settings

_TEST = "test"  # stands for the job in a test event; also in lib/outbox.lua


@dataclass(frozen=True)
class DueDelivery:
    """A delivery that this sender has leased.

    `destination` is the id of its destination queue, `member` its entry there, `lease` the end of the lease as Redis
    has it. `slow` says whether the destination is slow or fails. `attempts` counts the attempts before this one.
    `stored`, `hook` and `endpoint` are the hashes of the job, the hook and the registered endpoint at the time of the
    lease.
    """

    destination: str
    member: str
    lease: str
    slow: bool
    attempts: int
    stored: Mapping[str, str]
    hook: Mapping[str, str]
    endpoint: Mapping[str, str]

    @property
    def id(self) -> DeliveryId | None:
        """Return the delivery's id; None for a test event, which belongs to no job."""
        job, hook, event = self.member.split(" ")
        return None if job == _TEST else DeliveryId(job, int(hook), event)

    @property
    def message(self) -> str:
        """Return the value of the header `webhook-id`."""
        return str(self.id or f"msg_{self.member.rpartition(' ')[2]}")

    @property
    def job(self) -> Job:
        """Return the job of the event, as it was when the delivery was leased. Not for a test event."""
        assert self.id is not None
        return Job.from_hash(self.id.job, self.stored)

    @property
    def webhook(self) -> Webhook:
        """Return the webhook to send to; for a registered endpoint, with the URL that the endpoint has now."""
        if not self.endpoint:
            return Webhook.from_hash(self.hook)
        return Webhook.from_hash({**self.endpoint, "format": self.hook.get("format") or self.endpoint["format"]})

    def secrets(self, now: float) -> list[str]:
        """Return the secrets to sign with: two while an endpoint's secret is rotated, none if it has none."""
        found = [self.webhook.secret]
        if float(self.endpoint.get("old_secret_until") or 0) > now:
            found.append(self.endpoint["old_secret"])
        return [one for one in found if one]


@dataclass(frozen=True)
class Recorded:
    """The result of an attempt, as scripts/webhooks/delivery_record.lua takes it.

    `pace` is the latency class. `pause` is in seconds until the next attempt, None if this was the last. `rest` is the
    destination's cool-down in seconds.
    """

    verdict: str
    pace: str
    pause: float | None
    rest: float
    attempt: Mapping[str, object]
    why: str


class Outbox:
    """The outbox as senders see it. Every method raises StoreUnavailableError if Redis is down."""

    def __init__(self, link: RedisLink, settings: Settings) -> None:
        self._link = link
        self._most = settings.webhook_threads_per_endpoint
        # The lease outlasts the deadline of an attempt, so it is never renewed: when it ends, the sender is dead.
        self._lease_ms = int((settings.webhook_seconds + settings.lease_seconds) * 1000)
        self._retention_ms = int(settings.retention_seconds * 1000)
        self._patience_ms = int(settings.webhook_disable_seconds * 1000)

    def claim(self, most: int, slow: int) -> list[DueDelivery]:
        """Lease up to `most` due deliveries, of which up to `slow` for destinations that are slow or fail."""
        found = self._link.run("webhooks/delivery_claim", self._lease_ms, most, self._most, slow, self._retention_ms)
        return [
            DueDelivery(destination, member, lease, bool(of_slow), int(attempts), *map(hash_of, hashes))
            for destination, member, lease, of_slow, attempts, *hashes in found
        ]

    def record(self, due: DueDelivery, found: Recorded) -> None:
        """Record an attempt and what follows from it. Nothing happens if another sender has the lease now."""
        self._link.run(
            "webhooks/delivery_record",
            due.destination,
            due.member,
            due.lease,
            found.verdict,
            found.pace,
            "" if found.pause is None else int(found.pause * 1000),
            int(found.rest * 1000),
            json.dumps(dict(found.attempt), ensure_ascii=False),
            found.why,
            self._most,
            self._patience_ms,
            self._retention_ms,
        )

    def waits(self) -> bool:
        """Return whether a destination is due now."""
        with translated():
            seconds, micros = self._link.client.time()
            now = seconds * 1000 + micros // 1000
            return bool(self._link.client.zcount("sl:due:webhooks", "-inf", now))
