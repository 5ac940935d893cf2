"""The route that accepts jobs: as JSON, as an upload, or as a zip archive."""

from __future__ import annotations

from typing import cast

from flask import Blueprint, Response, request

from api.access.caller import by_caller
from api.http.answers import accepted
from api.http.errors import UnprocessableError
from api.http.waiting import WaitingRoom, requested_wait
from api.openapi.common_problems import OF_A_SUBMISSION, OF_OPTIONS, OF_OUTPUT, OF_SOURCES
from api.openapi.declaration import Api
from api.openapi.responses import document_answer
from api.requests.spool import UploadRequest
from api.schema.submission import ZIP_TYPES, JobFields, JobHeaders, JsonJob, UploadJob
from workers.backend import Backend
from workers.errors import OutboundBlockedError
from workers.jobs.document import JobDocument
from workers.jobs.submission import Submission
from workers.settings import Settings
from workers.sources.origins.archive import Archive
from workers.sources.origins.manifest_file import Manifest
from workers.sources.origins.named import NamedSource
from workers.sources.origins.origin import Origin
from workers.sources.origins.simple import Files, Items

_HEADERS = ("Location", "Preference-Applied", "Retry-After")


def submission_routes(settings: Settings, backend: Backend, api: Api, room: WaitingRoom) -> Blueprint:
    """Return the route POST /v1/jobs. Callers that wait for the end of a job wait in `room`."""
    routes = Blueprint("submissions", __name__, url_prefix="/v1/jobs")

    @routes.post("")
    @api.describe(
        document_answer(JobDocument, headers=_HEADERS),
        document_answer(JobDocument, 202, headers=_HEADERS),
        tag="jobs",
        query=JobFields,
        headers=JobHeaders,
        json=JsonJob,
        form=UploadJob,
        raw=ZIP_TYPES,
        problems=(*OF_A_SUBMISSION, *OF_OPTIONS, *OF_SOURCES, *OF_OUTPUT, OutboundBlockedError),
    )
    def submit(query: JobFields, headers: JobHeaders, json: JsonJob | None, form: UploadJob | None) -> Response:
        """Submit a job.

        Upload the images as multipart/form-data or as a zip archive, or say where the server finds them. A folder, a
        source or a manifest on the server is accepted at once and listed afterwards: until then the job is
        `enumerating` and its total is null; if the listing fails, the job fails and its `error` says why. Options stand
        in the body; if the body is a zip archive, they stand in the query and in headers. The answer is 200 only if
        `Prefer: wait=` asked to wait and the job ended in time.
        """
        body = json or form
        if body and (query.model_fields_set or headers.model_fields_set & {"metadata", "webhook"}):
            raise UnprocessableError(
                "Options in the query and in headers are for a zip archive as the body: put them into the body."
            )
        fields, extras = body or query, body or headers
        options = fields.job_options(settings.model)
        submission = Submission(
            deadline_seconds=fields.deadline_seconds,
            idempotency_key=headers.idempotency_key,
            metadata=extras.metadata,
            webhook=extras.webhook.webhook if extras.webhook else None,
            output=fields.output(settings.max_annotated),
        )
        if json:
            origin = _named_origin(json)
        elif form:
            origin = _uploaded_origin(form, settings)
        else:
            origin = Archive(cast("UploadRequest", request).spooled_body(), settings)
        job = backend.intake.submit(origin, options, by_caller(submission))
        wait, _ = requested_wait(None, headers.prefer)
        with room.place(min(wait, settings.max_wait_seconds)) as granted:
            job = backend.store.wait(job.id, granted) if granted else job
        response = accepted(backend, job)
        if granted and granted == wait:
            response.headers["Preference-Applied"] = f"wait={wait:.0f}"
        if granted and job.state.terminal:
            response.status_code = 200
            del response.headers["Retry-After"]
        return response

    return routes


def _named_origin(job: JsonJob) -> Origin | NamedSource:
    if job.folder is not None:
        return NamedSource("folder", job.folder, job.selection)
    if job.source is not None:
        return NamedSource("location", job.source, job.selection)
    if job.manifest is not None:
        return NamedSource("manifest", job.manifest, job.selection)
    return Items([item.item for item in job.items or ()])


def _uploaded_origin(job: UploadJob, settings: Settings) -> Origin | NamedSource:
    if job.archive:
        return Archive(job.archive[0][1], settings)
    if job.manifest:
        return Manifest(job.manifest[0][1], settings)
    return Files(job.images or ())
