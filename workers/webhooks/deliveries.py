"""The webhooks of a job and their deliveries, as its owner sees them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal, Self

from workers.errors import DeliveryNotFoundError, WebhookStateError
from workers.io.redis_link import RedisLink, translated
from workers.jobs.job import Job
from workers.jobs.webhook import DeliveryId, Event, Webhook
from workers.settings import Settings

DeliveryState = Literal["delivered", "waiting", "failed"]
_MAX_WAITING = 200


@dataclass(frozen=True)
class Attempt:
    """One POST: when it began (seconds since the epoch), how long it took (seconds), the status and body of the answer.

    `error` says why it failed, '' if the event was delivered.
    """

    delivery: str
    attempt: int  # from 1
    at: float
    seconds: float
    status: int | None
    error: str
    answer: str

    def to_json(self) -> str:
        """Return the attempt as JSON, as it is stored."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        stored = json.loads(text)
        return cls(*(stored[field.name] for field in fields(cls)))


@dataclass(frozen=True)
class SentEvent:
    """One event to one hook, with its attempts, newest first.

    `next_attempt_at`, in seconds since the epoch, is None unless the event waits for another attempt.
    """

    id: str
    webhook: int
    event: Event
    state: DeliveryState
    next_attempt_at: float | None
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True)
class JobHook:
    """One hook of a job: how many of its events were delivered, and how many were given up.

    `ended` is True if nothing more will be delivered. `dropped` is the reason if the hook ended before all its events
    were sent, else ''.
    """

    number: int
    endpoint: str  # '' for the job's own webhook
    webhook: Webhook
    delivered: int
    failed: int
    ended: bool
    dropped: str


class Deliveries:
    """Read deliveries. Every method raises StoreUnavailableError if Redis is down."""

    def __init__(self, link: RedisLink, settings: Settings) -> None:
        self._link = link
        self._threads_per_endpoint = settings.webhook_threads_per_endpoint

    def hooks(self, job: Job) -> list[JobHook]:
        """Return the hooks of a job, that of its own webhook first."""
        hooks = []
        for number, stored in enumerate(self._hooks(job.id)):
            webhook = Webhook.from_hash(stored)
            if stored["endpoint"]:
                with translated():
                    url = self._link.client.hget(f"sl:endpoint:{stored['endpoint']}", "url") or ""
                webhook = Webhook(url, webhook.events, webhook.format)
            hooks.append(
                JobHook(
                    number,
                    stored["endpoint"],
                    webhook,
                    delivered=int(stored.get("delivered", 0)),
                    failed=int(stored.get("failed", 0)),
                    ended="ended" in stored,
                    dropped=stored.get("dropped", ""),
                )
            )
        return hooks

    def events(self, job: Job) -> list[SentEvent]:
        """Return the events of a job, those that were attempted last first.

        Events that wait, and whose attempts are no longer in the list of attempts, come before all others.
        """
        with translated():
            recorded = self._link.client.lrange(f"sl:job:{job.id}:attempts", 0, -1)
        attempts: dict[str, list[Attempt]] = {}
        for attempt in map(Attempt.from_json, recorded):
            attempts.setdefault(attempt.delivery, []).append(attempt)
        waiting: dict[str, float] = {}
        for number, hook in enumerate(self._hooks(job.id)):
            waiting |= self._waiting(job.id, number, hook)
        ids = [*(delivery for delivery in waiting if delivery not in attempts), *attempts]
        return [_event(delivery, waiting.get(delivery), attempts.get(delivery, [])) for delivery in ids]

    def again(self, delivery: DeliveryId) -> None:
        """Make a delivery due again, with a new schedule. Raises DeliveryNotFoundError, WebhookStateError."""
        destination, verdict = self._link.run(
            "webhooks/delivery_again", delivery.job, delivery.hook, delivery.event, self._threads_per_endpoint
        )
        if verdict == "unknown":
            raise unknown_delivery(str(delivery))
        if verdict == "disabled":
            raise WebhookStateError(
                f"The webhook {destination} is disabled or deleted. If it is disabled, enable it first."
            )

    def _hooks(self, job_id: str) -> list[dict[str, str]]:
        with translated():
            count = int(self._link.client.hget(f"sl:job:{job_id}", "hooks") or 0)
            with self._link.client.pipeline(transaction=False) as pipe:
                for number in range(count):
                    pipe.hgetall(f"sl:job:{job_id}:hook:{number}")
                return [hook for hook in pipe.execute() if hook]

    def _waiting(self, job_id: str, number: int, hook: Mapping[str, str]) -> dict[str, float]:
        """Return the deliveries that wait for another attempt, and when it is due in seconds since the epoch."""
        if "dropped" in hook:
            return {}
        events = [name.partition(":")[2] for name in hook if name.startswith("attempts:")][:_MAX_WAITING]
        destination = f"sl:line:{hook['line']}"
        with translated(), self._link.client.pipeline(transaction=False) as pipe:
            pipe.hget(destination, "paused_until")
            for event in events:
                pipe.zscore(f"{destination}:todo", f"{job_id} {number} {event}")
            paused_until, *scores = pipe.execute()
        return {
            str(DeliveryId(job_id, number, event)): max(score or 0.0, float(paused_until or 0)) / 1000
            for event, score in zip(events, scores, strict=True)
        }


def unknown_delivery(text: str) -> DeliveryNotFoundError:
    """Return the DeliveryNotFoundError for a delivery that does not exist or belongs to another owner."""
    return DeliveryNotFoundError(f"There is no delivery {text[:80]!r}: look at the deliveries of its job.")


def _event(message: str, waits_until: float | None, attempts: Sequence[Attempt]) -> SentEvent:
    delivery = DeliveryId.parse(message)
    assert delivery is not None, message
    state: DeliveryState = "failed"
    if waits_until is not None:
        state = "waiting"
    elif attempts and not attempts[0].error:
        state = "delivered"
    return SentEvent(message, delivery.hook, delivery.kind, state, waits_until, tuple(attempts))
