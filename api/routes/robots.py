"""The call of Baidu's robots: a photo comes in, and the response has its detections, or one of Baidu's errors."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, cast

import structlog
from flask import Blueprint, Response, g, request
from werkzeug.exceptions import HTTPException

from api.access.caller import by_caller
from api.access.refusals import RateLimitedError, RobotError
from api.access.scopes import ROBOTS
from api.http.errors import HostNotAllowedError, InvalidRequestError, RequestTooLargeError
from api.http.waiting import WaitingRoom
from api.openapi.declaration import Api
from api.openapi.responses import document_answer
from api.requests.json_bodies import read_json
from api.requests.spool import UploadRequest
from api.schema.robot import MAX_BODY_BYTES, RobotAnswerDocument, RobotQuery, RobotRequest, image_of, request_id_of
from serving.errors import ShelflineError
from workers.backend import Backend
from workers.errors import ImageError
from workers.jobs.job import Job
from workers.jobs.options import JobOptions
from workers.jobs.submission import Submission
from workers.results import baidu
from workers.results.baidu import BaiduCode, baidu_body, baidu_error, code_of
from workers.results.labels import Labels
from workers.robots import Robot
from workers.settings import Settings
from workers.sources.origins.simple import Item, Items

_MIN_SECONDS: Final = 0.001
_MAX_CONTRACTS: Final = 64
# The first match counts. An error without a match is UNAVAILABLE if it is retryable, else INTERNAL.
_CODE_OF_ERROR: Final[tuple[tuple[type[ShelflineError], BaiduCode], ...]] = (
    (RateLimitedError, baidu.LIMITED),
    (HostNotAllowedError, baidu.WRONG_TOKEN),
    (RequestTooLargeError, baidu.WRONG_SIZE),
    (InvalidRequestError, baidu.INVALID),
)

_log = structlog.get_logger(__name__)


def robot_routes(settings: Settings, backend: Backend, api: Api, room: WaitingRoom) -> Blueprint:
    """Return one route for each robot of the settings. Robots wait in `room`, like the callers of long polls."""
    routes = Blueprint(ROBOTS, __name__)
    routes.register_error_handler(ShelflineError, _known_error)
    routes.register_error_handler(HTTPException, _http_error)
    routes.register_error_handler(Exception, _unexpected_error)
    answerer = _Answerer(settings, backend, room)
    for number, robot in enumerate(settings.robots, 1):
        name = "predict" if number == 1 else f"predict_{number}"
        described = api.describe(
            document_answer(RobotAnswerDocument), tag=ROBOTS, query=RobotQuery, json=RobotRequest, foreign=True
        )
        view = described(_route(answerer, robot, name))
        routes.add_url_rule(robot.path, name, view, methods=["POST"])
    return routes


def _route(answerer: _Answerer, robot: Robot, name: str) -> Callable[[], Response]:
    def predict() -> Response:
        """Detect in the photo of a Baidu robot.

        The status is always 200. The body has the detections, or one of Baidu's errors in `error_code`.
        """
        return answerer.answer(robot)

    predict.__name__ = name
    return predict


@dataclass
class _Answerer:
    """Answers robots. Each photo is a job of one image, processed in batches with the images of other jobs."""

    settings: Settings
    backend: Backend
    room: WaitingRoom
    labels: dict[tuple[JobOptions, int], Labels] = field(default_factory=dict)

    def answer(self, robot: Robot) -> Response:
        """Return the response to a robot's request; raises RobotError, and what reading and submitting raises."""
        due = time.monotonic() + min(robot.deadline_seconds, self.settings.max_wait_seconds)
        options = robot.options(self.settings.model)
        with self.room.place(due - time.monotonic()) as granted:
            if not granted:
                raise RobotError(baidu.UNAVAILABLE, "Too many callers are waiting: send the photo again later.")
            job = self._submit(options, due)
            line = self.backend.store.wait_for_result(job.id, due - time.monotonic())
        if line is None:
            raise RobotError(baidu.UNAVAILABLE, f"The job {job.id} was not done in time: send the photo again.")
        result = json.loads(line)
        if result["state"] != "succeeded":
            error = result.get("error") or {"code": "", "detail": "The job was canceled."}
            raise RobotError(code_of(error["code"]), f"{error['detail']} (job {job.id})")
        labels = self._labels_of(options, result)
        return _answered(baidu_body(result, g.robot_request_id, labels))

    def _submit(self, options: JobOptions, due: float) -> Job:
        """Make a job of the image in the request. The memory of the body is free when this returns."""
        body = cast("UploadRequest", request)
        body.check_encoding()
        fields = read_json(body, self.settings, MAX_BODY_BYTES)
        g.robot_request_id = request_id_of(fields)
        item = Item(image=image_of(fields), custom_id=g.robot_request_id)
        del fields
        left = max(due - time.monotonic(), _MIN_SECONDS)
        self.backend.capacity.check_wait(options.target, left)
        job = self.backend.intake.submit(Items([item]), options, by_caller(Submission(deadline_seconds=left)))
        body.release()
        return job

    def _labels_of(self, options: JobOptions, result: Mapping[str, Any]) -> Labels:
        """Return the meaning of a result's labels, cached, because the contract of a version never changes."""
        version = int(result["model_version"])
        labels = self.labels.get((options, version))
        if labels is None:
            contracts = self.backend.catalog.contracts(options.model, [version])
            labels = Labels(contracts, options.min_score)
            if contracts:
                if len(self.labels) >= _MAX_CONTRACTS:
                    self.labels.clear()
                self.labels[options, version] = labels
        return labels


def _known_error(error: ShelflineError) -> Response:
    code = _code_of(error)
    if code == baidu.INTERNAL:
        return _unexpected_error(error)
    return _refused(code, str(error), str(error.__cause__ or ""))


def _http_error(error: HTTPException) -> Response:
    if error.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return _refused(baidu.WRONG_SIZE, "The body is too large.")
    if error.code is not None and error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _refused(baidu.INVALID, error.description or "")
    return _unexpected_error(error)


def _unexpected_error(error: Exception) -> Response:
    _log.error("robot not answered", path=request.path, exc_info=error)
    return _answered(baidu_error(baidu.INTERNAL, g.get("robot_request_id", "")))


def _refused(code: BaiduCode, detail: str, cause: str = "") -> Response:
    """Answer with one of Baidu's errors. Their texts are fixed, so the log says what was wrong."""
    _log.warning("robot refused", path=request.path, error_code=code[0], detail=detail, cause=cause)
    return _answered(baidu_error(code, g.get("robot_request_id", "")))


def _answered(body: Mapping[str, Any]) -> Response:
    return Response(json.dumps(body), mimetype="application/json")


def _code_of(error: ShelflineError) -> BaiduCode:
    """Return Baidu's code for an error that was raised before there was a result."""
    if isinstance(error, RobotError):
        return error.error
    if isinstance(error, ImageError):
        return code_of(error.code)
    otherwise = baidu.UNAVAILABLE if error.retryable else baidu.INTERNAL
    return next((code for kind, code in _CODE_OF_ERROR if isinstance(error, kind)), otherwise)
