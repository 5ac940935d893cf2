"""What a caller may ask to be told, and where."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from api.requests.checking import RequestModel
from workers.errors import OutboundBlockedError
from workers.io.urls import MAX_URL_CHARS, parse_http_url
from workers.jobs.webhook import Event, Webhook, WebhookFormat, checked_events, checked_secret

# 24 to 64 bytes in base64.
SIGNING = "^whsec_([A-Za-z0-9+/]{4}){8,20}([A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|([A-Za-z0-9+/]{4})?[A-Za-z0-9+/]{2}==)?$"
HTTP: dict[str, Any] = {"pattern": "^https?://"}  # more than a `uri`: hosts and paths may have letters of any script


def fetchable(url: str) -> str:
    """A URL that may be asked for; raises ValueError."""
    try:
        parse_http_url(url)
    except OutboundBlockedError as error:
        raise ValueError(str(error).rstrip(".")) from error
    return url


def _member(kind: type[StrEnum]) -> Callable[[Any], StrEnum]:
    """Reads a text as one of an enumeration's; pydantic takes its members only, where values have types."""

    def read(value: Any) -> StrEnum:  # noqa: ANN401  what came, before it is checked
        try:
            return kind(value)
        except ValueError as error:
            raise ValueError(f"give one of {', '.join(kind)}") from error

    return read


NamedEvent = Annotated[Event, BeforeValidator(_member(Event))]
NamedFormat = Annotated[WebhookFormat, BeforeValidator(_member(WebhookFormat))]


class WebhookFields(RequestModel):
    """Who is told of something, and how. docs/webhooks.md has the events and the formats."""

    url: Annotated[str, Field(max_length=MAX_URL_CHARS), AfterValidator(fetchable)] = Field(
        description="An http(s) URL that is POSTed to.", json_schema_extra=HTTP
    )
    events: Annotated[list[NamedEvent], Field(min_length=1, max_length=len(Event))] | None = Field(
        default=None, description="What it is told; null takes `job.finished`, and `item.finished` for `baidu`."
    )
    format: NamedFormat = Field(
        default=WebhookFormat.STANDARD,
        description="Standard Webhooks 1.0, or the Baidu robot's result body: one POST an image, or one with all.",
    )
    secret: SecretStr | None = Field(
        default=None,
        description="What it is signed with: `whsec_` and base64 of 24 to 64 bytes. It is never shown.",
        json_schema_extra={"pattern": SIGNING},
    )

    @model_validator(mode="after")
    def _fits(self) -> WebhookFields:
        checked_events(self.events, self.format)
        if self.secret is not None:
            checked_secret(self.secret.get_secret_value())
        return self

    @property
    def webhook(self) -> Webhook:
        """The webhook as a job keeps it."""
        secret = self.secret.get_secret_value() if self.secret else ""
        return Webhook(self.url, checked_events(self.events, self.format), self.format, secret)
