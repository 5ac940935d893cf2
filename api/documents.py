"""How a job looks on the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypedDict

from workers.jobs import Job


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


class JobDocument(TypedDict):
    """A job. Times are RFC 3339 in UTC with milliseconds, None where not reached yet; `progress` is 0..1."""

    id: str
    object: str
    state: str
    lane: str
    counts: CountsDocument
    progress: float
    model_versions: list[int]
    options: OptionsDocument
    created_at: str
    started_at: str | None
    finished_at: str | None
    urls: UrlsDocument


def job_document(job: Job, urls: UrlsDocument) -> JobDocument:
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
        "model_versions": list(job.model_versions),
        "options": {
            "model": job.options.model,
            "min_score": job.options.min_score,
            "max_detections": job.options.max_detections,
        },
        "created_at": rfc3339(job.created_at),
        "started_at": None if job.started_at is None else rfc3339(job.started_at),
        "finished_at": None if job.finished_at is None else rfc3339(job.finished_at),
        "urls": urls,
    }


def rfc3339(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339, in UTC, with milliseconds."""
    text = datetime.fromtimestamp(round(seconds, 3), UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
