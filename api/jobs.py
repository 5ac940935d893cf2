"""The routes of jobs: look, change."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from flask import Blueprint, Response

from api.access import caller, own_job
from api.answers import Answer, document_answer
from api.expected import Problems
from api.openapi import Api
from api.options import ShowHeaders, ShowQuery
from api.request_ids import this_request
from api.showing import accepted, answer, shown
from api.waiting import WaitingRoom, asked_wait
from workers.errors import (
    JobGoneError,
    JobNotFoundError,
    JobStateError,
    OutputNotAllowedError,
    OutputUnusableError,
    QueueFullError,
    StoreUnavailableError,
)
from workers.jobs.document import JobDocument
from workers.settings import Settings

if TYPE_CHECKING:
    from workers.backend import Backend

OF_A_JOB: Problems = (JobNotFoundError, JobGoneError, StoreUnavailableError)
OF_OUTPUT: Problems = (OutputNotAllowedError, OutputUnusableError)
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
        asked, preferred = asked_wait(query.wait, headers.prefer)
        with room.place(min(asked, settings.max_wait_seconds)) as seconds:
            job = own_job(backend, job_id)
            if seconds:
                job = backend.store.wait(job_id, seconds)
        response = answer(shown(backend, job))
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
        return answer(shown(backend, backend.store.cancel(own_job(backend, job_id).id)))

    @routes.post("/<job_id>/retry")
    @api.describe(_ACCEPTED, tag="jobs", problems=(*OF_A_JOB, JobStateError, QueueFullError, *OF_OUTPUT))
    def retry(job_id: str) -> Response:
        """Try the failed images of a job that is over again, as a new job. Asked again, the answer is the same job."""
        job = own_job(backend, job_id)
        return accepted(backend, backend.intake.retry(job.id, caller().quota_of(job.owner), this_request()))

    @routes.delete("/<job_id>")
    @api.describe(Answer(status=204), tag="jobs", problems=(JobNotFoundError, JobStateError, StoreUnavailableError))
    def delete(job_id: str) -> Response:
        """Delete a job that is over, with its images and results."""
        with suppress(JobGoneError):
            backend.store.delete(own_job(backend, job_id).id)
        return Response(status=204)
