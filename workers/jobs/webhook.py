"""What a webhook is: a URL, the events that it is told, in which format, signed with which secret."""

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

_PREFIX = "whsec_"
_FEWEST_SECRET_BYTES, _MOST_SECRET_BYTES = 24, 64  # of Standard Webhooks
_ID = re.compile(r"msg_([0-9a-f]{32})_([0-9]{1,4})_((?:item|progress)-[0-9]{1,9}|started|finished)")


class Event(StrEnum):
    """What a webhook may be told."""

    JOB_STARTED = "job.started"
    JOB_PROGRESS = "job.progress"
    JOB_FINISHED = "job.finished"
    ITEM_FINISHED = "item.finished"


class WebhookFormat(StrEnum):
    """How: as Standard Webhooks has it, or as the Baidu robot's result bodies, one a POST or all in one."""

    STANDARD = "standard"
    BAIDU = "baidu"
    BAIDU_BATCH = "baidu_batch"


_OF_BAIDU = {WebhookFormat.BAIDU: Event.ITEM_FINISHED, WebhookFormat.BAIDU_BATCH: Event.JOB_FINISHED}


def checked_events(events: Sequence[Event] | None, written: WebhookFormat) -> tuple[Event, ...]:
    """The events of a webhook, by default those that its format is for; raises ValueError."""
    only = _OF_BAIDU.get(written)
    if events is None:
        return (only or Event.JOB_FINISHED,)
    if not events:
        raise ValueError("name at least one event")
    if only and set(events) != {only}:
        raise ValueError(f"the format {written} tells {only} and nothing else")
    return tuple(dict.fromkeys(events))


def checked_secret(secret: str) -> str:
    """A secret as Standard Webhooks has it; raises ValueError, whose text does not show it."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not _FEWEST_SECRET_BYTES <= len(key) <= _MOST_SECRET_BYTES:
        raise ValueError(
            f"write {_PREFIX} and the base64 of {_FEWEST_SECRET_BYTES} to {_MOST_SECRET_BYTES} random bytes, as in "
            f"{_PREFIX}$(openssl rand -base64 32)"
        )
    return secret


def new_secret() -> str:
    """A secret that nobody can guess."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass(frozen=True)
class Webhook:
    """What a caller asked to be told with a job. Without a secret it is not signed."""

    url: str
    events: tuple[Event, ...] = (Event.JOB_FINISHED,)
    format: WebhookFormat = WebhookFormat.STANDARD
    secret: str = field(default="", repr=False)

    def line(self, owner: str) -> str:
        """What its deliveries queue in: one line for a URL of an owner, whatever the jobs."""
        return "url_" + hashlib.sha256(f"{owner}\0{self.url}".encode()).hexdigest()[:32]

    def stored(self, owner: str) -> dict[str, str]:
        """As scripts/jobs/create.lua takes it."""
        return {
            "url": self.url,
            "events": ",".join(self.events),
            "format": self.format.value,
            "secret": self.secret,
            "line": self.line(owner),
        }

    @classmethod
    def from_hash(cls, stored: Mapping[str, str]) -> Self:
        """Read what Redis keeps of a hook, or of an endpoint."""
        events = tuple(map(Event, stored["events"].split(",")))
        return cls(stored["url"], events, WebhookFormat(stored["format"]), stored["secret"])

    def signed_with(self, secret: str) -> Self:
        """The same with another secret."""
        return replace(self, secret=secret)

    @property
    def identity(self) -> str:
        """What tells it from another in a request's fingerprint, without showing its secret."""
        parts = (self.url, ",".join(self.events), self.format, self.secret)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class DeliveryId:
    """One event of one of a job's hooks. As text it is the `webhook-id`, the same in every attempt."""

    job: str
    hook: int
    event: str  # started, finished, item-<index>, progress-<number>

    def __str__(self) -> str:
        return f"msg_{self.job.removeprefix('job_')}_{self.hook}_{self.event}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read what str() wrote; None where it is something else."""
        found = _ID.fullmatch(text)
        return cls(f"job_{found[1]}", int(found[2]), found[3]) if found else None

    @property
    def kind(self) -> Event:
        """What it tells."""
        return _KINDS[self.event.partition("-")[0]]

    @property
    def number(self) -> int:
        """The image's index, or which progress it is."""
        return int(self.event.partition("-")[2])


_KINDS = {
    "started": Event.JOB_STARTED,
    "progress": Event.JOB_PROGRESS,
    "finished": Event.JOB_FINISHED,
    "item": Event.ITEM_FINISHED,
}
