"""Synchronous detection: one image comes in, and the response has its detections. `POST /v1/detect`, and a form upload.

Each image becomes a job of its own, in the same queue as all other jobs.
"""

from __future__ import annotations

import json as json_format
from typing import cast

from flask import Blueprint, Response, request

from api.access.caller import by_caller
from api.http.answers import accepted, job_urls
from api.http.drawing import PICTURES, DrawingBoard, PictureType
from api.http.errors import BusyError, InvalidRequestError, NotAcceptableError, UnprocessableError
from api.http.problems import problem
from api.http.waiting import WaitingRoom, requested_wait
from api.openapi.common_problems import OF_A_SUBMISSION, OF_A_SYNCHRONOUS_CALL, OF_OPTIONS
from api.openapi.declaration import Api
from api.openapi.responses import Answer, document_answer
from api.requests.spool import UploadRequest
from api.schema.detection import DetectedDocument, DetectForm, DetectHeaders, DetectJson, DetectQuery, ImageForm
from workers import errors
from workers.backend import Backend
from workers.jobs.document import JobDocument
from workers.jobs.job import Job
from workers.jobs.options import JobOptions
from workers.jobs.submission import Submission
from workers.robots import FORM_UPLOAD_PATH
from workers.settings import Settings
from workers.sources.intake import Intake
from workers.sources.origins.simple import Files, Items

_JSON = "application/json"
_PNG: PictureType = "image/png"
_RAW_TYPES = ("image/*", "application/octet-stream")
_RAW_NAME = "image"
_PROBLEMS = (
    *OF_A_SYNCHRONOUS_CALL,
    *OF_A_SUBMISSION,
    *OF_OPTIONS,
    errors.FetchBlockedError,
    errors.FetchFailedError,
    errors.ImageMissingError,
    errors.ItemNotFoundError,
    errors.JobStateError,
    NotAcceptableError,
)


def synchronous_routes(
    settings: Settings, backend: Backend, api: Api, room: WaitingRoom, board: DrawingBoard
) -> Blueprint:
    """Return the route /v1/detect. Its callers wait in `room`, like those of long polls."""
    routes = Blueprint("synchronous", __name__)

    @routes.post("/v1/detect")
    @api.describe(
        Answer({_JSON: DetectedDocument, **dict.fromkeys(PICTURES)}, headers=("Preference-Applied",)),
        document_answer(JobDocument, 202, headers=("Location", "Retry-After")),
        tag="detect",
        query=DetectQuery,
        headers=DetectHeaders,
        json=DetectJson,
        form=DetectForm,
        raw=_RAW_TYPES,
        problems=_PROBLEMS,
    )
    def detect(
        query: DetectQuery, headers: DetectHeaders, json: DetectJson | None, form: DetectForm | None
    ) -> Response:
        """Detect in one image, and wait for the result.

        The image is processed as a job of its own, in batches with the images of other jobs. If it is not done in time,
        the answer is 202 with the job, which goes on. If the image fails, the answer is its problem.
        """
        picture = _accepted_picture()
        image = json or form or query
        if image is not query and query.model_fields_set - {"wait"}:
            raise UnprocessableError("Options in the query are for an image as the body: put them into the body.")
        options = image.job_options(settings.model)
        submission = Submission(deadline_seconds=image.deadline_seconds, idempotency_key=headers.idempotency_key)
        wait, preferred = requested_wait(query.wait, headers.prefer, settings.detect_wait_seconds)
        with room.place(min(wait, settings.max_wait_seconds)) as granted:
            if granted:
                backend.capacity.check_wait(options.target, granted)
            job = _submit(backend.intake, settings, image, options, submission)
            job, result = backend.store.wait_for_one(job, granted)
            if result is None:
                return accepted(backend, job)
            response = _result_response(backend, board, job, result, picture)
        if preferred and granted == wait:
            response.headers["Preference-Applied"] = f"wait={wait:.0f}"
        return response

    return routes


def form_upload_routes(
    settings: Settings, backend: Backend, api: Api, room: WaitingRoom, board: DrawingBoard
) -> Blueprint:
    """Return the route of the form upload. Its callers wait in `room`, like those of long polls."""
    routes = Blueprint("course", __name__)

    @routes.post(FORM_UPLOAD_PATH)
    @api.describe(
        Answer({_PNG: None}), tag="course", form=ImageForm, problems=(*OF_A_SYNCHRONOUS_CALL, *OF_A_SUBMISSION)
    )
    def predict(form: ImageForm) -> Response:
        """Detect in one image, and answer with the picture with its boxes drawn.

        This is `POST /v1/detect` with `Accept: image/png`, except that an image that is not done in time fails.
        """
        options = JobOptions(settings.model)
        with room.place(min(settings.detect_wait_seconds, settings.max_wait_seconds)) as granted:
            if not granted:
                raise BusyError("Too many callers are waiting: ask again later.")
            backend.capacity.check_wait(options.target, granted)
            job = _submit(backend.intake, settings, form, options, Submission(deadline_seconds=granted))
            job, result = backend.store.wait_for_one(job, granted)
            if result is None:
                raise errors.DeadlineExceededError(f"The image was not done within {granted:g} s: send it again.")
            return _result_response(backend, board, job, result, _PNG)

    return routes


def _accepted_picture() -> PictureType | None:
    """Return the type of picture that the request's `Accept` prefers, None for JSON; raises NotAcceptableError."""
    types = (_JSON, *PICTURES)
    preferred = request.accept_mimetypes.best_match(types) if request.accept_mimetypes else _JSON
    if preferred is None:
        raise NotAcceptableError(f"Accept: this call answers with one of {', '.join(types)}.")
    return next((picture for picture in PICTURES if picture == preferred), None)


def _submit(
    intake: Intake,
    settings: Settings,
    image: DetectJson | ImageForm | DetectQuery,
    options: JobOptions,
    submission: Submission,
) -> Job:
    """Make a job of the image. Raises what the intake raises, and InvalidRequestError for more than one image."""
    submission = by_caller(submission)
    if isinstance(image, DetectJson):
        job = intake.submit(Items([image.item]), options, submission)
        cast("UploadRequest", request).release()
        return job
    if isinstance(image, ImageForm):
        if len(image.images) > 1:
            raise InvalidRequestError(
                f"The request has {len(image.images)} images, but this call takes one: send them to POST /v1/jobs."
            )
        return intake.submit(Files(image.images), options, submission)
    request.max_content_length = settings.max_image_bytes
    content = cast("UploadRequest", request).spooled_body()
    return intake.submit(Files([(_RAW_NAME, content)]), options, submission)


def _result_response(
    backend: Backend, board: DrawingBoard, job: Job, line: str, picture: PictureType | None
) -> Response:
    """Return the response with a result (JSON): its picture or document if it succeeded, else its problem."""
    result = json_format.loads(line)
    if result["state"] == "canceled":
        return problem(errors.JobStateError.code, "The job was canceled before its image was done.", job_id=job.id)
    if result["state"] == "failed":
        error = result["error"]
        return problem(error["code"], error["detail"], retryable=error["retryable"], job_id=job.id)
    if picture:
        content = backend.originals.read(job.id, 0)
        return Response(board.draw(content, result, picture), mimetype=picture)
    document = DetectedDocument(**result, job_id=job.id, urls=job_urls(job.id))
    return Response(document.to_json(), mimetype=_JSON)
