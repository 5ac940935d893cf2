"""What a robot is answered: its detections, or one of Baidu's errors, whatever is wrong."""

from __future__ import annotations

import base64
import io
import json
from typing import Any, NoReturn
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from pydantic import SecretStr
from werkzeug.test import TestResponse

from api.app import create_app
from api.http.waiting import WaitingRoom
from api.schema.robot import MAX_IMAGE_BYTES
from tests.support.models import tiny_contract
from tests.unit.api.conftest import Api, InstantWorker, all_jobs, deadline_seconds, stored_images
from workers.backend import Backend
from workers.errors import (
    ImageDecodeError,
    JobStateError,
    QueueFullError,
    StoreUnavailableError,
    WaitTooLongError,
)
from workers.robots import FORM_UPLOAD_PATH, RESERVED, Robot
from workers.settings import Settings
from workers.store.catalog import Published

PATH = "/api/v3/prediction/commodity"
ACCESS = "a-token-that-nobody-guesses"
RESULT: dict[str, Any] = {
    "index": 0,
    "name": "item-0",
    "state": "succeeded",
    "width": 40,
    "height": 30,
    "model": "default",
    "model_version": 3,
    "detections": [{"label": "product-2", "score": 0.996184}, {"label": "class 77", "score": 0.5}],
}


def picture(width: int = 40, height: int = 30, kind: str = "JPEG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(out, kind)
    return out.getvalue()


def body(content: bytes = b"", **more: Any) -> dict[str, Any]:
    return {"requestId": "r-1", "image": base64.b64encode(content or picture()).decode(), **more}


def send(http: FlaskClient, sent: Any, query: str = "", **headers: str) -> TestResponse:
    data = sent if isinstance(sent, bytes) else json.dumps(sent)
    return http.post(f"{PATH}{query}", data=data, content_type="application/json", headers=headers)


def robot_client(settings: Settings, backend: Backend, *robots: Robot, **more: Any) -> FlaskClient:
    changed = settings.model_copy(update={"robots": robots or (Robot(),), "max_json_bytes": 10_000, **more})
    return create_app(changed, backend).test_client()


def failed(code: str) -> dict[str, Any]:
    return {**RESULT, "state": "failed", "error": {"code": code, "detail": "what is wrong", "retryable": False}}


def publish(backend: Backend) -> None:
    """Publish the contract of the version that answers: its labels have a category path."""
    backend.catalog.publish(Published("default", "", 3, tiny_contract().to_json()))


@pytest.fixture(scope="module")
def robot_app(shared_api: Api) -> Flask:
    """The API with a robot."""
    return robot_client(shared_api.settings, shared_api.backend).application


@pytest.fixture
def robot(robot_app: Flask, worker: InstantWorker, backend: Backend) -> FlaskClient:
    """The robot; the model finds something in every photo."""
    worker.result = RESULT
    publish(backend)
    return robot_app.test_client()


def test_the_answer(robot: FlaskClient, backend: Backend) -> None:
    """As the protocol has it: best first, the label's category path, the threshold of the model, nothing else."""
    content = picture()
    answer = send(robot, body(content))

    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.get_json() == {
        "requestId": "r-1",
        "result": [
            {"score": 0.996184, "root": "shelf", "keyword": "product-2"},
            {"score": 0.5, "root": "", "keyword": "class 77"},
        ],
        "resultNum": 2,
        "filterThreshold": 0.1,
        "extInfos": {},
    }
    (job,) = all_jobs(backend)
    assert stored_images(backend, job.id) == [("item-0", content)]
    assert backend.originals.source(job.id, 0).custom_id == "r-1"
    assert (job.lane, job.options.model, job.options.min_score) == ("interactive", "default", None)
    assert 4 < deadline_seconds(job) <= 5


def test_nothing_found(robot: FlaskClient, worker: InstantWorker) -> None:
    """That is a result too: 200, an empty list."""
    worker.result = {**RESULT, "detections": []}
    answer = send(robot, body())

    assert answer.status_code == 200
    assert (answer.get_json()["result"], answer.get_json()["resultNum"]) == ([], 0)


def test_a_model_whose_contract_nobody_knows(settings: Settings, backend: Backend, worker: InstantWorker) -> None:
    """Its labels have no category path then, and they may have one the next time."""
    worker.result = RESULT
    http = robot_client(settings, backend)
    assert {detection["root"] for detection in send(http, body()).get_json()["result"]} == {""}
    publish(backend)
    assert send(http, body()).get_json()["result"][0]["root"] == "shelf"


@pytest.mark.parametrize(
    "encode",
    [
        str,
        quote,
        lambda text: quote(text, safe=""),
        lambda text: "".join(f"%{ord(character):02x}" for character in text),
        lambda text: "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76)),
        "data:image/jpeg;base64,{}".format,
        lambda text: text.replace("+", "-").replace("/", "_").rstrip("="),
        lambda text: quote("\n".join(text[at : at + 64] for at in range(0, len(text), 64))),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_how_an_image_may_be_written(robot: FlaskClient, backend: Backend, encode: Any, kind: str) -> None:
    """Plain or percent-encoded base64, in one line or several, of whatever format decodes."""
    content = picture(kind=kind) + bytes(range(256)) * 4  # every character of base64
    answer = send(robot, {"requestId": "é", "image": encode(base64.b64encode(content).decode()), "extInfos": {"a": 1}})

    assert answer.get_json()["requestId"] == "é"
    assert answer.get_json()["resultNum"] == 2, answer.text
    assert stored_images(backend, all_jobs(backend)[0].id)[0][1] == content


LARGE = picture() + bytes(MAX_IMAGE_BYTES - len(picture()))
ID = {"requestId": "r-1"}


@pytest.mark.parametrize(
    ("sent", "code", "message", "request_id"),
    [
        (b"", 100, "Invalid parameter", ""),
        (b"{", 100, "Invalid parameter", ""),
        (b"[]", 100, "Invalid parameter", ""),
        (b"\xff", 100, "Invalid parameter", ""),
        (b"requestId=r-1&image=abc", 100, "Invalid parameter", ""),
        ({"requestId": 1, "image": "YQ=="}, 100, "Invalid parameter", ""),
        ({**ID, "image": ["YQ=="]}, 100, "Invalid parameter", "r-1"),
        ({"image": "YQ=="}, 216101, "not enough param", ""),
        ({"requestId": "", "image": "YQ=="}, 216101, "not enough param", ""),
        ({"requestId": None}, 216101, "not enough param", ""),
        (ID, 216101, "not enough param", "r-1"),
        ({**ID, "image": None}, 216101, "not enough param", "r-1"),
        ({"requestId": "r" * 129, "image": "YQ=="}, 216103, "param too long", ""),
        ({**ID, "image": ""}, 216200, "empty image", "r-1"),
        ({**ID, "image": "%0A"}, 216200, "empty image", "r-1"),
        ({**ID, "image": "YWJj"}, 216201, "image format error", "r-1"),
        (body(b"\x89PNG\r\n\x1a\n" + bytes(99)), 216201, "image format error", "r-1"),
        (body(picture(14, 100)), 216202, "image size error", "r-1"),
        (body(picture(100, 14)), 216202, "image size error", "r-1"),
        (body(picture(4097, 15)), 216202, "image size error", "r-1"),
        (body(LARGE + b"x"), 216202, "image size error", "r-1"),
        (b'{"requestId": "r-1", "image": "' + b"A" * 43_000_000, 216202, "image size error", ""),
        ({**ID, "image": "YWJ"}, 216201, "image format error", "r-1"),
        ({**ID, "image": "data:image/jpeg;base64,YWJj"}, 216201, "image format error", "r-1"),
        ({**ID, "image": "YWJjZ"}, 216203, "image size error", "r-1"),
        ({**ID, "image": "data:image/jpeg,YWJj"}, 216203, "image size error", "r-1"),
        ({**ID, "image": "%zz"}, 216203, "image size error", "r-1"),
        ({**ID, "image": "é"}, 216203, "image size error", "r-1"),
        ({**ID, "image": "YW Jj"}, 216203, "image size error", "r-1"),
        ({**ID, "image": "%25" * 200_000}, 216203, "image size error", "r-1"),
    ],
)
def test_what_is_wrong_with_a_request(
    robot: FlaskClient, backend: Backend, sent: Any, code: int, message: str, request_id: str
) -> None:
    """It has Baidu's code and words, in an answer of status 200, and no job is made of it."""
    answer = send(robot, sent)

    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.get_json() == {"error_code": code, "error_msg": message, "requestId": request_id}
    assert not all_jobs(backend)


@pytest.mark.parametrize("content", [LARGE, picture(15, 4096), picture(4096, 15), picture(15, 15)])
def test_the_bounds_themselves(robot: FlaskClient, content: bytes) -> None:
    """10 MB, 15 and 4096 pixels are allowed, and an id of 128 characters."""
    answer = send(robot, body(content, requestId="r" * 128))
    assert answer.get_json()["resultNum"] == 2, answer.text


@pytest.mark.parametrize(
    ("code", "answered"),
    [
        ("model_unavailable", 2),
        ("deadline_exceeded", 2),
        ("image_decode_failed", 216201),
        ("unsupported_format", 216201),
        ("image_too_large", 216202),
        ("model_error", 282000),
        ("crashed_worker", 282000),
        ("image_missing", 282000),
    ],
)
def test_an_image_that_fails(robot: FlaskClient, worker: InstantWorker, code: str, answered: int) -> None:
    """What the worker says of it has Baidu's code."""
    worker.result = failed(code)
    answer = send(robot, body()).get_json()

    assert (answer["error_code"], answer["requestId"]) == (answered, "r-1")


def test_a_job_that_somebody_cancels(
    robot: FlaskClient, worker: InstantWorker, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The robot's call fails for no reason that it could mend."""
    monkeypatch.setattr(worker, "send", lambda _model: worker.cancel(all_jobs(backend)[0].id))
    assert send(robot, body()).get_json()["error_code"] == 282000


@pytest.mark.parametrize(
    ("error", "answered"),
    [
        (QueueFullError("full", 1), 2),
        (StoreUnavailableError("Redis does not answer."), 2),
        (WaitTooLongError("too long", 1), 2),
        (ImageDecodeError("damaged"), 216201),
        (JobStateError("no"), 282000),
        (RuntimeError("a secret detail"), 282000),
    ],
)
def test_what_cannot_be_accepted(
    robot: FlaskClient,
    backend: Backend,
    error: Exception,
    answered: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A queue that is full, a store that is away, a bug: with the request's id, and the log says what it was."""

    def create(*_job: object) -> NoReturn:
        raise error

    monkeypatch.setattr(backend.store, "create", create)
    answer = send(robot, body())

    assert (answer.status_code, answer.get_json()["error_code"]) == (200, answered)
    assert (answer.get_json()["requestId"], "secret" in answer.text) == ("r-1", False)
    assert str(error) in capsys.readouterr().out


def test_what_is_not_done_in_time(settings: Settings, backend: Backend, waits: list[float]) -> None:
    """After the robot's deadline it is told to come again, and its job ends there too."""
    http = robot_client(settings, backend, Robot(deadline_seconds=0.3))
    answer = send(http, body()).get_json()

    assert answer == {"error_code": 2, "error_msg": "Service temporarily unavailable", "requestId": "r-1"}
    assert 0 < deadline_seconds(all_jobs(backend)[0]) <= 0.3
    assert 0 < waits[0] <= 0.3


def test_what_could_not_be_done_in_time(robot: FlaskClient, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more waits than the deadline allows, nothing is accepted."""
    monkeypatch.setattr(backend.capacity, "wait_seconds", lambda _target: 7.4)

    assert send(robot, body()).get_json()["error_code"] == 2
    assert not all_jobs(backend)


def test_a_room_that_is_full(settings: Settings, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds no place to wait is told at once."""
    monkeypatch.setattr("api.app.WaitingRoom", lambda: WaitingRoom(places=0))

    assert send(robot_client(settings, backend), body()).get_json()["error_code"] == 2


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", 110),
        ("?access_token=", 110),
        (f"?access_token={ACCESS}x", 110),
        (f"?access_token={ACCESS}&access_token={ACCESS}", 110),
        ("?access_token=%C3%A9", 110),
        (f"?access_token={ACCESS}", None),
        (f"?other=1&access_token={ACCESS.replace('-', '%2D')}", None),
    ],
)
def test_the_token(settings: Settings, backend: Backend, worker: InstantWorker, query: str, code: int | None) -> None:
    """Where one is configured it is asked for, in the query; then nobody asks for a key, or by which name one came."""
    worker.result = RESULT
    for keys in (False, True):
        robots = Robot(token=SecretStr(ACCESS))
        http = robot_client(settings, backend, robots, require_keys=keys)
        answer = send(http, body(), query, Host="shelf.example").get_json()
        assert answer.get("error_code") == code
        if code:
            assert answer == {
                "error_code": code,
                "error_msg": "Access token invalid or no longer valid",
                "requestId": "",
            }


def test_a_robot_without_a_token(settings: Settings, backend: Backend, worker: InstantWorker) -> None:
    """It is answered on this machine only, where the API asks for no keys; a key does not help."""
    worker.result = RESULT
    http = robot_client(settings, backend)
    assert "result" in send(http, body(), "?access_token=whatever").get_json()
    assert send(http, body(), Host="shelf.example").get_json()["error_code"] == 110
    assert send(http, body(), Origin="https://shelf.example").get_json()["error_code"] == 110
    for closed in ({"require_keys": True}, {"host": "192.0.2.1"}):
        answer = send(robot_client(settings, backend, **closed), body(), Authorization="Bearer sl_" + "0" * 32)
        assert answer.get_json()["error_code"] == 110


def test_a_rate(settings: Settings, backend: Backend, worker: InstantWorker) -> None:
    """Beyond it the code is 18; each robot is counted for itself."""
    worker.result = RESULT
    http = robot_client(settings, backend, Robot(rate="1/hour"), Robot(path="/api/v3/drinks", rate="1/hour"))
    answers = [send(http, body()) for _ in range(2)]

    assert "result" in answers[0].get_json()
    assert answers[1].get_json()["error_code"] == 18
    assert answers[1].get_json()["error_msg"] == "Open api qps request limit reached"
    assert answers[1].headers["RateLimit-Policy"] == '"1-in-3600s";q=1;w=3600'
    assert "result" in http.post("/api/v3/drinks", json=body()).get_json()


def test_several_robots(settings: Settings, backend: Backend, worker: InstantWorker) -> None:
    """Each has its own path, token, model, threshold, tiles and owner."""
    worker.result = RESULT
    other = Robot(
        path="/api/v3/drinks",
        token=SecretStr(ACCESS),
        model="other-1.0",
        threshold=0.7,
        tiles="2x3",
        max_detections=3,
        owner="shop",
    )
    http = robot_client(settings, backend, Robot(), other)
    assert "result" in send(http, body()).get_json()
    answer = http.post(f"/api/v3/drinks?access_token={ACCESS}", json=body())

    assert answer.get_json()["filterThreshold"] == 0.7
    job = all_jobs(backend)[0]
    options = job.options
    assert (options.model, options.min_score, options.tiles, options.max_detections) == ("other-1.0", 0.7, "2x3", 3)
    assert job.owner == "shop"
    assert http.post("/api/v3/drinks", json=body()).get_json()["error_code"] == 110
    assert {PATH, "/api/v3/drinks"} < http.get("/openapi.json").get_json()["paths"].keys()
    none = create_app(settings.model_copy(update={"robots": ()}), backend).test_client()
    assert none.post(PATH, json=body()).status_code == 404


def test_what_is_no_robots_request(robot: FlaskClient) -> None:
    """Other methods and other paths have the API's own errors: no robot sends them, people do."""
    answers = [robot.get(PATH), robot.post(f"{PATH}/"), robot.post(f"{PATH}/x")]

    assert [answer.status_code for answer in answers] == [405, 404, 404]
    assert {answer.content_type for answer in answers} == {"application/problem+json"}
    assert answers[0].headers["Allow"] == "OPTIONS, POST" or answers[0].headers["Allow"] == "POST, OPTIONS"


def test_an_address_that_cannot_be_read(robot: FlaskClient) -> None:
    """What is wrong with the request before it is the robot's has the robot's error too."""
    answer = robot.post(PATH, json=body(), environ_overrides={"RAW_URI": f"{PATH}?access_token=%"})

    assert (answer.status_code, answer.get_json()["error_code"]) == (200, 100)


def test_no_robot_takes_an_address_of_the_api(settings: Settings, backend: Backend) -> None:
    """A path that a setting may name belongs to no other route."""
    app = create_app(settings, backend)
    own = {rule.rule for rule in app.url_map.iter_rules() if not rule.endpoint.startswith("robots.")}

    assert {path.split("/")[1] for path in own - {FORM_UPLOAD_PATH}} <= RESERVED
