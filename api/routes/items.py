"""The routes of one image of a job: its result, and the picture with its boxes drawn."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, request

from api.access.caller import own_job
from api.http.answers import tag_of
from api.http.drawing import PICTURES, DrawingBoard, PictureType
from api.http.errors import BusyError, ItemFailedError, ItemNotFinishedError
from api.openapi.common_problems import OF_AN_IMAGE, OF_AN_ITEM
from api.openapi.declaration import Api
from api.openapi.responses import Answer
from api.schema.result_document import ResultDocument
from workers.errors import ImageTooLargeError, ItemNotFoundError
from workers.jobs.job import JobState
from workers.settings import Settings
from workers.sources.original_images import PICTURE_TYPES, image_type

if TYPE_CHECKING:
    from workers.backend import Backend

_DRAWN = "1"  # how pictures are drawn: another number where they would look different


def item_routes(settings: Settings, backend: Backend, api: Api, board: DrawingBoard) -> Blueprint:
    """The routes /v1/jobs/{id}/items/{n} and .../annotated. A result never changes, so answers may be kept."""
    routes = Blueprint("items", __name__, url_prefix="/v1/jobs")

    @routes.get("/<job_id>/items/<int:index>")
    @api.describe(
        Answer({"application/json": ResultDocument}, headers=("ETag",)),
        Answer(status=304),
        tag="jobs",
        problems=(ItemNotFinishedError, *OF_AN_ITEM),
    )
    def item(job_id: str, index: int) -> Response:
        """Show the result of one image of a job, once it has one, whatever is done of the others."""
        response = Response(_line(backend, job_id, index) + "\n", mimetype="application/json")
        return _kept(response, job_id, str(index))

    @routes.get("/<job_id>/items/<int:index>/annotated")
    @api.describe(
        Answer(dict.fromkeys(PICTURES), headers=("ETag",)),
        Answer(status=304),
        tag="jobs",
        problems=(ItemNotFinishedError, *OF_AN_ITEM, BusyError, ItemFailedError, *OF_AN_IMAGE),
    )
    def annotated(job_id: str, index: int) -> Response:
        """Get an image of a job with its boxes drawn: a JPEG, or a PNG where `Accept` prefers that.

        Images of more than 12 megapixels come smaller.
        """
        result: dict[str, Any] = json.loads(_line(backend, job_id, index))
        if result["state"] != "succeeded":
            why = (result.get("error") or {}).get("detail", "Its job was canceled.")
            raise ItemFailedError(f"Image {index} is {result['state']}, so there is nothing to draw. {why}")
        kind = preferred_picture()
        response = _kept(Response(mimetype=kind, headers={"Vary": "Accept"}), job_id, str(index), kind, _DRAWN)
        if response.status_code != 304:
            content = backend.originals.read(job_id, index)
            response.data = board.draw(content, result, kind, settings.max_image_pixels)
        return response

    return routes


def preferred_picture() -> PictureType:
    """The kind of picture that the request's `Accept` prefers; a JPEG where it does not say."""
    found = request.accept_mimetypes.best_match(PICTURES, PICTURES[0])
    return next(kind for kind in PICTURES if kind == found)


def _line(backend: Backend, job_id: str, index: int) -> str:
    job = own_job(backend, job_id)
    if job.state is JobState.ENUMERATING:
        raise ItemNotFinishedError("The job's images are being listed: none has a result yet.")
    if index >= job.total:
        there = f"the images 0 to {job.total - 1}" if job.total else "no images"
        raise ItemNotFoundError(f"The job has {there}: there is no image {index}.")
    line = next(backend.store.results(job_id, index, index + 1), None)
    if line is None:
        raise ItemNotFinishedError(f"Image {index} has no result yet; its job is {job.state.value}.")
    return line


def _kept(response: Response, *parts: str) -> Response:
    """A response that a browser may keep, and ask about; not changed any more where it has it."""
    response.set_etag(tag_of(*parts), weak=True)
    response.headers["Cache-Control"] = "private, max-age=3600"
    response.make_conditional(request)
    return response


_UNKNOWN = "application/octet-stream"


def image_routes(backend: Backend, api: Api) -> Blueprint:
    """The route /v1/jobs/{id}/items/{n}/image."""
    routes = Blueprint("images", __name__, url_prefix="/v1/jobs")

    @routes.get("/<job_id>/items/<int:index>/image")
    @api.describe(
        Answer(dict.fromkeys((*PICTURE_TYPES, _UNKNOWN))),
        tag="jobs",
        problems=(ImageTooLargeError, *OF_AN_ITEM),
    )
    def image(job_id: str, index: int) -> Response:
        """Get an image of a job as it was sent."""
        content = backend.originals.read(own_job(backend, job_id).id, index)
        kind = image_type(content)
        response = Response(content, mimetype=kind or _UNKNOWN)
        # Anyone may have sent it: a browser shows it as a picture, or saves it, and never runs it.
        response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
        response.headers["Content-Disposition"] = "inline" if kind else "attachment"
        response.headers["Cache-Control"] = "private, max-age=3600"
        return response

    return routes
