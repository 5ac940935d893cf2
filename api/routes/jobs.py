"""The routes of jobs: look, change."""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from flask import Blueprint, Response, url_for
from pydantic import AwareDatetime, BeforeValidator, Field

from api.access.caller import caller, own_job
from api.http.answers import accepted, answer, document_of
from api.http.errors import UnprocessableError
from api.http.request_ids import this_request
from api.http.waiting import WaitingRoom, requested_wait
from api.openapi.common_problems import OF_A_JOB, OF_OUTPUT
from api.openapi.declaration import Api
from api.openapi.responses import Answer, document_answer
from api.requests.checking import RequestModel
from api.schema.options import ShowHeaders, ShowQuery
from workers.errors import JobGoneError, JobNotFoundError, JobStateError, QueueFullError
from workers.jobs.document import JobDocument, JobsDocument
from workers.jobs.job import JobState, is_id
from workers.settings import Settings
from workers.store.listing import Cursor, JobFilter

if TYPE_CHECKING:
    from workers.backend import Backend

_JOB = document_answer(JobDocument)
_ACCEPTED = document_answer(JobDocument, 202, headers=("Location", "Retry-After"))


def job_routes(settings: Settings, backend: Backend, api: Api, room: WaitingRoom) -> Blueprint:
    """The routes below /v1/jobs."""
    routes = Blueprint("jobs", __name__, url_prefix="/v1/jobs")

    @routes.get("/<job_id>")
    @api.describe(
        Answer({"application/json": JobDocument}, headers=("ETag", "Preference-Applied", "Retry-After")),
        Answer(status=304),
        tag="jobs",
        query=ShowQuery,
        headers=ShowHeaders,
        problems=OF_A_JOB,
    )
    def show(job_id: str, query: ShowQuery, headers: ShowHeaders) -> Response:
        """Show a job as it stands, or when it ends."""
        asked, preferred = requested_wait(query.wait, headers.prefer)
        with room.place(min(asked, settings.max_wait_seconds)) as seconds:
            job = own_job(backend, job_id)
            if seconds:
                job = backend.store.wait(job_id, seconds)
        response = answer(document_of(backend, job))
        if asked and not seconds and not job.state.terminal:  # every place to wait is taken
            response.headers["Retry-After"] = "1"
        if preferred and seconds == asked:
            response.headers["Preference-Applied"] = f"wait={asked:.0f}"
        return response

    _add_changes(routes, backend, api)
    return routes


def _add_changes(routes: Blueprint, backend: Backend, api: Api) -> None:
    """What changes a job that there is. Each may be sent twice; a state that does not allow it is a 409."""

    @routes.post("/<job_id>/cancel")
    @api.describe(_JOB, tag="jobs", problems=(*OF_A_JOB, JobStateError))
    def cancel(job_id: str) -> Response:
        """Cancel a job: what is not processed yet will not be. Finished images keep their results."""
        return answer(document_of(backend, backend.store.cancel(own_job(backend, job_id).id)))

    @routes.post("/<job_id>/retry")
    @api.describe(_ACCEPTED, tag="jobs", problems=(*OF_A_JOB, JobStateError, QueueFullError, *OF_OUTPUT))
    def retry(job_id: str) -> Response:
        """Try the failed images of a job that is over again, as a new job. Asked again, the answer is the same job."""
        job = own_job(backend, job_id)
        return accepted(backend, backend.intake.retry(job.id, caller().quota_of(job.owner), this_request()))

    @routes.delete("/<job_id>")
    @api.describe(Answer(status=204), tag="jobs", problems=(JobNotFoundError, JobStateError))
    def delete(job_id: str) -> Response:
        """Delete a job that is over, with its images and results."""
        with suppress(JobGoneError):
            backend.store.delete(own_job(backend, job_id).id)
        return Response(status=204)


_PLACE = re.compile(r"([0-9]{1,15})\.(job_[0-9a-f]{32})")

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)


def _time(text: str) -> str:
    """A time as RFC 3339 has it; pydantic alone takes numbers and days too."""
    if not _TIME.fullmatch(text):
        raise ValueError("give a time with its zone, as in 2026-01-31T08:30:00Z (RFC 3339)")
    return text


Time = Annotated[AwareDatetime, BeforeValidator(_time)]


class ListQuery(RequestModel):
    """Which jobs."""

    state: JobState | None = Field(default=None, description="Only jobs in this state.")
    model: Annotated[str, Field(max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = Field(
        default=None, description="Only jobs of this model."
    )
    created_after: Time | None = Field(default=None, description="Only jobs created then or later.")
    created_before: Time | None = Field(default=None, description="Only jobs created earlier.")
    limit: int = Field(default=20, ge=1, le=100, description="At most so many.")
    cursor: str = Field(
        default="",
        max_length=100,
        pattern=r"^[A-Za-z0-9_-]*$",
        description="Where to go on: from an earlier page's `next`.",
    )


def list_routes(backend: Backend, api: Api) -> Blueprint:
    """The route GET /v1/jobs."""
    routes = Blueprint("listing", __name__, url_prefix="/v1/jobs")

    @routes.get("")
    @api.describe(
        Answer({"application/json": JobsDocument}, headers=("ETag",)),
        Answer(status=304),
        tag="jobs",
        query=ListQuery,
        problems=(UnprocessableError,),
    )
    def listed(query: ListQuery) -> Response:
        """List your jobs, newest first.

        Jobs that come or go meanwhile shift no page: each job that is there all the time is seen once.
        """
        wanted = JobFilter(
            query.state or "", query.model or "", _seconds(query.created_after), _seconds(query.created_before)
        )
        owner = None if caller().sees_all else caller().owner
        page = backend.listing.page(owner, wanted, query.limit, _place(query.cursor))
        next_url = None
        if page.next:
            given = query.model_dump(mode="json", exclude_none=True) | {"cursor": _cursor(page.next)}
            next_url = url_for("listing.listed", _external=True, **given)
        return answer(JobsDocument(data=[document_of(backend, job) for job in page.jobs], next=next_url))

    return routes


def _cursor(place: Cursor) -> str:
    return base64.urlsafe_b64encode(f"{place.created_ms}.{place.id}".encode()).decode().rstrip("=")


def _place(cursor: str) -> Cursor | None:
    """The place that a cursor stands for; raises UnprocessableError for a text that is none."""
    if not cursor:
        return None
    try:
        found = _PLACE.fullmatch(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode())
    except ValueError:
        found = None
    if not found or not is_id("job", found[2]):
        raise UnprocessableError("cursor: give one from the `next` of an earlier page, as it is.")
    return Cursor(int(found[1]), found[2])


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()
