"""A job: its states, counts, images, quota and estimate."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from workers.jobs.options import JobOptions, Lane, rows_each


class JobState(StrEnum):
    """The state of a job. Only terminal states are final. The total is unknown while a job is `enumerating`."""

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
        """Whether the job has ended: this state never changes again."""
        return self in _TERMINAL

    @property
    def waits(self) -> bool:
        """Whether images of the job may still wait in a lane."""
        return self in {JobState.QUEUED, JobState.RUNNING}


_TERMINAL = {JobState.SUCCEEDED, JobState.PARTIAL, JobState.FAILED, JobState.CANCELED, JobState.EXPIRED}


@dataclass(frozen=True)
class ImageSource:
    """One image of a job: its name, the reference of its bytes, and the caller's own id, '' if there is none.

    `ref` is `blob:<path in the blob store>`, `file:<absolute path under an allowed root>`, `fs:<fsspec URL under an
    allowed prefix>` or `url:<http(s) URL>`. An image that failed before its turn has `failed:<reason>`. See
    workers/sources/references.py.
    """

    name: str
    ref: str
    custom_id: str = ""
    size: int | None = None  # in bytes, when the image was listed; None if it was not
    mtime: float | None = None  # in seconds since the epoch, when the image was listed

    @property
    def fields(self) -> tuple[str, str, str]:
        """Name, reference and custom id, in the order that scripts and manifests use."""
        return self.name, self.ref, self.custom_id


@dataclass(frozen=True)
class Quota:
    """How much of an owner may wait and be stored; None takes the limit of the settings."""

    max_waiting_images: int | None = None
    max_blob_bytes: int | None = None


NO_QUOTA = Quota()


@dataclass(frozen=True)
class Request:
    """The HTTP request that created a job: its id and its `traceparent`, each "" if unknown."""

    id: str = ""
    trace: str = ""


UNKNOWN_REQUEST = Request()


# What a job's estimate is computed from, see lib/account.lua: jobs of its lane before it, jobs of its lane, rows of its
# lane, interactive rows, and what was measured, as rows and ms.
QueueNumbers = tuple[int | None, int, str | None, str | None, str | None, str | None]
_COUNTS = ("total", "queued", "running", "succeeded", "failed", "canceled")
_TIMES = ("started_at", "settled_at", "finished_at", "deadline_at", "expires_at")


@dataclass(frozen=True)
class Job:
    """A job as one atomic read returned it. Times are seconds since the epoch, None if not reached yet.

    Unfinished images fail at `deadline_at`. The job and all that belongs to it are deleted at `expires_at`. `total` is
    0 until its images are listed. `manifest` is a path in the blob store. `error` says why the job failed as a whole
    or ended early.
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
    settled_at: float | None = None  # when its last image was settled
    finished_at: float | None = None
    deadline_at: float | None = None
    expires_at: float | None = None
    model_versions: tuple[int, ...] = field(default=())
    owner: str = ""
    retry_of: str = ""
    retried_as: str = ""
    ending: str = ""  # canceled, expired or failed if it ends, or ended, early as that; '' otherwise
    rows_each: float = 1.0  # rows per image: measured on its finished images, or a guess
    given_up: int = 0  # images that were not processed because the job ended early
    metadata: Mapping[str, str] = field(default_factory=dict)
    manifest: str = ""
    error: Mapping[str, Any] = field(default_factory=dict)
    output: str = ""  # JSON of its output, see workers/jobs/output.py; '' if it has none
    output_error: Mapping[str, Any] = field(default_factory=dict)  # why the last attempt to write it failed
    skipped: Mapping[str, int] = field(default_factory=dict)  # files that are not named like images, by suffix
    name_encoding: str = ""  # the encoding that an archive's names or a manifest were guessed to have
    queue_numbers: QueueNumbers | None = field(default=None, compare=False)  # only of a job that was created just now

    @property
    def progress(self) -> float:
        """The share of the images that is settled, 0..1."""
        if not self.total:
            return float(self.state.terminal)
        return (self.succeeded + self.failed + self.canceled) / self.total

    @classmethod
    def from_hash(cls, job_id: str, stored: Mapping[str, str], queue_numbers: QueueNumbers | None = None) -> Self:
        """Build a job from its Redis hash."""
        counts: dict[str, Any] = {name: int(stored[name]) for name in _COUNTS}
        times: dict[str, Any] = {name: seconds_of(stored.get(name)) for name in _TIMES}
        return cls(
            id=job_id,
            queue_numbers=queue_numbers,
            options=JobOptions.from_json(stored["options"]),
            state=JobState(stored["state"]),
            lane=stored["lane"],  # type: ignore[arg-type]  # written from a Lane
            **counts,
            created_at=int(stored["created_at"]) / 1000,
            **times,
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
            skipped=json.loads(stored.get("skipped", "{}")),
            name_encoding=stored.get("name_encoding", ""),
            model_versions=tuple(sorted(int(key[8:]) for key in stored if key.startswith("version:"))),
        )


def manifest_path(job_id: str) -> str:
    """Return the path in the blob store of the manifest of a job whose images were known when it was created."""
    return f"jobs/{job_id}/manifest.jsonl"


def seconds_of(stored_ms: str | None) -> float | None:
    """Return a stored time (ms since the epoch) in seconds; None if it is missing."""
    return int(stored_ms) / 1000 if stored_ms else None


def new_id(kind: str) -> str:
    """Return a new id that sorts by time and cannot be guessed: `<kind>_<48 bits of ms><80 random bits>`, in hex."""
    return f"{kind}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def is_id(kind: str, text: str) -> bool:
    """Return whether a text has the form of an id of this kind."""
    return re.fullmatch(rf"{kind}_[0-9a-f]{{32}}", text) is not None


@dataclass(frozen=True)
class Estimate:
    """The queue position of a job, and how long it will take.

    `queue_position` is the number of unfinished jobs of its lane that were accepted before it; None if it does not
    wait. `eta_seconds` is the time until it ends; None while its images are listed, or if nothing was measured yet.
    """

    queue_position: int | None
    eta_seconds: float | None
