"""The routes of jobs: submit, look, read results."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from flask import Blueprint, Response, request, url_for

from api.documents import UrlsDocument, job_document
from api.errors import InvalidRequestError, UnsupportedMediaTypeError
from api.options import FolderJob, OptionFields, checked
from api.uploads import read_upload
from api.waiting import WaitingRoom, asked_wait
from workers.intake import Terms
from workers.jobs import Job
from workers.settings import Settings

if TYPE_CHECKING:
    from workers.backend import Backend

MAX_JSON_BYTES = 1_000_000
_CHUNK_CHARS = 65_536
_MOST_KEY_CHARS = 255


def job_routes(settings: Settings, backend: Backend) -> Blueprint:
    """The routes below /v1/jobs."""
    routes = Blueprint("jobs", __name__, url_prefix="/v1/jobs")
    room = WaitingRoom()

    @routes.post("")
    def submit() -> Response:
        if request.mimetype == "multipart/form-data":
            job = _submit_files(settings, backend)
        elif request.mimetype == "application/json":
            job = _submit_folder(settings, backend)
        else:
            raise UnsupportedMediaTypeError(
                "Send multipart/form-data with files in the field `images`, or application/json with a `folder`."
            )
        return _accepted(backend, job)

    @routes.get("/<job_id>")
    def show(job_id: str) -> Response:
        asked, preferred = asked_wait(request.args.get("wait"), request.headers.get("Prefer"))
        with room.place(min(asked, settings.max_wait_seconds)) as seconds:
            job = backend.store.wait(job_id, seconds) if seconds else backend.store.get(job_id)
        response = _shown(backend, job, 200)
        if preferred and seconds == asked:
            response.headers["Preference-Applied"] = f"wait={asked:.0f}"
        return response

    @routes.get("/<job_id>/results")
    def results(job_id: str) -> Response:
        job = backend.store.get(job_id)
        lines = backend.store.results(job_id, _start(request.args.get("start"), job.total))
        # The first line is fetched here, so that a store that is down is still a 503 and not a broken stream.
        first = next(lines, None)
        everything = () if first is None else itertools.chain((first,), lines)
        return Response(_chunks(everything), mimetype="application/x-ndjson")

    _add_changes(routes, backend)
    return routes


def _add_changes(routes: Blueprint, backend: Backend) -> None:
    """What changes a job that there is. Each may be sent twice; a state that does not allow it is a 409."""

    @routes.post("/<job_id>/cancel")
    def cancel(job_id: str) -> Response:
        return _shown(backend, backend.store.cancel(job_id), 200)

    @routes.post("/<job_id>/retry")
    def retry(job_id: str) -> Response:
        return _accepted(backend, backend.intake.retry(job_id))

    @routes.delete("/<job_id>")
    def delete(job_id: str) -> Response:
        backend.store.delete(job_id)
        return Response(status=204)


def _accepted(backend: Backend, job: Job) -> Response:
    response = _shown(backend, job, 202)
    response.headers["Location"] = _urls(job.id)["self"]
    response.headers["Retry-After"] = "1"
    return response


def _shown(backend: Backend, job: Job, status: int) -> Response:
    document = job_document(job, _urls(job.id), backend.load.estimate(job))
    return Response(json.dumps(document) + "\n", status, mimetype="application/json")


def _submit_folder(settings: Settings, backend: Backend) -> Job:
    request.max_content_length = MAX_JSON_BYTES
    try:
        body = json.loads(request.get_data())
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"The body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise InvalidRequestError("The body must be a JSON object.")
    asked = checked(FolderJob, body, strict=True)
    return backend.intake.submit_folder(asked.folder, asked.job_options(settings.model), _terms(asked))


def _submit_files(settings: Settings, backend: Backend) -> Job:
    files, fields = read_upload(request, settings.max_job_images)
    asked = checked(OptionFields, fields, strict=False)
    return backend.intake.submit_files(files, asked.job_options(settings.model), _terms(asked))


def _terms(asked: OptionFields) -> Terms:
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > _MOST_KEY_CHARS:
        raise InvalidRequestError(f"Idempotency-Key: give at most {_MOST_KEY_CHARS} characters.")
    return Terms(deadline_seconds=asked.deadline_seconds, idempotency_key=key)


def _start(text: str | None, total: int) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 9) or int(text) > total:
        raise InvalidRequestError(f"start: give the index of an image of the job, 0 to {total}.")
    return int(text)


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
    return {
        "self": url_for("jobs.show", job_id=job_id, _external=True),
        "results": url_for("jobs.results", job_id=job_id, _external=True),
        "cancel": url_for("jobs.cancel", job_id=job_id, _external=True),
        "retry": url_for("jobs.retry", job_id=job_id, _external=True),
    }
