"""What a job is: its states, its counts, its options, its items."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from workers.jobs.lanes import lane_of
from workers.jobs.options import JobOptions, Lane, rows_each
from workers.jobs.webhook import Webhook


class JobState(StrEnum):
    """Where a job stands; only the terminal ones are final. While it is enumerated nobody knows its total."""

    ENUMERATING = "enumerating"
    QUEUED = "queued"
    RUNNING = "running"
    FINISHING = "finishing"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """Whether the job will never change again."""
        return self in _TERMINAL

    @property
    def waits(self) -> bool:
        """Whether images of the job are yet to be claimed."""
        return self in {JobState.QUEUED, JobState.RUNNING}


_TERMINAL = {JobState.SUCCEEDED, JobState.PARTIAL, JobState.FAILED, JobState.CANCELED, JobState.EXPIRED}


@dataclass(frozen=True)
class ImageSource:
    """One image of a job: its name to the caller, where its bytes are, and the caller's own id, '' without one.

    `ref` is `blob:<path in the blob store>`, `file:<absolute path under an allowed root>`, `fs:<fsspec URL under an
    allowed prefix>`, `url:<http(s) URL>`, or, of an image that failed already, `failed:<why>`: see sources.fetch.
    """

    name: str
    ref: str
    custom_id: str = ""
    size: int | None = None  # in bytes, and
    mtime: float | None = None  # in seconds since the epoch, when it was listed

    @property
    def fields(self) -> tuple[str, str, str]:
        """As it stands in scripts."""
        return self.name, self.ref, self.custom_id


@dataclass(frozen=True)
class Outcome:
    """What became of one delivery of an image: its result, ready to be stored and shown."""

    stream: str
    entry: str
    job: str
    index: int
    attempt: str
    state: str
    model_version: int | None
    result: str
    rows: int = 0  # that it made, where it came to that


@dataclass(frozen=True)
class Quota:
    """How much an owner may have waiting and stored; None takes the setting's."""

    max_waiting_images: int | None = None
    max_blob_bytes: int | None = None


NO_QUOTA = Quota()


@dataclass(frozen=True)
class Request:
    """The HTTP request that a job came by: its id, and the `traceparent` of its trace; "" where there is none."""

    id: str = ""
    trace: str = ""


UNKNOWN_REQUEST = Request()


@dataclass(frozen=True)
class NewJob:
    """A job about to be created: its manifest is in the blob store already, or a duty will list its `source`."""

    id: str
    options: JobOptions
    total: int
    deadline_seconds: float  # from its creation; then what is unfinished fails
    upload: str = ""  # the upload id whose blobs then belong to the job
    bytes: int = 0  # of that upload
    owner: str = ""
    retry_of: str = ""  # the job whose failed images these are
    metadata: Mapping[str, str] = field(default_factory=dict)  # the caller's own, shown with the job
    quota: Quota = NO_QUOTA
    webhook: Webhook | None = None
    base_url: str = ""  # of the API, for links in webhooks
    request: Request = UNKNOWN_REQUEST
    source: str = ""  # what is to be listed, see workers/sources/origins/named.py; '' where its images are known
    rules: Sequence[str] = ()  # further fields of its record: name, value, name, value, ...

    @property
    def paths(self) -> list[str]:
        """Where in the blob store what belongs to it is."""
        return [f"jobs/{self.id}", *([f"uploads/{self.upload}"] if self.upload else ())]

    @property
    def lane(self) -> Lane:
        """The lane its images wait in; while nobody knows how many there are, that of many."""
        return "bulk" if self.source and not self.options.priority else lane_of(self.options, self.total)


# Where a job stood, see lib/account.lua: its estimate is made of it.
Standing = tuple[int | None, int, str | None, str | None, str | None, str | None]


@dataclass(frozen=True)
class Job:
    """A job as one atomic read found it. Times are seconds since the epoch, None where not reached yet.

    At `deadline_at` what is unfinished fails; at `expires_at` everything of the job goes. `total` is 0 until its images
    are listed, in `manifest`, a path in the blob store; `error` says why it failed as a whole, or ended early.
    """

    id: str
    options: JobOptions
    state: JobState
    lane: Lane
    total: int
    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int
    created_at: float
    started_at: float | None = None
    settled_at: float | None = None  # when its last image was
    finished_at: float | None = None
    deadline_at: float | None = None
    expires_at: float | None = None
    model_versions: tuple[int, ...] = field(default=())
    owner: str = ""
    retry_of: str = ""
    retried_as: str = ""
    ending: str = ""  # canceled, expired or failed, where it is, or was, about to end as that
    rows_each: float = 1.0  # rows of the model that an image makes: what those made that are done, or a guess
    given_up: int = 0  # images that were not processed because of it
    metadata: Mapping[str, str] = field(default_factory=dict)
    manifest: str = ""
    error: Mapping[str, Any] = field(default_factory=dict)
    output: str = ""  # where to and how its results are written beside, see workers/jobs/output.py
    output_error: Mapping[str, Any] = field(default_factory=dict)  # why they could not be, last time
    standing: Standing | None = field(default=None, compare=False)  # of one that was created just now

    @property
    def progress(self) -> float:
        """The part of the images that is settled, 0..1."""
        if not self.total:
            return float(self.state.terminal)
        return (self.succeeded + self.failed + self.canceled) / self.total

    @classmethod
    def from_hash(cls, job_id: str, stored: Mapping[str, str], standing: Standing | None = None) -> Self:
        """Read the Redis hash of a job."""
        return cls(
            id=job_id,
            standing=standing,
            options=JobOptions.from_json(stored["options"]),
            state=JobState(stored["state"]),
            lane=stored["lane"],  # type: ignore[arg-type]  # written from a Lane
            total=int(stored["total"]),
            queued=int(stored["queued"]),
            running=int(stored["running"]),
            succeeded=int(stored["succeeded"]),
            failed=int(stored["failed"]),
            canceled=int(stored["canceled"]),
            created_at=int(stored["created_at"]) / 1000,
            started_at=_seconds(stored.get("started_at")),
            settled_at=_seconds(stored.get("settled_at")),
            finished_at=_seconds(stored.get("finished_at")),
            deadline_at=_seconds(stored.get("deadline_at")),
            expires_at=_seconds(stored.get("expires_at")),
            owner=stored["owner"],
            retry_of=stored["retry_of"],
            retried_as=stored.get("retried_as", ""),
            ending=stored.get("ending", ""),
            rows_each=rows_each(stored.get("guess"), stored.get("rows"), stored.get("rowed")),
            given_up=int(stored.get("given_up", 0)),
            metadata=json.loads(stored.get("metadata", "{}")),
            manifest=stored.get("manifest") or manifest_path(job_id),
            error=json.loads(stored.get("error", "{}")),
            output=stored.get("output", ""),
            output_error=json.loads(stored.get("output_error", "{}")),
            model_versions=tuple(sorted(int(key[8:]) for key in stored if key.startswith("version:"))),
        )


def manifest_path(job_id: str) -> str:
    """Where in the blob store the manifest is of a job whose images were known at once."""
    return f"jobs/{job_id}/manifest.jsonl"


def _seconds(stored_ms: str | None) -> float | None:
    return int(stored_ms) / 1000 if stored_ms else None


def new_id(kind: str) -> str:
    """An id that sorts by time and cannot be guessed: `<kind>_<48 bits of ms><80 random bits>`."""
    return f"{kind}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def is_id(kind: str, text: str) -> bool:
    """Whether a text has the form of an id of that kind."""
    return re.fullmatch(rf"{kind}_[0-9a-f]{{32}}", text) is not None


@dataclass(frozen=True)
class Estimate:
    """Where a job stands.

    `queue_position` is how many unfinished jobs of its lane were accepted before it, None where it no longer waits;
    `eta_seconds` how long until it ends, None where nothing was measured yet.
    """

    queue_position: int | None
    eta_seconds: float | None
