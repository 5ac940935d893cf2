"""The documents about webhooks, which the routes send and the client reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from workers.jobs.document import Document, OptionalText, Timestamp
from workers.jobs.webhook import Event, WebhookFormat


class AttemptDocument(Document):
    """One delivery attempt."""

    delivery: str = Field(description="The `webhook-id`, the same in every attempt.")
    attempt: int = Field(description="The number of the attempt, from 1.")
    at: Timestamp
    seconds: float = Field(description="The duration of the attempt.")
    status: int | None = Field(description="The status of the response; null if none came.")
    error: OptionalText = Field(description="Why the attempt failed; null if it succeeded.")
    answer: str = Field(description="The first bytes of the response body, as text.")


class WebhookDocument(Document):
    """A registered endpoint. Only the response that creates its secret shows it."""

    id: str
    object: Literal["webhook"] = "webhook"
    url: str
    events: list[Event]
    format: WebhookFormat
    state: Literal["enabled", "disabled"]
    reason: OptionalText = Field(description="Why the endpoint is disabled.")
    created_at: Timestamp
    disabled_at: Timestamp | None
    failing_since: Timestamp | None = Field(description="When it began to fail; null if the last attempt succeeded.")
    delivered_at: Timestamp | None = Field(description="When an event was last delivered.")
    old_secret_until: Timestamp | None = Field(description="Until then events are signed with the old secret too.")
    secret: str | None = Field(default=None, description="Only in the response that creates it.")


class WebhookDetails(WebhookDocument):
    """A registered endpoint with its last delivery attempts, newest first."""

    attempts: list[AttemptDocument]


class WebhooksDocument(Document):
    """The registered endpoints, oldest first."""

    object: Literal["list"] = "list"
    data: list[WebhookDocument]


class TestDocument(Document):
    """A test event that is being delivered. The webhook's `attempts` show the outcome."""

    delivery: str
