from __future__ import annotations

import base64
import io
import time
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from api.app import create_app
from api.http.waiting import WaitingRoom
from tests.unit.api.conftest import InstantWorker, all_jobs, deadline_seconds, stored_images
from workers.backend import Backend
from workers.jobs.job import ImageSource
from workers.robots import FORM_UPLOAD_PATH
from workers.settings import Settings

RESULT = {
    "index": 0,
    "name": "a.png",
    "state": "succeeded",
    "width": 4,
    "height": 2,
    "model": "default",
    "model_version": 3,
    "detections": [],
}


def _detect(http: FlaskClient, content: bytes = b"x", query: str = "", **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post(f"/v1/detect{query}", data=content, headers=named, content_type="image/jpeg")


def _failed(code: str, *, retryable: bool) -> dict[str, Any]:
    error = {"code": code, "detail": "what is wrong", "retryable": retryable}
    return {"index": 0, "name": "a.png", "state": "failed", "error": error}


def test_the_result_and_its_job(http: FlaskClient, backend: Backend, worker: InstantWorker) -> None:
    """The answer is the result as the job keeps it, with the job's id and addresses."""
    worker.result = RESULT
    result = _detect(http, b"content").get_json()

    assert result == RESULT | {"job_id": result["job_id"], "urls": result["urls"]}
    assert result["urls"]["self"] == f"http://localhost/v1/jobs/{result['job_id']}"
    assert stored_images(backend, result["job_id"]) == [("image", b"content")]


@pytest.mark.parametrize(
    ("code", "retryable", "status"),
    [
        ("image_decode_failed", False, 422),
        ("deadline_exceeded", True, 504),
        ("model_error", False, 502),
        ("model_out_of_memory", True, 503),
        ("crashed_worker", False, 500),
        ("model_unavailable", True, 503),
    ],
)
def test_what_failed_is_the_answer(
    http: FlaskClient, backend: Backend, worker: InstantWorker, code: str, status: int, *, retryable: bool
) -> None:
    """An image's error is a problem with its own status, its words, and the job."""
    worker.result = _failed(code, retryable=retryable)
    answer = _detect(http)

    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    body = answer.get_json()
    assert (body["code"], body["detail"], body["retryable"]) == (code, "what is wrong", retryable)
    assert [job.id for job in all_jobs(backend)] == [body["job_id"]]


def test_a_job_that_somebody_cancels(
    http: FlaskClient, worker: InstantWorker, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for it is told."""
    monkeypatch.setattr(worker, "send", lambda _model: worker.cancel(all_jobs(backend)[0].id))
    answer = _detect(http)

    assert (answer.status_code, answer.get_json()["code"]) == (409, "job_state")


def test_a_room_that_is_full(
    settings: Settings, backend: Backend, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finds no place to wait has the job's address at once, however busy the model is."""
    monkeypatch.setattr("api.app.WaitingRoom", lambda: WaitingRoom(places=0))
    monkeypatch.setattr(backend.capacity, "wait_seconds", lambda _target: 1000.0)
    began = time.monotonic()
    answer = _detect(create_app(settings, backend).test_client(), Prefer="wait=4")

    assert (answer.status_code, answer.headers["Retry-After"]) == (202, "1")
    assert answer.headers["Location"].endswith(answer.get_json()["id"])
    assert "Preference-Applied" not in answer.headers
    assert time.monotonic() - began < 4
    assert waits == []


@pytest.mark.parametrize(
    ("query", "headers", "waited"),
    [
        ("", {}, 0.25),
        ("?wait=0.5", {}, 0.5),
        ("", {"Prefer": "respond-async, wait=1"}, 1.0),
        ("?wait=0", {"Prefer": "wait=1"}, None),
        ("?wait=1000", {}, 1.5),
    ],
)
def test_how_long_it_waits(
    settings: Settings,
    backend: Backend,
    waits: list[float],
    query: str,
    headers: dict[str, str],
    waited: float | None,
) -> None:
    """As long as the call says, else as long as the setting says, and never longer than a long-poll may."""
    short = settings.model_copy(update={"detect_wait_seconds": 0.25, "max_wait_seconds": 1.5})
    http = create_app(short, backend).test_client()

    assert _detect(http, b"x", query, **headers).status_code == 202
    assert waits == ([] if waited is None else [waited])


def test_a_preference_that_was_granted_is_told(http: FlaskClient, worker: InstantWorker) -> None:
    """As RFC 7240 wants it."""
    worker.result = RESULT

    assert _detect(http, Prefer="wait=3").headers["Preference-Applied"] == "wait=3"
    assert "Preference-Applied" not in _detect(http).headers
    assert "Preference-Applied" not in _detect(http, Prefer="wait=30").headers  # more than the setting allows


def test_a_wait_that_is_too_long(http: FlaskClient, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before anything is stored, and says when to come back."""
    monkeypatch.setattr(backend.capacity, "wait_seconds", lambda _target: 7.4)
    answer = _detect(http, Prefer="wait=3")

    assert (answer.status_code, answer.get_json()["code"]) == (503, "wait_too_long")
    assert answer.headers["Retry-After"] == "5"
    assert not all_jobs(backend)


def test_a_wait_that_is_a_little_too_long(http: FlaskClient, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """No time is told as 0 s, nor as one that is not longer than the call's."""
    monkeypatch.setattr(backend.capacity, "wait_seconds", lambda _target: 0.04)

    assert (
        "about 0.1 s for its turn now, longer than the 0.03 s" in _detect(http, query="?wait=0.03").get_json()["detail"]
    )


@pytest.mark.parametrize("accept", ["text/html", "image/webp", "application/json;q=0"])
def test_what_nobody_can_answer_with(http: FlaskClient, backend: Backend, accept: str) -> None:
    """It is said before the work is done."""
    answer = _detect(http, Accept=accept)

    assert (answer.status_code, answer.get_json()["code"]) == (406, "not_acceptable")
    assert not all_jobs(backend)


@pytest.mark.parametrize("accept", ["", "*/*", "text/html,application/xhtml+xml,image/avif,*/*;q=0.8", "application/*"])
def test_json_is_what_is_answered_else(http: FlaskClient, worker: InstantWorker, accept: str) -> None:
    """A caller that does not say what it wants gets the result."""
    worker.result = RESULT

    assert _detect(http, Accept=accept).content_type == "application/json"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "video/mp4"])
def test_bodies_of_other_kinds(http: FlaskClient, kind: str) -> None:
    """The answer names those that are taken."""
    answer = http.post("/v1/detect", data=b"x", content_type=kind)

    assert (answer.status_code, answer.get_json()["code"]) == (415, "unsupported_media_type")
    assert "image/*" in answer.get_json()["detail"]


def test_json(http: FlaskClient, backend: Backend, worker: InstantWorker) -> None:
    """An image in base64, or its URL, with the options beside it."""
    worker.result = RESULT
    coded = http.post("/v1/detect", json={"image": base64.b64encode(b"content").decode(), "min_score": 0.5})
    named = http.post("/v1/detect?wait=1", json={"url": "https://shop.example/a.png", "custom_id": "a"})

    assert (coded.status_code, named.status_code) == (200, 200)
    by_url, by_bytes = all_jobs(backend)
    assert backend.originals.source(by_url.id, 0) == ImageSource("a.png", "url:https://shop.example/a.png", "a")
    assert (by_bytes.id, by_bytes.options.min_score) == (coded.get_json()["job_id"], 0.5)
    assert stored_images(backend, by_bytes.id) == [("item-0", b"content")]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"image": "not base64!"},
        {"image": ""},
        {"url": "ftp://shop.example/a.png"},
        {"url": "https://shop.example/a.png", "image": "eA=="},
        {"image": "eA==", "min_score": "0.5"},
        {"image": "eA==", "tiles": 4},
    ],
)
def test_wrong_json(http: FlaskClient, backend: Backend, body: dict[str, Any]) -> None:
    """It is named, and nothing is done."""
    answer = http.post("/v1/detect", json=body)

    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")
    assert not all_jobs(backend)


def test_options_stand_in_one_place(http: FlaskClient, backend: Backend) -> None:
    """Those of the query would be a second opinion on what a body says."""
    for sent in ({"json": {"image": "eA=="}}, {"data": {"image": (io.BytesIO(b"x"), "a.png")}}):
        answer = http.post("/v1/detect?min_score=0.5", **sent)
        assert (answer.status_code, answer.get_json()["code"]) == (422, "unprocessable")
    assert not all_jobs(backend)


def test_one_image_a_call(http: FlaskClient) -> None:
    """None, or two, is an error that says what to do."""
    two = http.post("/v1/detect", data={"image": [(io.BytesIO(b"x"), "a.png"), (io.BytesIO(b"y"), "b.png")]})
    none = http.post("/v1/detect", data={"min_score": "0.5"}, content_type="multipart/form-data")

    assert (two.status_code, two.get_json()["code"]) == (400, "invalid_request")
    assert "/v1/jobs" in two.get_json()["detail"]
    assert (none.status_code, none.get_json()["code"]) == (422, "no_images")


def test_the_course(http: FlaskClient, worker: InstantWorker) -> None:
    """A form with an image is answered with the picture, in which the boxes are drawn."""
    side = {"ymin": 3.0, "xmin": 4.0, "ymax": 20.0, "xmax": 30.0}
    worker.result = {**RESULT, "width": 40, "height": 30, "detections": [{"label": "a", "score": 0.9, "box": side}]}
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "white").save(out, "PNG")
    content = out.getvalue()
    answer = http.post(FORM_UPLOAD_PATH, data={"image": (io.BytesIO(content), "a.png")})

    assert (answer.status_code, answer.content_type) == (200, "image/png")
    drawn = Image.open(io.BytesIO(answer.data)).convert("RGB")
    assert drawn.size == (40, 30)
    assert drawn.getpixel((39, 29)) == (255, 255, 255)
    assert drawn.tobytes() != Image.open(io.BytesIO(content)).convert("RGB").tobytes()


def test_what_the_course_is_told(settings: Settings, backend: Backend, worker: InstantWorker) -> None:
    """No image, an image that fails, and one that is not done in time, are problems."""
    quick = settings.model_copy(update={"detect_wait_seconds": 0.2})
    http = create_app(quick, backend).test_client()
    assert http.post(FORM_UPLOAD_PATH, data={}, content_type="multipart/form-data").get_json()["code"] == "no_images"
    assert http.post(FORM_UPLOAD_PATH, json={}).status_code == 415
    late = http.post(FORM_UPLOAD_PATH, data={"image": (io.BytesIO(b"x"), "a.png")})
    assert (late.status_code, late.get_json()["code"]) == (504, "deadline_exceeded")
    assert 0 < deadline_seconds(all_jobs(backend)[0]) <= 0.2
    worker.result = _failed("image_decode_failed", retryable=False)
    assert http.post(FORM_UPLOAD_PATH, data={"image": (io.BytesIO(b"x"), "a.png")}).status_code == 422
