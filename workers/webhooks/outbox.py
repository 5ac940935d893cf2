"""The outbox of webhooks in Redis: what is due is leased, attempted and recorded. See lib/outbox.lua."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from workers.io.redis_link import RedisLink, translated
from workers.jobs.job import Job
from workers.jobs.webhook import DeliveryId, Webhook
from workers.settings import Settings

_TEST = "test"  # in place of a job; also in lib/outbox.lua


@dataclass(frozen=True)
class DueDelivery:
    """A delivery in this sender's hands. `attempts` were made before; `lease` is its lease's score, `slow` its line.

    `stored` is the job's hash, `hook` its hook's, `endpoint` that of a registered endpoint: what they were when it was
    leased.
    """

    line: str
    member: str
    lease: str
    slow: bool
    attempts: int
    stored: Mapping[str, str]
    hook: Mapping[str, str]
    endpoint: Mapping[str, str]

    @property
    def id(self) -> DeliveryId | None:
        """What it is of a job; None where somebody tries an endpoint out."""
        job, hook, event = self.member.split(" ")
        return None if job == _TEST else DeliveryId(job, int(hook), event)

    @property
    def message(self) -> str:
        """The `webhook-id`."""
        return str(self.id or f"msg_{self.member.rpartition(' ')[2]}")

    @property
    def job(self) -> Job:
        """The job that it tells of."""
        assert self.id is not None
        return Job.from_hash(self.id.job, self.stored)

    @property
    def webhook(self) -> Webhook:
        """Where it goes: a registered endpoint is told at the address that it has now."""
        if not self.endpoint:
            return Webhook.from_hash(self.hook)
        return Webhook.from_hash({**self.endpoint, "format": self.hook.get("format") or self.endpoint["format"]})

    def secrets(self, now: float) -> list[str]:
        """What it is signed with: two while an endpoint's secret is rotated."""
        found = [self.webhook.secret]
        if float(self.endpoint.get("old_secret_until") or 0) > now:
            found.append(self.endpoint["old_secret"])
        return [one for one in found if one]


@dataclass(frozen=True)
class Recorded:
    """What came of an attempt, as scripts/webhooks/delivery_record.lua takes it; `pause` None: this was the last."""

    verdict: str
    pace: str
    pause: float | None
    rest: float
    attempt: Mapping[str, object]
    why: str


class Outbox:
    """Senders' view of what is due. Every method raises StoreUnavailableError where Redis is down."""

    def __init__(self, link: RedisLink, settings: Settings) -> None:
        self._link = link
        self._most = settings.webhook_threads_per_endpoint
        # An attempt ends at its deadline, so nothing renews the lease: after that its sender is dead.
        self._lease_ms = int((settings.webhook_seconds + settings.lease_seconds) * 1000)
        self._retention_ms = int(settings.retention_seconds * 1000)
        self._patience_ms = int(settings.webhook_disable_seconds * 1000)

    def claim(self, most: int, slow: int) -> list[DueDelivery]:
        """Lease up to `most` due deliveries, of lines that are known to be slow or to fail up to `slow`."""
        found = self._link.run("webhooks/delivery_claim", self._lease_ms, most, self._most, slow, self._retention_ms)
        return [
            DueDelivery(line, member, lease, bool(of_slow), int(attempts), *map(_mapping, hashes))
            for line, member, lease, of_slow, attempts, *hashes in found
        ]

    def record(self, due: DueDelivery, found: Recorded) -> None:
        """Record an attempt, and what follows from it; nothing where the lease went to another."""
        self._link.run(
            "webhooks/delivery_record",
            due.line,
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
        """Whether something is due now."""
        with translated():
            seconds, micros = self._link.client.time()
            now = seconds * 1000 + micros // 1000
            return bool(self._link.client.zcount("sl:due:webhooks", "-inf", now))


def _mapping(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
