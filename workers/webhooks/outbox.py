"""The outbox of webhooks in Redis: lease due deliveries and record their attempts. See lib/outbox.lua."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workers.io.redis_link import RedisLink, hash_of, translated
from workers.jobs.job import Job
from workers.jobs.webhook import DeliveryId, Webhook
from workers.settings import Settings
from workers.webhooks.deliveries import Attempt
from workers.webhooks.verdicts import Verdict, latency_class

_TEST = "test"  # stands for the job in a test event; also in lib/outbox.lua


@dataclass(frozen=True)
class DueDelivery:
    """A delivery that this sender has leased.

    `destination` is the id of its destination queue, `member` its entry there, `lease` the end of the lease as Redis
    has it. `slow` says whether the destination is slow, fails or is unknown. `attempts` counts the attempts before this
    one. `stored`, `hook` and `endpoint` are the hashes of the job, the hook and the registered endpoint at the time of
    the lease.
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
        secrets = [self.webhook.secret]
        if float(self.endpoint.get("old_secret_until") or 0) > now:
            secrets.append(self.endpoint["old_secret"])
        return [secret for secret in secrets if secret]


class Outbox:
    """The outbox as senders see it. Every method raises StoreUnavailableError if Redis is down."""

    def __init__(self, link: RedisLink, settings: Settings) -> None:
        self._link = link
        self._threads_per_endpoint = settings.webhook_threads_per_endpoint
        # Half of the threads are for slow destinations (see dispatch.py), and half of these for those of one owner.
        self._slow_threads_per_owner = max(1, settings.webhook_threads // 4)
        # The lease outlasts the deadline of an attempt, so it is never renewed: when it ends, the sender is dead.
        self._lease_ms = int((settings.webhook_seconds + settings.lease_seconds) * 1000)
        self._retention_ms = int(settings.retention_seconds * 1000)
        self._disable_ms = int(settings.webhook_disable_seconds * 1000)

    def claim(self, max_deliveries: int, max_slow: int) -> list[DueDelivery]:
        """Lease up to `max_deliveries`, of which up to `max_slow` for destinations that are slow, fail or unknown."""
        claimed = self._link.run(
            "webhooks/delivery_claim",
            self._lease_ms,
            max_deliveries,
            self._threads_per_endpoint,
            max_slow,
            self._slow_threads_per_owner,
            self._retention_ms,
        )
        return [
            DueDelivery(destination, member, lease, bool(slow), int(attempts), *map(hash_of, hashes))
            for destination, member, lease, slow, attempts, *hashes in claimed
        ]

    def record(self, due: DueDelivery, attempt: Attempt, verdict: Verdict, pause: float | None) -> None:
        """Record an attempt and what follows from it. Nothing happens if another sender has the lease now.

        `pause` is in seconds until the next attempt, None if this was the last.
        """
        self._link.run(
            "webhooks/delivery_record",
            due.destination,
            due.member,
            due.lease,
            verdict.word,
            latency_class(attempt.seconds),
            "" if pause is None else int(pause * 1000),
            int(verdict.cooldown * 1000),
            attempt.to_json(),
            verdict.why if verdict.gone else f"All attempts failed for too long. The last error: {verdict.why}",
            self._threads_per_endpoint,
            self._disable_ms,
            self._retention_ms,
        )

    def is_due(self) -> bool:
        """Return whether a destination is due now."""
        with translated():
            seconds, micros = self._link.client.time()
            now = seconds * 1000 + micros // 1000
            return bool(self._link.client.zcount("sl:due:webhooks", "-inf", now))
