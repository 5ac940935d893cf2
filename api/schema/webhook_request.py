"""The fields that describe a webhook in a request."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo

from api.requests.checking import RequestModel
from workers.errors import OutboundBlockedError
from workers.io.urls import MAX_URL_CHARS, parse_http_url
from workers.jobs.webhook import EVENT_OF_FORMAT, Event, Webhook, WebhookFormat, checked_events, checked_secret

# `whsec_` and 24 to 64 bytes in base64.
SIGNING = "^whsec_([A-Za-z0-9+/]{4}){8,20}([A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|([A-Za-z0-9+/]{4})?[A-Za-z0-9+/]{2}==)?$"
# Not `uri`: hosts and paths may have letters of any script. The host is a name or an address, with a port or without.
HTTP: dict[str, Any] = {
    "pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://"
    r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?|[^\x00-\x20\x7f/?#@:\[\]\\]*[^\x00-\x7f]"
    r"[^\x00-\x20\x7f/?#@:\[\]\\]*)(:[0-9]{0,5})?([/?#][^\x00-\x20\x7f\\]*)?$"
}


def fetchable(url: str) -> str:
    """Check that a URL may be requested; raises ValueError."""
    try:
        parse_http_url(url)
    except OutboundBlockedError as error:
        raise ValueError(str(error).rstrip(".")) from error
    return url


def _member(kind: type[StrEnum]) -> Callable[[Any], StrEnum]:
    """Return a function that reads text as a member of an enumeration; strict pydantic accepts only members."""

    def read(value: Any) -> StrEnum:  # noqa: ANN401  the value before its validation
        try:
            return kind(value)
        except ValueError as error:
            raise ValueError(f"give one of {', '.join(kind)}") from error

    return read


def _fits_events(written: WebhookFormat, info: ValidationInfo) -> WebhookFormat:
    """Check that a format sends the events; raises ValueError. If the events are wrong themselves, they say it."""
    if "events" in info.data:
        checked_events(info.data["events"], written)
    return written


def _signing(secret: SecretStr) -> SecretStr:
    checked_secret(secret.get_secret_value())
    return secret


NamedEvent = Annotated[Event, BeforeValidator(_member(Event))]
NamedFormat = Annotated[WebhookFormat, BeforeValidator(_member(WebhookFormat))]
SigningSecret = Annotated[SecretStr, AfterValidator(_signing)]


def _events_of_formats() -> dict[str, Any]:
    """Return the JSON Schema of which events each format sends."""
    branches: list[dict[str, Any]] = [{"properties": {"format": {"const": WebhookFormat.STANDARD.value}}}]
    for name, event in EVENT_OF_FORMAT.items():
        branches.append(
            {
                "properties": {"format": {"const": name.value}, "events": {"items": {"const": event.value}}},
                "required": ["format"],
            }
        )
    return {"oneOf": branches}


class WebhookFields(RequestModel):
    """A webhook: where events are sent, which ones, and how. docs/webhooks.md explains the events and formats."""

    model_config = ConfigDict(json_schema_extra=_events_of_formats())

    url: Annotated[str, Field(max_length=MAX_URL_CHARS), AfterValidator(fetchable)] = Field(
        description="The http(s) URL that gets a POST for each event.", json_schema_extra=HTTP
    )
    events: Annotated[list[NamedEvent], Field(min_length=1, max_length=len(Event))] | None = Field(
        default=None, description="The events to send. Null: `job.finished`, or `item.finished` for the format `baidu`."
    )
    format: Annotated[NamedFormat, AfterValidator(_fits_events)] = Field(
        default=WebhookFormat.STANDARD,
        description="Standard Webhooks 1.0, or the result body of the Baidu robot: one POST per image, or one for all.",
    )
    secret: SigningSecret | None = Field(
        default=None,
        description="The secret that signs the events: `whsec_` and base64 of 24 to 64 bytes. It is never shown.",
        json_schema_extra={"pattern": SIGNING},
    )

    @property
    def webhook(self) -> Webhook:
        """The webhook as it is stored with a job."""
        secret = self.secret.get_secret_value() if self.secret else ""
        return Webhook(self.url, checked_events(self.events, self.format), self.format, secret)
