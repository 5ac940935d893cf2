"""`POST /v1/detect`: one image in, its detections out, while the caller waits."""

from __future__ import annotations

import json
import json as json_format
from typing import TYPE_CHECKING, Any, cast

from flask import Blueprint, Response, request

from api.access.caller import new_submission
from api.http.answers import accepted, job_urls
from api.http.drawing import PICTURES, DrawingBoard
from api.http.errors import BusyError, InvalidRequestError, NotAcceptableError, UnprocessableError
from api.http.problems import problem
from api.http.waiting import WaitingRoom, requested_wait
from api.openapi.common_problems import OF_A_SUBMISSION, OF_A_SYNCHRONOUS_CALL, OF_OPTIONS
from api.openapi.declaration import Api
from api.openapi.responses import Answer, document_answer
from api.requests.spool import UploadRequest
from api.schema.detection import DetectedDocument, DetectForm, DetectHeaders, DetectJson, DetectQuery, ImageForm
from workers.errors import (
    DeadlineExceededError,
    FetchBlockedError,
    FetchFailedError,
    ImageMissingError,
    ItemNotFoundError,
    JobStateError,
)
from workers.jobs.document import JobDocument
from workers.jobs.job import Job
from workers.jobs.options import JobOptions
from workers.jobs.submission import Submission
from workers.robots import COURSE_PATH
from workers.settings import Settings
from workers.sources.intake import Intake
from workers.sources.origins.simple import Files, Items

if TYPE_CHECKING:
    from workers.backend import Backend

_JSON = "application/json"
_RAW_TYPES = ("image/*", "application/octet-stream")
_RAW_NAME = "image"
_PROBLEMS = (
    *OF_A_SYNCHRONOUS_CALL,
    *OF_A_SUBMISSION,
    *OF_OPTIONS,
    FetchBlockedError,
    FetchFailedError,
    ImageMissingError,
    ItemNotFoundError,
    JobStateError,
    NotAcceptableError,
)


def synchronous_routes(
    settings: Settings, backend: Backend, api: Api, room: WaitingRoom, board: DrawingBoard
) -> Blueprint:
    """The route /v1/detect. Its callers wait in `room`, beside those of long-polls."""
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
        """Detect in one image, and wait for what is found.

        The image is processed as a job of its own, together with everyone else's. If it is not done in time, 202
        names the job, which goes on. An image that fails is answered with its own problem.
        """
        kind = _wanted()
        asked = json or form or query
        if asked is not query and query.model_fields_set - {"wait"}:
            raise UnprocessableError("Options in the query are for an image as the body: put them into the body.")
        options = asked.job_options(settings.model)
        terms = new_submission(asked.deadline_seconds, headers.idempotency_key)
        seconds, preferred = requested_wait(query.wait, headers.prefer, settings.detect_wait_seconds)
        with room.place(min(seconds, settings.max_wait_seconds)) as granted:
            if granted:
                backend.capacity.check_wait(options.target, granted)
            job = submit_one(backend.intake, settings, asked, options, terms)
            job, result = backend.store.wait_for_one(job, granted)
            if result is None:
                return accepted(backend, job)
            response = show_result(backend, settings, board, job, json_format.loads(result), kind)
        if preferred and granted == seconds:
            response.headers["Preference-Applied"] = f"wait={seconds:.0f}"
        return response

    return routes


def submit_one(
    intake: Intake,
    settings: Settings,
    asked: DetectJson | ImageForm | DetectQuery,
    options: JobOptions,
    terms: Submission,
) -> Job:
    """A job of the image, whichever way it came; raises what the intake raises, InvalidRequestError for several."""
    if isinstance(asked, DetectJson):
        job = intake.submit(Items([asked.item]), options, terms)
        cast("UploadRequest", request).release()
        return job
    if isinstance(asked, ImageForm):
        if len(asked.images) > 1:
            raise InvalidRequestError(
                f"{len(asked.images)} images came, and this call takes one: send them as a job, to POST /v1/jobs."
            )
        return intake.submit(Files(asked.images), options, terms)
    request.max_content_length = settings.max_image_bytes
    content = cast("UploadRequest", request).spooled_body()
    return intake.submit(Files([(_RAW_NAME, content)]), options, terms)


def show_result(
    backend: Backend, settings: Settings, board: DrawingBoard, job: Job, result: dict[str, Any], kind: str
) -> Response:
    """The answer to a call whose image is over, as `kind` where it has a result."""
    if result["state"] == "canceled":
        return problem(JobStateError.code, "The job was canceled before its image was done.", job_id=job.id)
    if result["state"] == "failed":
        error = result["error"]
        return problem(error["code"], error["detail"], retryable=error["retryable"], job_id=job.id)
    if picture := next((one for one in PICTURES if one == kind), None):
        content = backend.originals.read(job.id, 0)
        return Response(board.draw(content, result, picture, settings.max_image_pixels), mimetype=picture)
    document = DetectedDocument(**result, job_id=job.id, urls=job_urls(job.id))
    return Response(document.to_json(), mimetype=_JSON)


def _wanted() -> str:
    """The media type to answer with; raises NotAcceptableError."""
    kinds = (_JSON, *PICTURES)
    kind = request.accept_mimetypes.best_match(kinds) if request.accept_mimetypes else _JSON
    if kind is None:
        raise NotAcceptableError(f"Accept: this call answers with {', '.join(kinds)}.")
    return kind


_PNG = "image/png"


def course_routes(settings: Settings, backend: Backend, api: Api, room: WaitingRoom, board: DrawingBoard) -> Blueprint:
    """The route of the course's page. Its callers wait in `room`, beside those of long-polls."""
    routes = Blueprint("course", __name__)

    @routes.post(COURSE_PATH)
    @api.describe(
        Answer({_PNG: None}), tag="course", form=ImageForm, problems=(*OF_A_SYNCHRONOUS_CALL, *OF_A_SUBMISSION)
    )
    def predict(form: ImageForm) -> Response:
        """Detect in one image, and answer with the picture.

        The boxes are drawn on it. What `POST /v1/detect` does with `Accept: image/png`, but that an image which is not
        done in time has failed.
        """
        options = JobOptions(settings.model)
        with room.place(min(settings.detect_wait_seconds, settings.max_wait_seconds)) as granted:
            if not granted:
                raise BusyError("As many callers wait as may: ask again.")
            backend.capacity.check_wait(options.target, granted)
            terms = new_submission(granted)
            job = submit_one(backend.intake, settings, form, options, terms)
            job, result = backend.store.wait_for_one(job, granted)
            if result is None:
                raise DeadlineExceededError(f"The image was not done within {granted:g} s: send it again.")
            return show_result(backend, settings, board, job, json.loads(result), _PNG)

    return routes
