"""The routes of jobs: list, show, cancel, retry, delete."""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from typing import Annotated

from flask import Blueprint, Response, url_for
from pydantic import AwareDatetime, BeforeValidator, Field

from api.access.caller import caller, own_job
from api.http.answers import accepted, answer, document_of
from api.http.errors import UnprocessableError
from api.http.links import link_base
from api.http.request_ids import this_request
from api.http.waiting import WaitingRoom, requested_wait
from api.openapi.common_problems import OF_A_JOB, OF_OUTPUT
from api.openapi.declaration import Api
from api.openapi.responses import Answer, document_answer
from api.requests.checking import RequestModel
from api.schema.fields import PlainText
from api.schema.options import ShowHeaders, ShowQuery
from workers.backend import Backend
from workers.errors import JobGoneError, JobNotFoundError, JobStateError, QueueFullError
from workers.jobs.document import JobDocument, JobsDocument
from workers.jobs.job import JobState, is_id
from workers.settings import Settings
from workers.store.listing import Cursor, JobFilter

_JOB = document_answer(JobDocument)
_ACCEPTED = document_answer(JobDocument, 202, headers=("Location", "Retry-After"))
_CURSOR = re.compile(r"([0-9]{1,15})\.(job_[0-9a-f]{32})")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)


def _checked_time(text: str) -> str:
    """Check that a time is in RFC 3339's form, because pydantic alone would also accept numbers and dates."""
    if not _TIME.fullmatch(text):
        raise ValueError("give a time with its zone, as in 2026-01-31T08:30:00Z (RFC 3339)")
    return text


Time = Annotated[AwareDatetime, BeforeValidator(_checked_time)]


class ListQuery(RequestModel):
    """Which jobs to list."""

    state: JobState | None = Field(default=None, description="Only jobs in this state.")
    model: Annotated[PlainText, Field(max_length=128)] | None = Field(
        default=None, description="Only jobs of this model."
    )
    created_after: Time | None = Field(default=None, description="Only jobs created at this time or later.")
    created_before: Time | None = Field(default=None, description="Only jobs created before this time.")
    limit: int = Field(default=20, ge=1, le=100, description="At most this many.")
    cursor: str = Field(
        default="",
        max_length=100,
        pattern=r"^[A-Za-z0-9_-]*$",
        description="Where to continue; it comes from the `next` of an earlier page.",
    )


def job_routes(settings: Settings, backend: Backend, api: Api, room: WaitingRoom) -> Blueprint:
    """Return the routes of one job, /v1/jobs/{id}. Callers that wait for its end wait in `room`."""
    routes = Blueprint("jobs", __name__, url_prefix="/v1/jobs")

    @routes.get("/<job_id>")
    @api.describe(
        document_answer(JobDocument, headers=("ETag", "Preference-Applied", "Retry-After")),
        tag="jobs",
        query=ShowQuery,
        headers=ShowHeaders,
        problems=OF_A_JOB,
    )
    def show(job_id: str, query: ShowQuery, headers: ShowHeaders) -> Response:
        """Show a job now, or when it has ended."""
        wait, preferred = requested_wait(query.wait, headers.prefer)
        with room.place(min(wait, settings.max_wait_seconds)) as granted:
            job = own_job(backend, job_id)
            if granted:
                job = backend.store.wait(job_id, granted)
        response = answer(document_of(backend, job))
        if wait and not granted and not job.state.terminal:  # every place to wait is taken
            response.headers["Retry-After"] = "1"
        if preferred and granted == wait:
            response.headers["Preference-Applied"] = f"wait={wait:.0f}"
        return response

    # The following requests change a job. Each may be sent twice. If the state of the job does not allow it: 409.

    @routes.post("/<job_id>/cancel")
    @api.describe(_JOB, tag="jobs", problems=(*OF_A_JOB, JobStateError))
    def cancel(job_id: str) -> Response:
        """Cancel a job: images that are not processed yet are not processed. Finished images keep their results."""
        return answer(document_of(backend, backend.store.cancel(own_job(backend, job_id).id)))

    @routes.post("/<job_id>/retry")
    @api.describe(_ACCEPTED, tag="jobs", problems=(*OF_A_JOB, JobStateError, QueueFullError, *OF_OUTPUT))
    def retry(job_id: str) -> Response:
        """Retry the failed images of a job that has ended, as a new job. Repeated requests get the same new job."""
        job = own_job(backend, job_id)
        return accepted(backend, backend.intake.retry(job.id, caller().quota_of(job.owner), this_request()))

    @routes.delete("/<job_id>")
    @api.describe(Answer(status=204), tag="jobs", problems=(JobNotFoundError, JobStateError))
    def delete(job_id: str) -> Response:
        """Delete a job that has ended, with its images and results."""
        with suppress(JobGoneError):
            backend.store.delete(own_job(backend, job_id).id)
        return Response(status=204)

    return routes


def list_routes(backend: Backend, api: Api) -> Blueprint:
    """Return the route GET /v1/jobs."""
    routes = Blueprint("listing", __name__, url_prefix="/v1/jobs")

    @routes.get("")
    @api.describe(
        document_answer(JobsDocument, headers=("ETag",)), tag="jobs", query=ListQuery, problems=(UnprocessableError,)
    )
    def listed(query: ListQuery) -> Response:
        """List your jobs, newest first.

        Jobs that come or go between the pages shift none of them: every other job is listed exactly once.
        """
        after, before = (time.timestamp() if time else None for time in (query.created_after, query.created_before))
        job_filter = JobFilter(query.state or "", query.model or "", after, before)
        owner = None if caller().sees_all else caller().owner
        page = backend.listing.page(owner, job_filter, query.limit, _read_cursor(query.cursor))
        next_url = None
        if page.next:
            parameters = query.model_dump(mode="json", exclude_none=True) | {"cursor": _cursor_text(page.next)}
            next_url = link_base() + url_for("listing.listed", **parameters)
        return answer(JobsDocument(data=[document_of(backend, job) for job in page.jobs], next=next_url))

    return routes


def _cursor_text(cursor: Cursor) -> str:
    return base64.urlsafe_b64encode(f"{cursor.created_ms}.{cursor.id}".encode()).decode().rstrip("=")


def _read_cursor(text: str) -> Cursor | None:
    """Return the cursor that a text stands for, None for an empty text; raises UnprocessableError if it is invalid."""
    if not text:
        return None
    try:
        match = _CURSOR.fullmatch(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode())
    except ValueError:
        match = None
    if not match or not is_id("job", match[2]):
        raise UnprocessableError("cursor: give the cursor from the `next` of an earlier page, unchanged.")
    return Cursor(int(match[1]), match[2])
