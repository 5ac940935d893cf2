"""What a robot is answered: its detections, or one of Baidu's errors, whatever is wrong."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from PIL import Image
from pydantic import SecretStr
from werkzeug.test import TestResponse

from api.app import create_app
from api.http.waiting import WaitingRoom
from api.schema.robot import MAX_IMAGE_BYTES
from tests.support.models import tiny_contract
from workers.errors import (
    ImageDecodeError,
    JobStateError,
    QueueFullError,
    StoreUnavailableError,
    WaitTooLongError,
)
from workers.robots import FORM_UPLOAD_PATH, RESERVED, Robot
from workers.settings import Settings
from workers.sources.origins.simple import Item
from workers.store.catalog import Published
from workers.store.rate_limits import RateLimitState

if TYPE_CHECKING:
    from tests.unit.api.conftest import MemoryBackend

PATH = "/api/v3/prediction/commodity"
ACCESS = "a-token-that-nobody-guesses"
FOUND: dict[str, Any] = {
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


def client(settings: Settings, backend: MemoryBackend, *robots: Robot, **more: Any) -> FlaskClient:
    changed = settings.model_copy(update={"robots": robots or (Robot(),), "max_json_bytes": 10_000, **more})
    return create_app(changed, backend).test_client()  # type: ignore[arg-type]


def failed(code: str) -> dict[str, Any]:
    return {**FOUND, "state": "failed", "error": {"code": code, "detail": "what is wrong", "retryable": False}}


@pytest.fixture
def robot(settings: Settings, backend: MemoryBackend) -> FlaskClient:
    """The API, whose model finds something in every photo, and its labels have a category path."""
    backend.intake.outcome = FOUND
    backend.catalog.published["default"] = Published("default", "", 3, tiny_contract().to_json())
    return client(settings, backend)


def test_the_answer(robot: FlaskClient, backend: MemoryBackend) -> None:
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
    assert backend.intake.items == [Item(image=content, custom_id="r-1")]
    (job,) = backend.store.jobs.values()
    assert (job.lane, job.options.model, job.options.min_score) == ("interactive", "default", None)
    assert 4 < (backend.intake.terms.deadline_seconds or 0) <= 5


def test_nothing_found(robot: FlaskClient, backend: MemoryBackend) -> None:
    """That is a result too: 200, an empty list."""
    backend.intake.outcome = {**FOUND, "detections": []}
    answer = send(robot, body())

    assert answer.status_code == 200
    assert (answer.get_json()["result"], answer.get_json()["resultNum"]) == ([], 0)


def test_a_model_whose_contract_nobody_knows(robot: FlaskClient, backend: MemoryBackend) -> None:
    """Its labels have no category path then, and they may have one the next time."""
    published = backend.catalog.published.pop("default")
    assert {one["root"] for one in send(robot, body()).get_json()["result"]} == {""}
    backend.catalog.published["default"] = published
    assert send(robot, body()).get_json()["result"][0]["root"] == "shelf"


@pytest.mark.parametrize(
    "encode",
    [
        str,
        quote,
        lambda text: quote(text, safe=""),
        lambda text: "".join(f"%{ord(one):02x}" for one in text),
        lambda text: "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76)),
        lambda text: quote("\n".join(text[at : at + 64] for at in range(0, len(text), 64))),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_how_an_image_may_be_written(robot: FlaskClient, backend: MemoryBackend, encode: Any, kind: str) -> None:
    """Plain or percent-encoded base64, in one line or several, of whatever format decodes."""
    content = picture(kind=kind) + bytes(range(256)) * 4  # every character of base64
    answer = send(robot, {"requestId": "é", "image": encode(base64.b64encode(content).decode()), "extInfos": {"a": 1}})

    assert answer.get_json()["requestId"] == "é"
    assert answer.get_json()["resultNum"] == 2, answer.text
    assert backend.intake.items[0].image == content


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
        ({**ID, "image": "YWJ"}, 216203, "image size error", "r-1"),
        ({**ID, "image": "data:image/jpeg;base64,YWJj"}, 216203, "image size error", "r-1"),
        ({**ID, "image": "%zz"}, 216203, "image size error", "r-1"),
        ({**ID, "image": "é"}, 216203, "image size error", "r-1"),
        ({**ID, "image": "YW Jj"}, 216203, "image size error", "r-1"),
        ({**ID, "image": "%25" * 200_000}, 216203, "image size error", "r-1"),
    ],
)
def test_what_is_wrong_with_a_request(
    robot: FlaskClient, backend: MemoryBackend, sent: Any, code: int, message: str, request_id: str
) -> None:
    """It has Baidu's code and words, in an answer of status 200, and no job is made of it."""
    answer = send(robot, sent)

    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.get_json() == {"error_code": code, "error_msg": message, "requestId": request_id}
    assert not backend.store.jobs


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
def test_an_image_that_fails(robot: FlaskClient, backend: MemoryBackend, code: str, answered: int) -> None:
    """What the worker says of it has Baidu's code."""
    backend.intake.outcome = failed(code)
    found = send(robot, body()).get_json()

    assert (found["error_code"], found["requestId"]) == (answered, "r-1")
    backend.intake.outcome = {**FOUND, "state": "canceled"}
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
    robot: FlaskClient, backend: MemoryBackend, error: Exception, answered: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A queue that is full, a store that is away, a bug: with the request's id, and the log says what it was."""
    backend.intake.error = error
    answer = send(robot, body())

    assert (answer.status_code, answer.get_json()["error_code"]) == (200, answered)
    assert (answer.get_json()["requestId"], "secret" in answer.text) == ("r-1", False)
    assert str(error) in capsys.readouterr().out


def test_what_is_not_done_in_time(settings: Settings, backend: MemoryBackend) -> None:
    """After the robot's deadline it is told to come again, and its job ends there too."""
    http = client(settings, backend, Robot(deadline_seconds=0.3))
    found = send(http, body()).get_json()

    assert found == {"error_code": 2, "error_msg": "Service temporarily unavailable", "requestId": "r-1"}
    assert 0 < (backend.intake.terms.deadline_seconds or 0) <= 0.3
    assert 0 < backend.store.waits[0] <= 0.3


def test_what_could_not_be_done_in_time(robot: FlaskClient, backend: MemoryBackend) -> None:
    """Where more waits than the deadline allows, nothing is accepted."""
    backend.capacity.waits["default", "interactive"] = 7.4

    assert send(robot, body()).get_json()["error_code"] == 2
    assert not backend.store.jobs


def test_a_room_that_is_full(settings: Settings, backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds no place to wait is told at once."""
    monkeypatch.setattr("api.app.WaitingRoom", lambda: WaitingRoom(places=0))

    assert send(client(settings, backend), body()).get_json()["error_code"] == 2


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
def test_the_token(settings: Settings, backend: MemoryBackend, query: str, code: int | None) -> None:
    """Where one is configured it is asked for, in the query; then nobody asks for a key, or by which name one came."""
    backend.intake.outcome = FOUND
    for keys in (False, True):
        robots = Robot(token=SecretStr(ACCESS))
        http = client(settings, backend, robots, require_keys=keys)
        found = send(http, body(), query, Host="shelf.example").get_json()
        assert found.get("error_code") == code
        if code:
            assert found == {
                "error_code": code,
                "error_msg": "Access token invalid or no longer valid",
                "requestId": "",
            }


def test_a_robot_without_a_token(settings: Settings, backend: MemoryBackend) -> None:
    """It is answered on this machine only, where the API asks for no keys; a key does not help."""
    backend.intake.outcome = FOUND
    http = client(settings, backend)
    assert "result" in send(http, body(), "?access_token=whatever").get_json()
    assert send(http, body(), Host="shelf.example").get_json()["error_code"] == 110
    assert send(http, body(), Origin="https://shelf.example").get_json()["error_code"] == 110
    for closed in ({"require_keys": True}, {"host": "192.0.2.1"}):
        answer = send(client(settings, backend, **closed), body(), Authorization="Bearer sl_" + "0" * 32)
        assert answer.get_json()["error_code"] == 110


def test_a_rate(settings: Settings, backend: MemoryBackend) -> None:
    """Beyond it the code is 18; each robot is counted for itself."""
    counted: list[tuple[str, str]] = []

    class Rates:
        def hit(self, who: str, rates: str) -> list[RateLimitState]:
            counted.append((who, rates))
            return [RateLimitState("1-in-1s", 1, 1, 0, 1, exceeded=len(counted) > 1)]

    backend.intake.outcome = FOUND
    http = client(settings, replace(backend, rates=Rates()), Robot(rate="1/second"))  # type: ignore[arg-type]
    answers = [send(http, body()) for _ in range(2)]

    assert "result" in answers[0].get_json()
    assert answers[1].get_json()["error_code"] == 18
    assert answers[1].get_json()["error_msg"] == "Open api qps request limit reached"
    assert counted == [(f"robot:{PATH}", "1/second")] * 2
    assert answers[1].headers["RateLimit-Policy"] == '"1-in-1s";q=1;w=1'


def test_several_robots(settings: Settings, backend: MemoryBackend) -> None:
    """Each has its own path, token, model, threshold, tiles and owner."""
    backend.intake.outcome = FOUND
    other = Robot(
        path="/api/v3/drinks",
        token=SecretStr(ACCESS),
        model="other-1.0",
        threshold=0.7,
        tiles="2x3",
        max_detections=3,
        owner="shop",
    )
    http = client(settings, backend, Robot(), other)
    assert "result" in send(http, body()).get_json()
    answer = http.post(f"/api/v3/drinks?access_token={ACCESS}", json=body())

    assert answer.get_json()["filterThreshold"] == 0.7
    options = list(backend.store.jobs.values())[-1].options
    assert (options.model, options.min_score, options.tiles, options.max_detections) == ("other-1.0", 0.7, "2x3", 3)
    assert backend.intake.terms.owner == "shop"
    assert http.post("/api/v3/drinks", json=body()).get_json()["error_code"] == 110
    assert {PATH, "/api/v3/drinks"} < http.get("/openapi.json").get_json()["paths"].keys()
    none = create_app(settings.model_copy(update={"robots": ()}), backend).test_client()  # type: ignore[arg-type]
    assert none.post(PATH, json=body()).status_code == 404


def test_what_is_no_robots_request(robot: FlaskClient) -> None:
    """Other methods and other paths have the API's own errors: no robot sends them, people do."""
    answers = [robot.get(PATH), robot.post(f"{PATH}/"), robot.post(f"{PATH}/x")]

    assert [one.status_code for one in answers] == [405, 404, 404]
    assert {one.content_type for one in answers} == {"application/problem+json"}
    assert answers[0].headers["Allow"] == "OPTIONS, POST" or answers[0].headers["Allow"] == "POST, OPTIONS"


def test_an_address_that_cannot_be_read(robot: FlaskClient) -> None:
    """What is wrong with the request before it is the robot's has the robot's error too."""
    answer = robot.post(PATH, json=body(), environ_overrides={"RAW_URI": f"{PATH}?access_token=%"})

    assert (answer.status_code, answer.get_json()["error_code"]) == (200, 100)


def test_no_robot_takes_an_address_of_the_api(settings: Settings, backend: MemoryBackend) -> None:
    """A path that a setting may name belongs to no other route."""
    app = create_app(settings, backend)  # type: ignore[arg-type]
    own = {rule.rule for rule in app.url_map.iter_rules() if not rule.endpoint.startswith("robots.")}

    assert {path.split("/")[1] for path in own - {FORM_UPLOAD_PATH}} <= RESERVED


def test_the_course(http: FlaskClient, backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A form with an image is answered with the picture, in which the boxes are drawn."""
    side = {"ymin": 3.0, "xmin": 4.0, "ymax": 20.0, "xmax": 30.0}
    backend.intake.outcome = {**FOUND, "detections": [{"label": "a", "score": 0.9, "box": side}]}
    content = picture(kind="PNG")
    monkeypatch.setattr(backend.originals, "read", lambda _job, _index: content)
    answer = http.post(FORM_UPLOAD_PATH, data={"image": (io.BytesIO(content), "a.png")})

    assert (answer.status_code, answer.content_type) == (200, "image/png")
    drawn = Image.open(io.BytesIO(answer.data)).convert("RGB")
    assert drawn.size == (40, 30)
    assert drawn.getpixel((39, 29)) == (255, 255, 255)
    assert drawn.tobytes() != Image.open(io.BytesIO(content)).convert("RGB").tobytes()


def test_what_the_course_is_told(settings: Settings, backend: MemoryBackend) -> None:
    """No image, an image that fails, and one that is not done in time, are problems."""
    quick = settings.model_copy(update={"detect_wait_seconds": 0.2})
    http = create_app(quick, backend).test_client()  # type: ignore[arg-type]
    assert http.post(FORM_UPLOAD_PATH, data={}, content_type="multipart/form-data").get_json()["code"] == "no_images"
    assert http.post(FORM_UPLOAD_PATH, json={}).status_code == 415
    late = http.post(FORM_UPLOAD_PATH, data={"image": (io.BytesIO(b"x"), "a.png")})
    assert (late.status_code, late.get_json()["code"]) == (504, "deadline_exceeded")
    assert 0 < (backend.intake.terms.deadline_seconds or 0) <= 0.2
    backend.intake.outcome = failed("image_decode_failed")
    assert http.post(FORM_UPLOAD_PATH, data={"image": (io.BytesIO(b"x"), "a.png")}).status_code == 422
