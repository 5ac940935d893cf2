"""The route of a job's images as they were sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response

from api.access import own_job
from api.answers import Answer
from api.openapi import Api
from workers.errors import (
    ImageTooLargeError,
    ItemNotFoundError,
    JobGoneError,
    JobNotFoundError,
    StoreUnavailableError,
)
from workers.sources.original_images import PICTURE_TYPES, image_type

if TYPE_CHECKING:
    from workers.backend import Backend

_UNKNOWN = "application/octet-stream"


def image_routes(backend: Backend, api: Api) -> Blueprint:
    """The route /v1/jobs/{id}/items/{n}/image."""
    routes = Blueprint("images", __name__, url_prefix="/v1/jobs")

    @routes.get("/<job_id>/items/<int:index>/image")
    @api.describe(
        Answer(dict.fromkeys((*PICTURE_TYPES, _UNKNOWN))),
        tag="jobs",
        problems=(
            ImageTooLargeError,
            ItemNotFoundError,
            JobGoneError,
            JobNotFoundError,
            StoreUnavailableError,
        ),
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
