"""JSON bodies: what is refused before anything looks at its meaning."""

from __future__ import annotations

import base64
import json
import threading
from typing import TYPE_CHECKING

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import ValidationError

from api.app import create_app
from api.requests import json_bodies
from api.schema.submission import JsonJob
from workers.backend import Backend
from workers.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def _post(http: FlaskClient, body: str) -> tuple[int, str, str]:
    answer = http.post("/v1/jobs", data=body.encode("utf-8", "surrogatepass"), content_type="application/json")
    assert answer.content_type == "application/problem+json" or answer.status_code == 202
    document = answer.get_json()
    return answer.status_code, document.get("code", ""), document.get("detail", "")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('{"folder": "/a", "folder": "/b"}', "twice"),
        ('{"folder": "/a", "min_score": Infinity}', "Infinity"),
        ('{"folder": "/a", "min_score": -Infinity}', "Infinity"),
        ('{"folder": "/a", "min_score": 1e999}', "too large"),
        ('{"folder": "/a", "max_detections": ' + "9" * 5000 + "}", "not JSON"),
        ('{"folder": "/a", "x": "\\udc00\\ud800"}', "surrogate"),
        ('{"folder": "/a", "\\ud800": 1}', "surrogate"),
        ('{"folder": "\ud800"}', "not JSON"),  # its three bytes, as some encoders write it
        ('{"folder": "/a\0"}', "not JSON"),
        ('\ufeff\ufeff{"folder": "/a"}', "BOM"),
        ('{"folder": "/a"} {}', "not JSON"),
        ('{"folder": "/a",}', "not JSON"),
        ("{'folder': '/a'}", "not JSON"),
        ("", "not JSON"),
        ("null", "object"),
        ('"text"', "object"),
        ('{"folder": ' + "[" * 32 + "]" * 32 + "}", "deeper than 32"),
        ('{"folder": ' + '{"a":' * 32 + "1" + "}" * 33, "deeper than 32"),
    ],
)
def test_what_is_no_json_is_refused(http: FlaskClient, body: str, says: str) -> None:
    """With a word of what is wrong; nothing that a reader downstream could take otherwise gets through."""
    status, code, detail = _post(http, body)
    assert (status, code) == (400, "invalid_request")
    assert says in detail


def test_nesting_that_no_parser_survives(settings: Settings, backend: Backend) -> None:
    """100,000 levels are refused like 33, in objects and in lists."""
    app = create_app(settings.model_copy(update={"max_json_bytes": 10**7, "max_job_images": 10**6}), backend)
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        status, _, detail = _post(app.test_client(), opening * 100_000 + "1" + closing * 100_000)
        assert (status, "deeper" in detail) == (400, True)
        assert _post(app.test_client(), opening * 100_000)[0] == 400


def test_the_deepest_body_that_is_taken(http: FlaskClient) -> None:
    """One level less is not refused for its depth."""
    _, _, detail = _post(http, '{"folder": ' + "[" * 31 + "]" * 31 + "}")
    assert "folder" in detail


def _app(settings: Settings, backend: Backend, **changes: object) -> FlaskClient:
    return create_app(settings.model_copy(update={"max_json_bytes": 10**7, **changes}), backend).test_client()


def test_a_body_may_have_the_values_of_a_valid_request(settings: Settings, backend: Backend) -> None:
    """As many as items with all their members have, and some more; one more is refused, whatever it is."""
    client = _app(settings, backend)
    most = 4 * settings.max_job_images + 1000
    for value in ("1", "[]", "{}"):
        few, many = (",".join([value] * ((most - 2 + more) // (1 if value == "1" else 2))) for more in (0, 4))
        assert _post(client, f'{{"x": [{few}]}}')[1] == "unknown_field"
        status, code, detail = _post(client, f'{{"x": [{many}]}}')
        assert (status, code) == (413, "request_too_large")
        assert "values" in detail
    assert _post(client, json.dumps({"x": "," * 100_000}))[1] == "unknown_field"


@pytest.mark.parametrize(
    ("body", "most"),
    [
        ({"folder": "/a", "include": [1] * 5000}, 21),
        ({"folder": "/a", "output_formats": [1] * 5000}, 4),
        ({"folder": "/a", "webhook": {"url": "http://a.example", "events": [1] * 5000}}, 10),
        ({"items": [{f"n{number}": 1 for number in range(50)}] * 100}, 50),
        ({"items": [1] * 5000}, 10),
        ({"items": [{}] * 5000}, 10),
    ],
)
def test_the_first_errors_end_the_check(body: dict[str, object], most: int) -> None:
    """An error costs far more than the value that it is about, and no answer tells more than ten."""
    with pytest.raises(ValidationError) as caught:
        JsonJob.model_validate(body, strict=True)
    assert caught.value.error_count() <= most


def test_an_object_has_few_names(settings: Settings, backend: Backend) -> None:
    """No object of a request has a thousand; each name of one that has would be an error of its own."""
    body = json.dumps({"folder": "/a", "metadata": {f"n{number}": "" for number in range(1001)}})
    status, code, detail = _post(_app(settings, backend), body)
    assert (status, code) == (400, "invalid_request")
    assert "1001 names" in detail


def test_more_items_than_a_job_may_have(settings: Settings, backend: Backend) -> None:
    """They are counted before one of them is looked at."""
    body = json.dumps({"items": [1] * (settings.max_job_images + 1)})
    assert _post(_app(settings, backend), body)[:2] == (413, "too_many_images")


@pytest.mark.parametrize(("slash", "plus"), [("/", "+"), ("\\/", "\\u002B")])
def test_a_large_image_in_an_item(settings: Settings, backend: Backend, slash: str, plus: str) -> None:
    """It arrives as it was, also if its base64 has escapes as PHP and .NET write them."""
    image = bytes(range(256)) * 2000
    text = base64.b64encode(image).decode().replace("/", slash).replace("+", plus)
    client = _app(settings, backend, max_upload_bytes=10**7)
    answer = client.post("/v1/jobs", data=f'{{"items":[{{"image":"{text}"}}]}}', content_type="application/json")
    assert answer.status_code == 202, answer.text
    job = backend.store.get(answer.get_json()["id"])
    assert backend.originals.read(job.id, 0) == image


def test_a_wrong_long_string_fails_alone(settings: Settings, backend: Backend) -> None:
    """Like any other wrong item; what is wrong behind it is told by its place."""
    client = _app(settings, backend)
    wrong, good = {"image": "QUJD" * 100_000 + "é"}, {"url": "http://photos.example/a.jpg"}
    assert _post(client, json.dumps({"items": [wrong, good]}, ensure_ascii=False))[0] == 202
    status, _, detail = _post(client, f'{{"a":"{"x" * 200_000}", oops}}')
    assert (status, "byte 200009" in detail) == (400, True), detail


def test_characters_beyond_the_first_plane_are_taken(http: FlaskClient, root: Path) -> None:
    """A whole surrogate pair is a character."""
    (root / "\N{GRINNING FACE}").mkdir()
    (root / "\N{GRINNING FACE}" / "a.jpg").touch()
    assert _post(http, json.dumps({"folder": f"{root}/\N{GRINNING FACE}"}))[0] == 202


def test_an_integer_may_have_a_point(http: FlaskClient, root: Path) -> None:
    """20.0 and 2e1 are 20, as JSON Schema has it; 20.5 is no integer."""
    (root / "a.jpg").touch()
    for number, status in (("20.0", 202), ("2e1", 202), ("20.5", 400), ("1e300", 400)):
        assert _post(http, f'{{"folder": "{root}", "max_detections": {number}}}')[0] == status


def test_large_bodies_take_turns(settings: Settings, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few stand in memory at once, and each gives its place back, whatever became of it."""
    monkeypatch.setattr(json_bodies, "_large", threading.BoundedSemaphore(1))
    app = create_app(settings.model_copy(update={"max_json_bytes": 3 * 10**6}), backend)
    with app.test_client() as http:
        for _ in range(3):
            assert _post(http, json.dumps({"folder": "x" * 2_000_000}))[:2] == (400, "invalid_request")
            assert _post(http, json.dumps({"folder": "x" * 4_000_000}))[:2] == (413, "request_too_large")
    assert json_bodies._large.acquire(blocking=False)


def test_a_body_that_nobody_asked_for(app: Flask) -> None:
    """A route without a body does not read one."""
    answer = app.test_client().get("/healthz", data=b"x" * 100)
    assert answer.status_code == 200
