"""The JSON documents of a job, shared by the routes, the webhooks, the Python client and the OpenAPI description."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from workers.jobs.job import Estimate, Job, JobState
from workers.jobs.options import Lane, VersionFallback
from workers.jobs.output import Output, OutputFormat


def rfc3339(seconds: float) -> str:
    """Format seconds since the epoch as RFC 3339, in UTC, with milliseconds."""
    text = datetime.fromtimestamp(round(seconds, 3), UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _as_timestamp(time: object) -> object:
    return rfc3339(time) if isinstance(time, float) else time


# Documents are made of stored objects, which have seconds since the epoch, and something empty where there is nothing.
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"}), BeforeValidator(_as_timestamp)]
EmptyIsNull = BeforeValidator(lambda value: value or None)
OptionalText = Annotated[str | None, EmptyIsNull]


class Document(BaseModel):
    """Base of the documents that the API sends. A client ignores fields that it does not know.

    A document can be made of a stored object that has the same fields.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=(), from_attributes=True)

    def to_json(self) -> str:
        """Return the document as one line of JSON."""
        return self.model_dump_json() + "\n"


class CountsDocument(Document):
    """The number of images of a job in each state; the states add up to the total.

    The total is null while the images are being listed, and if they could not be listed.
    """

    total: Annotated[int | None, EmptyIsNull]
    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int


class OptionsDocument(Document):
    """The options that the caller asked for; null takes the model's own value."""

    model: str
    model_version: int | None = None
    min_score: float | None
    max_detections: int | None
    priority: Lane | None = None
    tiles: str = "off"
    overlap: float = 0.2
    max_failure_rate: float | None = None
    cache: bool = False
    version_fallback: VersionFallback | None = None


class WhyDocument(Document):
    """Why a job failed as a whole, or ended early."""

    code: str
    detail: str
    retryable: bool


class UrlsDocument(Document):
    """The absolute URLs of a job and of what belongs to it."""

    self: str
    results: str
    events: str
    deliveries: str
    cancel: str
    retry: str


def urls_at(base_url: str, job_id: str) -> UrlsDocument:
    """Return the URLs of a job, below the API's base URL; relative to its host if that is ''."""
    job = f"{base_url.rstrip('/')}/v1/jobs/{job_id}"
    return UrlsDocument(self=job, **{name: f"{job}/{name}" for name in UrlsDocument.model_fields if name != "self"})


class OutputDocument(Document):
    """Where and how a job writes its results as files."""

    url: str = Field(description="The folder of the job's files. `summary.json` is written last.")
    formats: list[OutputFormat] = Field(description="The formats that are written beside JSON lines.")
    annotate: int = Field(description="The maximum of images that are drawn with their boxes.")
    error: WhyDocument | None = Field(description="Why the last attempt to write it failed; it is tried again.")


class JobDocument(Document):
    """A job. Times are RFC 3339 in UTC with milliseconds, null where not reached yet."""

    id: str
    object: Literal["job"] = "job"
    state: JobState
    lane: Lane
    counts: CountsDocument
    progress: float = Field(ge=0, le=1, description="The share of the images that is settled.")
    error: Annotated[WhyDocument | None, EmptyIsNull] = Field(
        default=None, description="Why it failed as a whole or ended early; else null."
    )
    queue_position: int | None = Field(
        description="The number of unfinished jobs of its lane that were accepted before it; null if it does not wait."
    )
    eta_seconds: float | None = Field(description="Expected seconds until it ends; null if nothing was measured yet.")
    waiting_for: str | None = Field(
        default=None,
        description="Why none of its images is processed now, as when no server has its model. It goes on by itself "
        "when that has changed; unfinished images fail at `deadline_at`. Null if nothing stands in its way.",
    )
    model_versions: list[int] = Field(description="The model versions that made its results.")
    options: OptionsDocument
    metadata: dict[str, str] = Field(default_factory=dict, description="What the caller sent with it.")
    output: OutputDocument | None = None
    skipped: dict[str, int] = Field(
        default_factory=dict,
        description="The number of files that the folder, location or archive has beside its images, by suffix, "
        "like `.heic`. `none` are those without a suffix, `other` those of further suffixes. Hidden files are not "
        "counted.",
    )
    name_encoding: OptionalText = Field(
        default=None,
        description="The encoding that names of an archive, or the text of a manifest, were guessed to have, since "
        "they say none and are not UTF-8. If the names are wrong, set SHELFLINE_ARCHIVE_ENCODING, or use UTF-8.",
    )
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None
    deadline_at: Timestamp | None = Field(description="Images that are unfinished then fail.")
    expires_at: Timestamp | None = Field(description="The job and its results are deleted then.")
    retry_of: OptionalText = Field(description="The job whose failed images this job retries.")
    retried_as: OptionalText = Field(description="The job that retries its failed images.")
    urls: UrlsDocument


class JobsDocument(Document):
    """Jobs, newest first. With filters a page may have fewer jobs than its limit, even none, and still a `next`."""

    object: Literal["list"] = "list"
    data: list[JobDocument]
    next: str | None = Field(description="The absolute URL of the next page; null on the last page.")


def job_document(job: Job, urls: UrlsDocument, estimate: Estimate, waiting_for: str | None = None) -> JobDocument:
    """Return the document of a job. `waiting_for` is why none of its images can be processed, if none can."""
    others = {
        "counts": job,
        "progress": round(job.progress, 4),
        "queue_position": estimate.queue_position,
        "eta_seconds": None if estimate.eta_seconds is None else round(estimate.eta_seconds, 1),
        "waiting_for": waiting_for,
        "output": _output(job),
        "urls": urls,
    }
    return JobDocument.model_validate({**vars(job), **others})


def _output(job: Job) -> OutputDocument | None:
    if not job.output:
        return None
    output = Output.from_json(job.output)
    error = WhyDocument(**job.output_error) if job.output_error else None
    return OutputDocument(
        url=output.folder(job.id), formats=list(output.formats), annotate=output.annotate, error=error
    )
