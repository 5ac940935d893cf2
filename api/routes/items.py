"""The routes of one image of a job: its result, the picture with its boxes drawn, and the image as it was sent."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Response, request

from api.access.caller import own_job
from api.http.answers import tag_of
from api.http.drawing import PICTURES, DrawingBoard
from api.http.errors import BusyError, ItemFailedError, ItemNotFinishedError
from api.openapi.common_problems import OF_AN_IMAGE, OF_AN_ITEM
from api.openapi.declaration import Api
from api.openapi.responses import Answer, document_answer
from api.schema.result_document import ResultDocument
from workers.backend import Backend
from workers.errors import ImageTooLargeError, ItemNotFoundError
from workers.jobs.job import JobState
from workers.sources.original_images import PICTURE_TYPES, image_type

_DRAWING_VERSION = "1"  # part of the ETag; must change when pictures are drawn differently
_CACHING = "private, max-age=3600"  # results and images of a job never change
_UNKNOWN_TYPE = "application/octet-stream"


def item_routes(backend: Backend, api: Api, board: DrawingBoard) -> Blueprint:
    """Return the routes /v1/jobs/{id}/items/{n} and .../annotated."""
    routes = Blueprint("items", __name__, url_prefix="/v1/jobs")

    @routes.get("/<job_id>/items/<int:index>")
    @api.describe(
        document_answer(ResultDocument, headers=("ETag",)), tag="jobs", problems=(ItemNotFinishedError, *OF_AN_ITEM)
    )
    def item(job_id: str, index: int) -> Response:
        """Show the result of one image of a job, as soon as that image is finished."""
        response = Response(_result_line(backend, job_id, index) + "\n", mimetype="application/json")
        return _cacheable(response, job_id, str(index))

    @routes.get("/<job_id>/items/<int:index>/annotated")
    @api.describe(
        Answer(dict.fromkeys(PICTURES), headers=("ETag",)),
        tag="jobs",
        problems=(ItemNotFinishedError, *OF_AN_ITEM, BusyError, ItemFailedError, *OF_AN_IMAGE),
    )
    def annotated(job_id: str, index: int) -> Response:
        """Get an image of a job with its boxes drawn: a JPEG, or a PNG if `Accept` prefers that.

        Images of more than 12 megapixels are reduced to that.
        """
        result: dict[str, Any] = json.loads(_result_line(backend, job_id, index))
        if result["state"] != "succeeded":
            reason = (result.get("error") or {}).get("detail", "Its job was canceled.")
            raise ItemFailedError(f"Image {index} is {result['state']}, so there is nothing to draw. {reason}")
        preferred = request.accept_mimetypes.best_match(PICTURES, PICTURES[0])
        kind = next(picture for picture in PICTURES if picture == preferred)
        response = Response(mimetype=kind, headers={"Vary": "Accept"})
        response = _cacheable(response, job_id, str(index), kind, _DRAWING_VERSION)
        if response.status_code != 304:
            content = backend.originals.read(job_id, index)
            response.data = board.draw(content, result, kind)
        return response

    return routes


def image_routes(backend: Backend, api: Api) -> Blueprint:
    """Return the route /v1/jobs/{id}/items/{n}/image."""
    routes = Blueprint("images", __name__, url_prefix="/v1/jobs")

    @routes.get("/<job_id>/items/<int:index>/image")
    @api.describe(
        Answer(dict.fromkeys((*PICTURE_TYPES, _UNKNOWN_TYPE))), tag="jobs", problems=(ImageTooLargeError, *OF_AN_ITEM)
    )
    def image(job_id: str, index: int) -> Response:
        """Get an image of a job as it was sent."""
        content = backend.originals.read(own_job(backend, job_id).id, index)
        kind = image_type(content)
        response = Response(content, mimetype=kind or _UNKNOWN_TYPE)
        # Anyone may have sent it, so a browser must show it as a picture or save it, and never run it.
        response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
        response.headers["Content-Disposition"] = "inline" if kind else "attachment"
        response.headers["Cache-Control"] = _CACHING
        return response

    return routes


def _result_line(backend: Backend, job_id: str, index: int) -> str:
    """Return the result (JSON) of an image of the caller's; raises ItemNotFinishedError, ItemNotFoundError."""
    job = own_job(backend, job_id)
    if job.state is JobState.ENUMERATING:
        raise ItemNotFinishedError("The images of the job are still being listed: ask again later.")
    if index >= job.total:
        images = f"the images 0 to {job.total - 1}" if job.total else "no images"
        raise ItemNotFoundError(f"The job has {images}: there is no image {index}.")
    line = next(backend.store.results(job_id, index, index + 1), None)
    if line is None:
        raise ItemNotFinishedError(f"Image {index} has no result yet, its job is {job.state.value}: ask again later.")
    return line


def _cacheable(response: Response, *facts: str) -> Response:
    """Let browsers cache a response that depends only on these facts; it becomes a 304 if the caller has it."""
    response.set_etag(tag_of(*facts), weak=True)
    response.headers["Cache-Control"] = _CACHING
    response.make_conditional(request)
    return response
