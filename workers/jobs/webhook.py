"""A webhook: a URL, the events that are sent to it, their format, and the secret that signs them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self
from urllib.parse import urlsplit

_PREFIX = "whsec_"
_MIN_SECRET_BYTES, _MAX_SECRET_BYTES = 24, 64  # the bounds of Standard Webhooks
_ID = re.compile(r"msg_([0-9a-f]{32})_([0-9]{1,4})_((?:item|progress)-[0-9]{1,9}|started|finished)")


class Event(StrEnum):
    """The events that a webhook may be sent."""

    JOB_STARTED = "job.started"
    JOB_PROGRESS = "job.progress"
    JOB_FINISHED = "job.finished"
    ITEM_FINISHED = "item.finished"


class WebhookFormat(StrEnum):
    """The format of a POST: of Standard Webhooks, or a Baidu robot's result body, one per POST or all in one."""

    STANDARD = "standard"
    BAIDU = "baidu"
    BAIDU_BATCH = "baidu_batch"


# The only event that a format sends; a format that is not here sends any.
EVENT_OF_FORMAT = {WebhookFormat.BAIDU: Event.ITEM_FINISHED, WebhookFormat.BAIDU_BATCH: Event.JOB_FINISHED}


def checked_events(events: Sequence[Event] | None, written: WebhookFormat) -> tuple[Event, ...]:
    """Return the events of a webhook; None takes the default of its format. Raises ValueError if they do not fit it."""
    only = EVENT_OF_FORMAT.get(written)
    if events is None:
        return (only or Event.JOB_FINISHED,)
    if not events:
        raise ValueError("name at least one event")
    if only and set(events) != {only}:
        raise ValueError(f"the format {written} sends only the event {only}")
    return tuple(dict.fromkeys(events))


def checked_secret(secret: str) -> str:
    """Return the secret. Raises ValueError, which does not show it, if it is not in the form of Standard Webhooks."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not _MIN_SECRET_BYTES <= len(key) <= _MAX_SECRET_BYTES:
        raise ValueError(
            f"write {_PREFIX} and the base64 of {_MIN_SECRET_BYTES} to {_MAX_SECRET_BYTES} random bytes, as in "
            f"{_PREFIX}$(openssl rand -base64 32)"
        )
    return secret


def new_secret() -> str:
    """Return a new random secret of 32 bytes, in the form of Standard Webhooks."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass(frozen=True)
class Webhook:
    """Where and how events are sent. Deliveries of a webhook without a secret are not signed."""

    url: str
    events: tuple[Event, ...] = (Event.JOB_FINISHED,)
    format: WebhookFormat = WebhookFormat.STANDARD
    secret: str = field(default="", repr=False)

    def line(self, owner: str) -> str:
        """Return the id of its destination queue, which all webhooks of an owner's jobs with this host share.

        So a host that hangs takes as few threads of the sender for a thousand URLs as for one.
        """
        return "url_" + hashlib.sha256(f"{owner}\0{_server_of(self.url)}".encode()).hexdigest()[:32]

    def stored(self, owner: str) -> dict[str, str]:
        """Return the fields that scripts/jobs/create.lua stores."""
        return {
            "url": self.url,
            "events": ",".join(self.events),
            "format": self.format.value,
            "secret": self.secret,
            "line": self.line(owner),
        }

    @classmethod
    def from_hash(cls, stored: Mapping[str, str]) -> Self:
        """Build a webhook from the Redis hash of a hook or of an endpoint."""
        events = tuple(map(Event, stored["events"].split(",")))
        return cls(stored["url"], events, WebhookFormat(stored["format"]), stored["secret"])

    def signed_with(self, secret: str) -> Self:
        """Return a copy with another secret."""
        return replace(self, secret=secret)

    @property
    def identity(self) -> str:
        """A digest of its fields for a request's fingerprint; it does not reveal the secret."""
        parts = (self.url, ",".join(self.events), self.format, self.secret)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _server_of(url: str) -> str:
    """Return host and port of a URL that a webhook may have."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or {'http': 80}.get(parts.scheme, 443)}"


_KINDS = {
    "started": Event.JOB_STARTED,
    "progress": Event.JOB_PROGRESS,
    "finished": Event.JOB_FINISHED,
    "item": Event.ITEM_FINISHED,
}


@dataclass(frozen=True)
class DeliveryId:
    """The id of a delivery: one event to one hook of a job. Its text is the `webhook-id` of every delivery attempt."""

    job: str
    hook: int
    event: str  # started, finished, item-<index>, progress-<number>

    def __str__(self) -> str:
        return f"msg_{self.job.removeprefix('job_')}_{self.hook}_{self.event}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse the text of a delivery id; return None if it is anything else."""
        match = _ID.fullmatch(text)
        return cls(f"job_{match[1]}", int(match[2]), match[3]) if match else None

    @property
    def kind(self) -> Event:
        """The kind of the event."""
        return _KINDS[self.event.partition("-")[0]]

    @property
    def number(self) -> int:
        """The index of the image, or the number of the progress event. Only these two kinds have a number."""
        return int(self.event.partition("-")[2])
