from __future__ import annotations

import base64
import io
import time
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app
from api.http.waiting import WaitingRoom
from workers.settings import Settings
from workers.sources.origins.simple import Item

if TYPE_CHECKING:
    from tests.unit.api.conftest import MemoryBackend

FOUND = {
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


def test_the_result_and_its_job(http: FlaskClient, backend: MemoryBackend) -> None:
    """The answer is the result as the job keeps it, with the job's id and addresses."""
    backend.intake.outcome = FOUND
    found = _detect(http, b"content").get_json()

    assert found == FOUND | {"job_id": found["job_id"], "urls": found["urls"]}
    assert found["urls"]["self"] == f"http://localhost/v1/jobs/{found['job_id']}"
    assert backend.intake.uploads == [("image", b"content")]


@pytest.mark.parametrize(
    ("code", "retryable", "status"),
    [
        ("image_decode_failed", False, 422),
        ("deadline_exceeded", True, 504),
        ("model_error", False, 502),
        ("crashed_worker", False, 500),
        ("model_unavailable", True, 503),
    ],
)
def test_what_failed_is_the_answer(
    http: FlaskClient, backend: MemoryBackend, code: str, status: int, *, retryable: bool
) -> None:
    """An image's error is a problem with its own status, its words, and the job."""
    backend.intake.outcome = _failed(code, retryable=retryable)
    answer = _detect(http)

    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    body = answer.get_json()
    assert (body["code"], body["detail"], body["retryable"]) == (code, "what is wrong", retryable)
    assert body["job_id"] in backend.store.jobs


def test_a_job_that_somebody_cancels(http: FlaskClient, backend: MemoryBackend) -> None:
    """Whoever waits for it is told."""
    backend.intake.outcome = {"index": 0, "name": "a.png", "state": "canceled"}
    answer = _detect(http)

    assert (answer.status_code, answer.get_json()["code"]) == (409, "job_state")


def test_a_room_that_is_full(settings: Settings, backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds no place to wait has the job's address at once, however busy the model is."""
    monkeypatch.setattr("api.app.WaitingRoom", lambda: WaitingRoom(places=0))
    backend.capacity.waits["default", "interactive"] = 1000.0
    app: Flask = create_app(settings, backend)  # type: ignore[arg-type]
    began = time.monotonic()
    answer = _detect(app.test_client(), Prefer="wait=4")

    assert (answer.status_code, answer.headers["Retry-After"]) == (202, "1")
    assert answer.headers["Location"].endswith(answer.get_json()["id"])
    assert "Preference-Applied" not in answer.headers
    assert time.monotonic() - began < 4
    assert backend.store.waits == []


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
    settings: Settings, backend: MemoryBackend, query: str, headers: dict[str, str], waited: float | None
) -> None:
    """As long as the call says, else as long as the setting says, and never longer than a long-poll may."""
    short = settings.model_copy(update={"detect_wait_seconds": 0.25, "max_wait_seconds": 1.5})
    http = create_app(short, backend).test_client()  # type: ignore[arg-type]

    assert _detect(http, b"x", query, **headers).status_code == 202
    assert backend.store.waits == ([] if waited is None else [waited])


def test_a_preference_that_was_granted_is_told(http: FlaskClient, backend: MemoryBackend) -> None:
    """As RFC 7240 wants it."""
    backend.intake.outcome = FOUND

    assert _detect(http, Prefer="wait=3").headers["Preference-Applied"] == "wait=3"
    assert "Preference-Applied" not in _detect(http).headers
    assert "Preference-Applied" not in _detect(http, Prefer="wait=30").headers  # more than the setting allows


def test_a_wait_that_is_too_long(http: FlaskClient, backend: MemoryBackend) -> None:
    """It is refused before anything is stored, and says when to come back."""
    backend.capacity.waits["default", "interactive"] = 7.4
    answer = _detect(http, Prefer="wait=3")

    assert (answer.status_code, answer.get_json()["code"]) == (503, "wait_too_long")
    assert answer.headers["Retry-After"] == "5"
    assert not backend.store.jobs


def test_a_wait_that_is_a_little_too_long(http: FlaskClient, backend: MemoryBackend) -> None:
    """No time is told as 0 s, nor as one that is not longer than the call's."""
    backend.capacity.waits["default", "interactive"] = 0.04

    assert (
        "about 0.1 s for its turn now, longer than the 0.03 s" in _detect(http, query="?wait=0.03").get_json()["detail"]
    )


@pytest.mark.parametrize("accept", ["text/html", "image/webp", "application/json;q=0"])
def test_what_nobody_can_answer_with(http: FlaskClient, backend: MemoryBackend, accept: str) -> None:
    """It is said before the work is done."""
    answer = _detect(http, Accept=accept)

    assert (answer.status_code, answer.get_json()["code"]) == (406, "not_acceptable")
    assert not backend.store.jobs


@pytest.mark.parametrize("accept", ["", "*/*", "text/html,application/xhtml+xml,image/avif,*/*;q=0.8", "application/*"])
def test_json_is_what_is_answered_else(http: FlaskClient, backend: MemoryBackend, accept: str) -> None:
    """A caller that does not say what it wants gets the result."""
    backend.intake.outcome = FOUND

    assert _detect(http, Accept=accept).content_type == "application/json"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "video/mp4"])
def test_bodies_of_other_kinds(http: FlaskClient, kind: str) -> None:
    """The answer names those that are taken."""
    answer = http.post("/v1/detect", data=b"x", content_type=kind)

    assert (answer.status_code, answer.get_json()["code"]) == (415, "unsupported_media_type")
    assert "image/*" in answer.get_json()["detail"]


def test_json(http: FlaskClient, backend: MemoryBackend) -> None:
    """An image in base64, or its URL, with the options beside it."""
    backend.intake.outcome = FOUND
    coded = http.post("/v1/detect", json={"image": base64.b64encode(b"content").decode(), "min_score": 0.5})
    named = http.post("/v1/detect?wait=1", json={"url": "https://shop.example/a.png", "custom_id": "a"})

    assert (coded.status_code, named.status_code) == (200, 200)
    assert backend.intake.items == [Item(url="https://shop.example/a.png", custom_id="a")]
    assert backend.store.jobs[coded.get_json()["job_id"]].options.min_score == 0.5


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
def test_wrong_json(http: FlaskClient, backend: MemoryBackend, body: dict[str, Any]) -> None:
    """It is named, and nothing is done."""
    answer = http.post("/v1/detect", json=body)

    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")
    assert not backend.store.jobs


def test_options_stand_in_one_place(http: FlaskClient, backend: MemoryBackend) -> None:
    """Those of the query would be a second opinion on what a body says."""
    for sent in ({"json": {"image": "eA=="}}, {"data": {"image": (io.BytesIO(b"x"), "a.png")}}):
        answer = http.post("/v1/detect?min_score=0.5", **sent)
        assert (answer.status_code, answer.get_json()["code"]) == (422, "unprocessable")
    assert not backend.store.jobs


def test_one_image_a_call(http: FlaskClient) -> None:
    """None, or two, is an error that says what to do."""
    two = http.post("/v1/detect", data={"image": [(io.BytesIO(b"x"), "a.png"), (io.BytesIO(b"y"), "b.png")]})
    none = http.post("/v1/detect", data={"min_score": "0.5"}, content_type="multipart/form-data")

    assert (two.status_code, two.get_json()["code"]) == (400, "invalid_request")
    assert "/v1/jobs" in two.get_json()["detail"]
    assert (none.status_code, none.get_json()["code"]) == (422, "no_images")
