"""How webhooks look on the wire: what the routes answer with, and the client reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from workers.jobs.document import Document, Timestamp, rfc3339
from workers.jobs.webhook import Event, WebhookFormat
from workers.webhooks.deliveries import Attempt


class AttemptDocument(Document):
    """One POST."""

    delivery: str = Field(description="The `webhook-id`.")
    attempt: int = Field(description="Which one it was, from 1.")
    at: Timestamp
    seconds: float = Field(description="How long it took.")
    status: int | None = Field(description="The status of the answer; null where none came.")
    error: str | None = Field(description="Why it was no delivery; null where it was one.")
    answer: str = Field(description="The first bytes of the answer's body, as text.")

    @classmethod
    def of(cls, one: Attempt) -> AttemptDocument:
        """An attempt as it is shown."""
        return cls(
            delivery=one.delivery,
            attempt=one.number,
            at=rfc3339(one.at),
            seconds=one.seconds,
            status=one.status,
            error=one.error or None,
            answer=one.answer,
        )


class WebhookDocument(Document):
    """A registered endpoint. Its secret is shown by the request that made it, and never again."""

    id: str
    object: Literal["webhook"] = "webhook"
    url: str
    events: list[Event]
    format: WebhookFormat
    state: Literal["enabled", "disabled"]
    reason: str | None = Field(description="Why it is disabled.")
    created_at: Timestamp
    disabled_at: Timestamp | None
    failing_since: Timestamp | None = Field(description="Since when it only failed; null where the last POST did not.")
    delivered_at: Timestamp | None = Field(description="When it last took an event.")
    old_secret_until: Timestamp | None = Field(description="Until when what is sent is signed with the old secret too.")
    secret: str | None = Field(default=None, description="Only where it was just made.")


class WebhookDetails(WebhookDocument):
    """A registered endpoint, with its last attempts, the newest first."""

    attempts: list[AttemptDocument]


class WebhooksDocument(Document):
    """The registered endpoints, the oldest first."""

    object: Literal["list"] = "list"
    data: list[WebhookDocument]


class TestDocument(Document):
    """An event that is on its way: `attempts` of the webhook show what came of it."""

    delivery: str
