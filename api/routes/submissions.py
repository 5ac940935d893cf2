"""The route that takes jobs, in all their forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask import Blueprint, Response, request

from api.access.caller import new_submission
from api.http.answers import accepted
from api.http.errors import UnprocessableError
from api.http.waiting import WaitingRoom, requested_wait
from api.openapi.common_problems import OF_A_SUBMISSION, OF_OPTIONS, OF_OUTPUT, OF_SOURCES
from api.openapi.declaration import Api
from api.openapi.responses import document_answer
from api.requests.spool import UploadRequest
from api.schema.submission import ZIP_TYPES, ArchiveQuery, JobHeaders, JsonJob, UploadJob
from workers.jobs.document import JobDocument
from workers.jobs.job import Job
from workers.settings import Settings
from workers.sources.origins.archive import Archive
from workers.sources.origins.manifest_file import Manifest
from workers.sources.origins.named import NamedSource
from workers.sources.origins.origin import Origin
from workers.sources.origins.simple import Files, Items

if TYPE_CHECKING:
    from workers.backend import Backend

_HEADERS = ("Location", "Preference-Applied", "Retry-After")


def submission_routes(settings: Settings, backend: Backend, api: Api, room: WaitingRoom) -> Blueprint:
    """The route POST /v1/jobs."""
    routes = Blueprint("submissions", __name__, url_prefix="/v1/jobs")

    @routes.post("")
    @api.describe(
        document_answer(JobDocument, headers=_HEADERS),
        document_answer(JobDocument, 202, headers=_HEADERS),
        tag="jobs",
        query=ArchiveQuery,
        headers=JobHeaders,
        json=JsonJob,
        form=UploadJob,
        raw=ZIP_TYPES,
        problems=(*OF_A_SUBMISSION, *OF_OPTIONS, *OF_SOURCES, *OF_OUTPUT),
    )
    def submit(query: ArchiveQuery, headers: JobHeaders, json: JsonJob | None, form: UploadJob | None) -> Response:
        """Submit a job.

        The images are uploaded as multipart/form-data or as a zip archive, or the server is told where they are. A
        folder, a source or a manifest of the server's is accepted at once and listed then: until that is done the job
        is `enumerating`, and its total null; where it cannot be listed it fails, and its `error` says why. The
        options stand in the body; of an archive that is the body itself, in the query and in headers. The answer is 200
        only where `Prefer: wait=` asked for the end, and the job ended in time.
        """
        told = json or form
        if told and (query.model_fields_set or headers.model_fields_set & {"metadata", "webhook"}):
            raise UnprocessableError(
                "Options in the query and in headers are for a zip archive as the body: put them into the body."
            )
        asked, more = told or query, told or headers
        options = asked.job_options(settings.model)
        webhook = more.webhook.webhook if more.webhook else None
        output = asked.output(settings.max_annotated)
        terms = new_submission(asked.deadline_seconds, headers.idempotency_key, more.metadata, webhook, output)
        if json:
            origin = _named_origin(json)
        elif form:
            origin = _uploaded_origin(form, settings)
        else:
            origin = Archive(cast("UploadRequest", request).spooled_body(), settings)
        job = backend.intake.submit(origin, options, terms)
        return _waited_for(job, headers.prefer)

    def _waited_for(job: Job, prefer: str) -> Response:
        asked, _ = requested_wait(None, prefer)
        with room.place(min(asked, settings.max_wait_seconds)) as seconds:
            found = backend.store.wait(job.id, seconds) if seconds else job
        response = accepted(backend, found)
        if seconds and seconds == asked:
            response.headers["Preference-Applied"] = f"wait={asked:.0f}"
        if seconds and found.state.terminal:
            response.status_code = 200
            del response.headers["Retry-After"]
        return response

    return routes


def _named_origin(asked: JsonJob) -> Origin | NamedSource:
    if asked.folder is not None:
        return NamedSource("folder", asked.folder, asked.selection)
    if asked.source is not None:
        return NamedSource("location", asked.source, asked.selection)
    if asked.manifest is not None:
        return NamedSource("manifest", asked.manifest, asked.selection)
    return Items([item.item for item in asked.items or ()])


def _uploaded_origin(asked: UploadJob, settings: Settings) -> Origin | NamedSource:
    if asked.archive:
        return Archive(asked.archive[0][1], settings)
    if asked.manifest:
        return Manifest(asked.manifest[0][1], settings)
    return Files(asked.images or ())
