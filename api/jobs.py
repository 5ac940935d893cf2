"""The routes of jobs: submit, look, read results."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from flask import Blueprint, Response, url_for

from api.access import caller, own_job
from api.answers import Answer, document_answer
from api.documents import JobDocument, UrlsDocument, job_document
from api.errors import InvalidRequestError, SpoolFullError
from api.openapi import Api, Problems
from api.options import FolderJob, ResultsQuery, ShowHeaders, ShowQuery, SubmitHeaders, UploadJob
from api.waiting import WaitingRoom, asked_wait
from workers.errors import (
    FolderNotAllowedError,
    FolderNotFoundError,
    IdempotencyInFlightError,
    IdempotencyMismatchError,
    JobGoneError,
    JobNotFoundError,
    JobStateError,
    NoImagesError,
    QueueFullError,
    StoreUnavailableError,
    TooManyImagesError,
    UnknownModelError,
)
from workers.intake import Terms
from workers.jobs import Job
from workers.settings import Settings

if TYPE_CHECKING:
    from workers.backend import Backend

OF_A_JOB: Problems = (JobNotFoundError, JobGoneError, StoreUnavailableError)
OF_A_SUBMISSION: Problems = (
    FolderNotAllowedError,
    FolderNotFoundError,
    IdempotencyInFlightError,
    IdempotencyMismatchError,
    NoImagesError,
    QueueFullError,
    SpoolFullError,
    StoreUnavailableError,
    TooManyImagesError,
    UnknownModelError,
)
_JOB = document_answer(JobDocument)
_ACCEPTED = document_answer(JobDocument, 202, headers=("Location", "Retry-After"))
_CHUNK_CHARS = 65_536


def job_routes(settings: Settings, backend: Backend, api: Api) -> Blueprint:
    """The routes below /v1/jobs."""
    routes = Blueprint("jobs", __name__, url_prefix="/v1/jobs")
    room = WaitingRoom()

    @routes.post("")
    @api.describe(
        _ACCEPTED, tag="jobs", headers=SubmitHeaders, json=FolderJob, form=UploadJob, problems=OF_A_SUBMISSION
    )
    def submit(headers: SubmitHeaders, json: FolderJob | None, form: UploadJob | None) -> Response:
        """Submit a job.

        The images are uploaded as multipart/form-data, or are those of a folder of the server.
        """
        asked = json or form
        assert asked
        options = asked.job_options(settings.model)
        terms = Terms(caller().owner, asked.deadline_seconds, headers.idempotency_key)
        if form:
            return _accepted(backend, backend.intake.submit_files(form.images, options, terms))
        assert json
        return _accepted(backend, backend.intake.submit_folder(json.folder, options, terms))

    @routes.get("/<job_id>")
    @api.describe(
        Answer({"application/json": JobDocument}, headers=("Preference-Applied",)),
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
        response = _shown(backend, job, 200)
        if preferred and seconds == asked:
            response.headers["Preference-Applied"] = f"wait={asked:.0f}"
        return response

    @routes.get("/<job_id>/results")
    @api.describe(Answer({"application/x-ndjson": None}), tag="jobs", query=ResultsQuery, problems=OF_A_JOB)
    def results(job_id: str, query: ResultsQuery) -> Response:
        """Read a job's results, in input order, as JSON lines.

        While the job runs these are the finished ones at its beginning.
        """
        job = own_job(backend, job_id)
        if query.start > job.total:
            raise InvalidRequestError(f"start: give the index of an image of the job, 0 to {job.total}.")
        lines = backend.store.results(job_id, query.start)
        # The first line is fetched here, so that a store that is down is still a 503 and not a broken stream.
        first = next(lines, None)
        everything = () if first is None else itertools.chain((first,), lines)
        return Response(_chunks(everything), mimetype="application/x-ndjson")

    _add_changes(routes, backend, api)
    return routes


def _add_changes(routes: Blueprint, backend: Backend, api: Api) -> None:
    """What changes a job that there is. Each may be sent twice; a state that does not allow it is a 409."""

    @routes.post("/<job_id>/cancel")
    @api.describe(_JOB, tag="jobs", problems=OF_A_JOB)
    def cancel(job_id: str) -> Response:
        """Cancel a job: what is not processed yet will not be. Finished images keep their results."""
        return _shown(backend, backend.store.cancel(own_job(backend, job_id).id), 200)

    @routes.post("/<job_id>/retry")
    @api.describe(_ACCEPTED, tag="jobs", problems=(*OF_A_JOB, JobStateError, QueueFullError))
    def retry(job_id: str) -> Response:
        """Try the failed images of a job that is over again, as a new job. Asked again, the answer is the same job."""
        return _accepted(backend, backend.intake.retry(own_job(backend, job_id).id))

    @routes.delete("/<job_id>")
    @api.describe(Answer(status=204), tag="jobs", problems=(JobNotFoundError, JobStateError, StoreUnavailableError))
    def delete(job_id: str) -> Response:
        """Delete a job that is over, with its images and results."""
        with suppress(JobGoneError):
            backend.store.delete(own_job(backend, job_id).id)
        return Response(status=204)


def _accepted(backend: Backend, job: Job) -> Response:
    response = _shown(backend, job, 202)
    response.headers["Location"] = _urls(job.id).self
    response.headers["Retry-After"] = "1"
    return response


def _shown(backend: Backend, job: Job, status: int) -> Response:
    document = job_document(job, _urls(job.id), backend.load.estimate(job))
    return Response(document.to_json(), status, mimetype="application/json")


def _chunks(lines: Iterable[str]) -> Iterator[str]:
    """Lines in pieces of some 64 kB: a chunk of the transfer encoding for each line would cost more than the lines."""
    piece: list[str] = []
    size = 0
    for line in lines:
        piece += (line, "\n")
        size += len(line)
        if size >= _CHUNK_CHARS:
            yield "".join(piece)
            piece, size = [], 0
    if piece:
        yield "".join(piece)


def _urls(job_id: str) -> UrlsDocument:
    return UrlsDocument(
        self=url_for("jobs.show", job_id=job_id, _external=True),
        results=url_for("jobs.results", job_id=job_id, _external=True),
        cancel=url_for("jobs.cancel", job_id=job_id, _external=True),
        retry=url_for("jobs.retry", job_id=job_id, _external=True),
    )
