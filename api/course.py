"""The course's own call: an image as a form, the picture with its boxes drawn as the answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flask import Blueprint, Response

from api.access import terms_of_caller
from api.answers import Answer
from api.detected import ImageForm
from api.drawing import DrawingBoard
from api.errors import BusyError, SpoolFullError
from api.openapi import Api
from api.synchronous import show_result, submit_one
from api.waiting import WaitingRoom
from workers.errors import (
    DeadlineExceededError,
    ImageDecodeError,
    ImageTooLargeError,
    NoImagesError,
    QueueFullError,
    StoreUnavailableError,
    UnsupportedFormatError,
    WaitTooLongError,
    WorkerCrashedError,
)
from workers.jobs.options import JobOptions
from workers.robots import COURSE_PATH
from workers.settings import Settings

if TYPE_CHECKING:
    from workers.backend import Backend

_PNG = "image/png"
_PROBLEMS = (
    BusyError,
    DeadlineExceededError,
    ImageDecodeError,
    ImageTooLargeError,
    NoImagesError,
    QueueFullError,
    SpoolFullError,
    StoreUnavailableError,
    UnsupportedFormatError,
    WaitTooLongError,
    WorkerCrashedError,
)


def course_routes(settings: Settings, backend: Backend, api: Api, room: WaitingRoom, board: DrawingBoard) -> Blueprint:
    """The route of the course's page. Its callers wait in `room`, beside those of long-polls."""
    routes = Blueprint("course", __name__)

    @routes.post(COURSE_PATH)
    @api.describe(Answer({_PNG: None}), tag="course", form=ImageForm, problems=_PROBLEMS)
    def predict(form: ImageForm) -> Response:
        """Detect in one image, and answer with the picture.

        The boxes are drawn on it. What `POST /v1/detect` does with `Accept: image/png`, but that an image which is not
        done in time has failed.
        """
        options = JobOptions(settings.model)
        with room.place(min(settings.detect_wait_seconds, settings.max_wait_seconds)) as granted:
            if not granted:
                raise BusyError("As many callers wait as may: ask again.")
            backend.immediate.check_wait(options, granted)
            terms = terms_of_caller(granted)
            job = submit_one(backend.intake, settings, form, options, terms)
            found = backend.immediate.answer(job, granted)
            if found.result is None:
                raise DeadlineExceededError(f"The image was not done within {granted:g} s: send it again.")
            return show_result(backend, settings, board, found.job, json.loads(found.result), _PNG)

    return routes
