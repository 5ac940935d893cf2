"""Baidu's robots call: a photo in, its detections out in the same response, errors as Baidu has them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from flask import Blueprint, Response, g, request
from werkzeug.exceptions import HTTPException

from api.access.caller import new_submission
from api.access.refusals import RateLimitedError, RobotError
from api.access.scopes import ROBOTS
from api.http.errors import HostNotAllowedError, InvalidRequestError, RequestTooLargeError
from api.http.waiting import WaitingRoom
from api.openapi.declaration import Api
from api.openapi.responses import document_answer
from api.requests.spool import UploadRequest
from api.schema.robot import RobotAnswerDocument, RobotQuery, RobotRequest, image_of, read_fields, request_id_of
from serving.errors import ShelflineError
from workers.errors import ImageError
from workers.jobs.job import Job
from workers.jobs.options import JobOptions
from workers.results.baidu import (
    INTERNAL,
    INVALID,
    LIMITED,
    UNAVAILABLE,
    WRONG_SIZE,
    WRONG_TOKEN,
    BaiduCode,
    baidu_body,
    baidu_error,
    code_of,
)
from workers.results.labels import Labels
from workers.robots import Robot
from workers.settings import Settings
from workers.sources.origins.simple import Item, Items

if TYPE_CHECKING:
    from workers.backend import Backend

_LEAST_SECONDS: Final = 0.001
_MOST_CONTRACTS: Final = 64
# The first that fits; what fits none is UNAVAILABLE if it may be over soon, else INTERNAL.
_BY_KIND: Final[tuple[tuple[type[ShelflineError], BaiduCode], ...]] = (
    (RateLimitedError, LIMITED),
    (HostNotAllowedError, WRONG_TOKEN),
    (RequestTooLargeError, WRONG_SIZE),
    (InvalidRequestError, INVALID),
)

_log = structlog.get_logger(__name__)


def robot_routes(settings: Settings, backend: Backend, api: Api, room: WaitingRoom) -> Blueprint:
    """A route for each robot of the settings. They wait in `room`, beside the callers of long-polls."""
    routes = Blueprint(ROBOTS, __name__)
    routes.register_error_handler(ShelflineError, _of_project)
    routes.register_error_handler(HTTPException, _of_http)
    routes.register_error_handler(Exception, _unexpected)
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
        """A Baidu robot sends a photo.

        The answer is always 200: the detections or, in `error_code`, one of Baidu's errors.
        """
        return answerer.answer(robot)

    predict.__name__ = name
    return predict


class _Answerer:
    """Answers robots: each photo is a job of one image, which goes through the model with everyone else's."""

    def __init__(self, settings: Settings, backend: Backend, room: WaitingRoom) -> None:
        self._settings = settings
        self._backend = backend
        self._room = room
        self._labels: dict[tuple[JobOptions, int], Labels] = {}

    def answer(self, robot: Robot) -> Response:
        """The answer to the request of a robot; raises RobotError, and what reading and submitting raises."""
        ends = time.monotonic() + min(robot.deadline_seconds, self._settings.max_wait_seconds)
        options = robot.options(self._settings.model)
        with self._room.place(ends - time.monotonic()) as granted:
            if not granted:
                raise RobotError(UNAVAILABLE, "As many callers wait as may.")
            job = self._submitted(options, ends)
            found = self._backend.store.wait_for_result(job.id, ends - time.monotonic())
        if found is None:
            raise RobotError(UNAVAILABLE, f"The job {job.id} was not done in time.")
        result = json.loads(found)
        if result["state"] != "succeeded":
            error = result.get("error") or {"code": "", "detail": "The job was canceled."}
            raise RobotError(code_of(error["code"]), f"{error['detail']} (job {job.id})")
        labels = self._labels_of(options, result)
        return _answered(baidu_body(result, g.robot_request_id, labels))

    def _submitted(self, options: JobOptions, ends: float) -> Job:
        """A job of the image that was sent. Nothing of the body is held when it returns."""
        body = cast("UploadRequest", request)
        sent = read_fields(body, self._settings)
        g.robot_request_id = request_id_of(sent)
        item = Item(image=image_of(sent), custom_id=g.robot_request_id)
        del sent
        left = max(ends - time.monotonic(), _LEAST_SECONDS)
        self._backend.capacity.check_wait(options.target, left)
        job = self._backend.intake.submit(Items([item]), options, new_submission(left))
        body.release()
        return job

    def _labels_of(self, options: JobOptions, result: Mapping[str, Any]) -> Labels:
        """What the labels of a result mean: a version's contract never changes, so it is asked for once."""
        version = int(result["model_version"])
        found = self._labels.get((options, version))
        if found is None:
            contracts = self._backend.catalog.contracts(options.model, [version])
            found = Labels(contracts, options.min_score)
            if contracts:
                if len(self._labels) >= _MOST_CONTRACTS:
                    self._labels.clear()
                self._labels[options, version] = found
        return found


def _of_project(error: ShelflineError) -> Response:
    said = _code_of(error)
    if said == INTERNAL:
        return _unexpected(error)
    return _refused(said, str(error), str(error.__cause__ or ""))


def _of_http(error: HTTPException) -> Response:
    if error.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return _refused(WRONG_SIZE, "The body is too long.")
    if error.code is not None and error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _refused(INVALID, error.description or "")
    return _unexpected(error)


def _unexpected(error: Exception) -> Response:
    _log.error("robot not answered", path=request.path, exc_info=error)
    return _answered(baidu_error(INTERNAL, g.get("robot_request_id", "")))


def _refused(said: BaiduCode, detail: str, cause: str = "") -> Response:
    """An error of Baidu's; its words are fixed, so the log says what was wrong."""
    _log.warning("robot refused", path=request.path, error_code=said[0], detail=detail, cause=cause)
    return _answered(baidu_error(said, g.get("robot_request_id", "")))


def _answered(body: Mapping[str, Any]) -> Response:
    return Response(json.dumps(body), mimetype="application/json")


def _code_of(error: ShelflineError) -> BaiduCode:
    """Baidu's code for what goes wrong before there is a result."""
    if isinstance(error, RobotError):
        return error.error
    if isinstance(error, ImageError):
        return code_of(error.code)
    otherwise = UNAVAILABLE if error.retryable else INTERNAL
    return next((said for kind, said in _BY_KIND if isinstance(error, kind)), otherwise)
