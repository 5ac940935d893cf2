"""The JSON documents of a job, shared by the routes, the webhooks, the Python client and the OpenAPI description."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, overload

from pydantic import BaseModel, ConfigDict, Field

from workers.jobs.job import Estimate, Job, JobState
from workers.jobs.options import Lane
from workers.jobs.output import Output, OutputFormat

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class Document(BaseModel):
    """Base of the documents that the API sends. A client ignores fields that it does not know."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    def to_json(self) -> str:
        """Return the document as one line of JSON."""
        return self.model_dump_json() + "\n"


class CountsDocument(Document):
    """How many images of a job are in each state; the states add up to the total.

    The total is null where nobody knows it: the images are being listed, or could not be.
    """

    total: int | None
    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int


class OptionsDocument(Document):
    """What the caller asked for; null takes the model's own."""

    model: str
    model_version: int | None = None
    min_score: float | None
    max_detections: int | None
    priority: Lane | None = None
    tiles: str = "off"
    overlap: float = 0.2
    max_failure_rate: float | None = None
    cache: bool = False


class WhyDocument(Document):
    """Why a job failed as a whole, or ended early."""

    code: str
    detail: str
    retryable: bool


class UrlsDocument(Document):
    """Where things about a job are, absolute."""

    self: str
    results: str
    events: str
    deliveries: str
    cancel: str
    retry: str


def urls_at(base_url: str, job_id: str) -> UrlsDocument:
    """Return the absolute URLs of a job, below the API's base URL."""
    job = f"{base_url.rstrip('/')}/v1/jobs/{job_id}"
    return UrlsDocument(
        self=job,
        results=f"{job}/results",
        events=f"{job}/events",
        deliveries=f"{job}/deliveries",
        cancel=f"{job}/cancel",
        retry=f"{job}/retry",
    )


class OutputDocument(Document):
    """Where a job's results are written beside, and how."""

    url: str = Field(description="The folder of the job's files. `summary.json` is written last.")
    formats: list[OutputFormat] = Field(description="Beside JSON lines.")
    annotate: int = Field(description="Of so many images at most, with their boxes drawn.")
    error: WhyDocument | None = Field(description="Why it could not be written, last time; it is tried again.")


class JobDocument(Document):
    """A job. Times are RFC 3339 in UTC with milliseconds, null where not reached yet."""

    id: str
    object: Literal["job"] = "job"
    state: JobState
    lane: Lane
    counts: CountsDocument
    progress: float = Field(ge=0, le=1, description="The part of the images that is settled.")
    error: WhyDocument | None = Field(default=None, description="Why it failed as a whole, or ended early, if it did.")
    queue_position: int | None = Field(
        description="How many unfinished jobs of its lane were accepted before it; null where it no longer waits."
    )
    eta_seconds: float | None = Field(description="How long until it ends; null where nothing was measured yet.")
    model_versions: list[int] = Field(description="The versions that made its results.")
    options: OptionsDocument
    metadata: dict[str, str] = Field(default_factory=dict, description="What its caller gave with it.")
    output: OutputDocument | None = None
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None
    deadline_at: Timestamp | None = Field(description="What is unfinished then fails.")
    expires_at: Timestamp | None = Field(description="The job is deleted then, with its results.")
    retry_of: str | None = Field(description="The job whose failed images these are.")
    retried_as: str | None = Field(description="The job that tries its failed images again.")
    urls: UrlsDocument


class JobsDocument(Document):
    """Jobs, newest first. A page with filters may have fewer than asked for, even none, and yet a `next`."""

    object: Literal["list"] = "list"
    data: list[JobDocument]
    next: str | None = Field(description="Where the next page is, absolute; null at the end.")


def job_document(job: Job, urls: UrlsDocument, estimate: Estimate) -> JobDocument:
    """Return the document of a job."""
    return JobDocument(
        id=job.id,
        state=job.state,
        lane=job.lane,
        counts=CountsDocument.model_validate(job, from_attributes=True).model_copy(update={"total": job.total or None}),
        progress=round(job.progress, 4),
        error=WhyDocument(**job.error) if job.error else None,
        queue_position=estimate.queue_position,
        eta_seconds=None if estimate.eta_seconds is None else round(estimate.eta_seconds, 1),
        model_versions=list(job.model_versions),
        options=OptionsDocument.model_validate(job.options, from_attributes=True),
        metadata=dict(job.metadata),
        output=_output(job),
        created_at=rfc3339(job.created_at),
        started_at=rfc3339(job.started_at),
        finished_at=rfc3339(job.finished_at),
        deadline_at=rfc3339(job.deadline_at),
        expires_at=rfc3339(job.expires_at),
        retry_of=job.retry_of or None,
        retried_as=job.retried_as or None,
        urls=urls,
    )


def _output(job: Job) -> OutputDocument | None:
    if not job.output:
        return None
    output = Output.from_json(job.output)
    error = WhyDocument(**job.output_error) if job.output_error else None
    return OutputDocument(
        url=output.folder(job.id), formats=list(output.formats), annotate=output.annotate, error=error
    )


@overload
def rfc3339(seconds: float) -> str: ...


@overload
def rfc3339(seconds: None) -> None: ...


def rfc3339(seconds: float | None) -> str | None:
    """Format seconds since the epoch as RFC 3339, in UTC, with milliseconds; None stays None."""
    if seconds is None:
        return None
    text = datetime.fromtimestamp(round(seconds, 3), UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
