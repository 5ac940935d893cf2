"""How a job looks on the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypedDict, overload

from workers.jobs import Job
from workers.load import Estimate


class CountsDocument(TypedDict):
    """How many images of a job are in each state; the states add up to the total."""

    total: int
    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int


class OptionsDocument(TypedDict):
    """What the caller asked for."""

    model: str
    min_score: float | None
    max_detections: int | None


class UrlsDocument(TypedDict):
    """Where things about a job are, absolute."""

    self: str
    results: str
    cancel: str
    retry: str


class JobDocument(TypedDict):
    """A job. Times are RFC 3339 in UTC with milliseconds, None where not reached yet; `progress` is 0..1.

    `queue_position` and `eta_seconds` are those of workers.load.Estimate. At `deadline_at` what is unfinished fails, at
    `expires_at` the job is deleted with its results.
    """

    id: str
    object: str
    state: str
    lane: str
    counts: CountsDocument
    progress: float
    queue_position: int | None
    eta_seconds: float | None
    model_versions: list[int]
    options: OptionsDocument
    created_at: str
    started_at: str | None
    finished_at: str | None
    deadline_at: str | None
    expires_at: str | None
    retry_of: str | None
    retried_as: str | None
    urls: UrlsDocument


def job_document(job: Job, urls: UrlsDocument, estimate: Estimate) -> JobDocument:
    """A job as the API shows it."""
    return {
        "id": job.id,
        "object": "job",
        "state": job.state.value,
        "lane": job.lane,
        "counts": {
            "total": job.total,
            "queued": job.queued,
            "running": job.running,
            "succeeded": job.succeeded,
            "failed": job.failed,
            "canceled": job.canceled,
        },
        "progress": round(job.progress, 4),
        "queue_position": estimate.queue_position,
        "eta_seconds": None if estimate.eta_seconds is None else round(estimate.eta_seconds, 1),
        "model_versions": list(job.model_versions),
        "options": {
            "model": job.options.model,
            "min_score": job.options.min_score,
            "max_detections": job.options.max_detections,
        },
        "created_at": rfc3339(job.created_at),
        "started_at": rfc3339(job.started_at),
        "finished_at": rfc3339(job.finished_at),
        "deadline_at": rfc3339(job.deadline_at),
        "expires_at": rfc3339(job.expires_at),
        "retry_of": job.retry_of or None,
        "retried_as": job.retried_as or None,
        "urls": urls,
    }


@overload
def rfc3339(seconds: float) -> str: ...


@overload
def rfc3339(seconds: None) -> None: ...


def rfc3339(seconds: float | None) -> str | None:
    """Seconds since the epoch as RFC 3339, in UTC, with milliseconds; None stays None."""
    if seconds is None:
        return None
    text = datetime.fromtimestamp(round(seconds, 3), UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
