from __future__ import annotations

import io
import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.unit.api.conftest import stored_images
from workers.backend import Backend

DEFAULTS = {
    "model": "default",
    "model_version": None,
    "min_score": None,
    "max_detections": None,
    "priority": None,
    "tiles": "off",
    "overlap": 0.2,
    "max_failure_rate": None,
    "version_fallback": None,
    "cache": False,
}


def _send(http: FlaskClient, files: list[tuple[str, bytes]], field: str = "images", **form: str) -> TestResponse:
    data = {field: [(io.BytesIO(content), name) for name, content in files], **form}
    return http.post("/v1/jobs", data=data, content_type="multipart/form-data")


def _assert_problem(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    assert (status, "application/problem+json") == (response.status_code, response.content_type)
    body: dict[str, Any] = response.get_json()
    assert code == body["code"]
    assert status == body["status"]
    assert {"type", "title", "detail", "request_id", "retryable"} <= set(body)
    assert body["request_id"] == response.headers["X-Request-ID"]
    return body


def test_a_job_says_where_things_are(app: Flask, http: FlaskClient) -> None:
    """Every address in a job's `urls` is one of the API's, by the method that it is for."""
    urls = _send(http, [("a.jpg", b"x")]).get_json()["urls"]

    routes = app.url_map.bind("localhost")
    for name, url in urls.items():
        method = "POST" if name in {"cancel", "retry"} else "GET"
        assert set(routes.match(urlsplit(url).path, method)[1]) == {"job_id"}, name


def test_files_become_a_job(http: FlaskClient, backend: Backend) -> None:
    """An upload is a 202 that says where the job is, and the files arrive whole, in order, under their names."""
    files = [("sub/a.jpg", b"a" * 100_000), ("b c.png", b""), ("grüße.webp", b"\x00\xff\r\n--")]

    response = _send(http, files, min_score="0.25", max_detections="7", model="other-1.0")

    assert response.status_code == 202
    job = response.get_json()
    assert files == stored_images(backend, job["id"])
    assert f"http://localhost/v1/jobs/{job['id']}" == response.headers["Location"] == job["urls"]["self"]
    assert response.headers["Retry-After"] == "1"
    assert job["options"] == DEFAULTS | {"model": "other-1.0", "min_score": 0.25, "max_detections": 7}
    assert job["counts"] == {"total": 3, "queued": 3, "running": 0, "succeeded": 0, "failed": 0, "canceled": 0}
    assert (job["object"], job["state"]) == ("job", "queued")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", job["created_at"])
    assert abs(datetime.fromisoformat(job["created_at"]).timestamp() - time.time()) < 60


@pytest.mark.parametrize("field", ["images", "images[]", "file", "files"])
def test_every_usual_field_name_is_taken(http: FlaskClient, field: str) -> None:
    """Callers need not look up how the file field is called."""
    assert _send(http, [("a.jpg", b"x")], field).status_code == 202


def test_an_empty_file_field_beside_files_is_left_out(http: FlaskClient, backend: Backend) -> None:
    """A browser sends a nameless empty part for a field with no file chosen."""
    job = _send(http, [("", b""), ("a.jpg", b"x")]).get_json()
    assert stored_images(backend, job["id"]) == [("a.jpg", b"x")]


def test_a_folder_becomes_a_job(http: FlaskClient, root: Path) -> None:
    """A folder of the server is submitted by its name."""
    (root / "a.jpg").touch()

    response = http.post("/v1/jobs", json={"folder": str(root), "min_score": 1, "max_detections": 3})

    assert response.status_code == 202
    assert response.get_json()["options"] == DEFAULTS | {"min_score": 1.0, "max_detections": 3}


@pytest.mark.parametrize(
    ("form", "code", "says"),
    [
        ({"min_score": "1.5"}, "invalid_request", "min_score"),
        ({"min_score": "nan"}, "invalid_request", "min_score"),
        ({"min_score": ""}, "invalid_request", "min_score"),
        ({"max_detections": "0"}, "invalid_request", "max_detections"),
        ({"max_detections": "many"}, "invalid_request", "max_detections"),
        ({"model": "../etc"}, "invalid_request", "model"),
        ({"min_scor": "0.5", "stripes": "1"}, "unknown_field", "min_scor, stripes"),
        ({"folder": "/"}, "unknown_field", "folder"),
        ({"images": "text"}, "invalid_request", "file name"),
    ],
)
def test_wrong_form_fields_are_named(http: FlaskClient, form: dict[str, str], code: str, says: str) -> None:
    """A wrong option is an error that names it, never ignored."""
    response = _send(http, [("a.jpg", b"x")], "file", **form)

    assert says in _assert_problem(response, 400, code)["detail"]


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ("{", "invalid_request", "not JSON"),
        ("\xff", "invalid_request", "not JSON"),
        ("[" * 900 + "]" * 900, "invalid_request", "deeper"),
        ("[]", "invalid_request", "object"),
        ("{}", "invalid_request", "folder"),
        ('{"folder": 3}', "invalid_request", "folder"),
        ('{"folder": ""}', "invalid_request", "folder"),
        ('{"folder": "/a\\u0000b"}', "invalid_request", "folder"),
        ('{"folder": "\\ud800"}', "invalid_request", "surrogate"),
        ('{"folder": "/a", "min_score": "0.5"}', "invalid_request", "min_score"),
        ('{"folder": "/a", "min_score": NaN}', "invalid_request", "NaN"),
        ('{"folder": "/a", "max_detections": true}', "invalid_request", "max_detections"),
        ('{"folder": "/a", "annotate": true}', "invalid_request", "annotate"),
        ('{"folder": "/a", "webhook": "x"}', "invalid_request", "webhook"),
    ],
)
def test_wrong_json_is_named(http: FlaskClient, body: str, code: str, says: str) -> None:
    """A wrong body is an error that says what is wrong with it."""
    response = http.post("/v1/jobs", data=body.encode("latin-1"), content_type="application/json")

    assert says in _assert_problem(response, 400, code)["detail"]


def test_errors_of_the_intake_have_their_status(http: FlaskClient, root: Path) -> None:
    """What the core refuses is answered with the status of its code."""
    (root / "full").mkdir()
    (root / "full" / "a.jpg").touch()
    (root / "empty").mkdir()
    for folder, model, status, code in (
        (root.parent, None, 403, "folder_not_allowed"),
        (root / "gone", None, 422, "folder_not_found"),
        (root / "empty", None, 422, "no_images"),
        (root / "full", "unheard-of", 422, "unknown_model"),
    ):
        body = {"folder": str(folder)} | ({"model": model} if model else {})
        _assert_problem(http.post("/v1/jobs", json=body), status, code)


def test_no_file_at_all(http: FlaskClient) -> None:
    """A request without an image is refused, also in the shape that a browser gives it."""
    _assert_problem(_send(http, []), 422, "no_images")
    _assert_problem(_send(http, [("", b"")]), 422, "no_images")


@pytest.mark.parametrize("count", [21, 200])
def test_too_many_files(http: FlaskClient, count: int) -> None:
    """More files than a job takes are refused, whether or not the form parser gives up first."""
    _assert_problem(_send(http, [("a.jpg", b"x")] * count), 413, "too_many_images")


@pytest.mark.parametrize("name", ["a\x01.jpg", "a" * 1025 + ".jpg"])
def test_names_that_are_refused(http: FlaskClient, name: str) -> None:
    """A name is text that can be shown and stored."""
    _assert_problem(_send(http, [(name, b"x")]), 400, "invalid_request")


def test_a_part_without_a_name(http: FlaskClient) -> None:
    """A file without a name is refused: its result could not be told from another's."""
    assert "File 1" in _assert_problem(_send(http, [("", b"x")]), 400, "invalid_request")["detail"]


def _body(*dispositions: bytes, content: bytes = b"x") -> bytes:
    """A multipart body with the boundary `b`, of parts with these headers and the content."""
    heads = (b"--b\r\nContent-Disposition: form-data; name=" + disposition for disposition in dispositions)
    return b"".join(head + b"\r\n\r\n" + content + b"\r\n" for head in heads) + b"--b--\r\n"


def _send_body(http: FlaskClient, body: bytes) -> TestResponse:
    return http.post("/v1/jobs", data=body, content_type="multipart/form-data; boundary=b")


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (b'images; filename="' + "货架.jpg".encode("gb18030") + b'"', r"\udcbb\udcf5\udcbc\udcdc.jpg"),
        (b'images; filename="' + "表.jpg".encode("cp932") + b'"', r"\udc95\.jpg"),
        (b'images; filename="' + "表".encode("cp932") + b'"', "\\udc95\\"),
        (b'images; filename="' + "表.jpg".encode("cp932").replace(b"\\", b"\\\\") + b'"', r"\udc95\.jpg"),
        (b'images; filename="' + "полка.jpg".encode("cp1251") + b'"', r"\udcef\udcee\udceb\udcea\udce0.jpg"),
        (b'images; filename="K\xe4se.jpg"', r"K\udce4se.jpg"),
        (b'images; filename="' + "货架\u3000\u202f.jpg".encode() + b'"', "货架\u3000\u202f.jpg"),
        (b'images; filename="C:\\photos\\a.jpg"', r"C:\photos\a.jpg"),
        (b'images; filename="\\srv\\a\\"b\\".jpg"', r'\srv\a"b".jpg'),
        (b'images; filename="C:\\' + "照片\\a.jpg".encode("gbk") + b'"', r"C:\\udcd5\udcd5Ƭ\a.jpg"),
        (b"images; filename*=UTF-8''%E8%B4%A7%E6%9E%B6.jpg", "货架.jpg"),
        (b"images; filename*=utf-8'zh'%E8%B4%A7%E6%9E%B6.jpg; filename=\"a.jpg\"", "货架.jpg"),
        (b"images; filename=\"a.jpg\"; filename*=UTF-8''%E8%B4%A7.jpg", "货.jpg"),
        (b"images; filename*=ISO-8859-1''K%E4se.jpg", "Käse.jpg"),
        (b"images; filename=\"a; filename*=UTF-8''b.jpg\"", "a; filename*=UTF-8''b.jpg"),
    ],
)
def test_names_of_files_in_any_encoding(http: FlaskClient, backend: Backend, disposition: bytes, name: str) -> None:
    """A name that is not UTF-8 is escaped as in folders, and refuses nothing; `filename*` counts before `filename`."""
    response = _send_body(http, _body(disposition, b'images; filename="next.jpg"'))

    assert response.status_code == 202, response.get_json()
    assert stored_images(backend, response.get_json()["id"]) == [(name, b"x"), ("next.jpg", b"x")]


@pytest.mark.parametrize("field", ["images", "file", "archive", "manifest"])
@pytest.mark.parametrize("size", [1, 100_000, 3_000_000])
def test_a_file_without_a_file_name(http: FlaskClient, field: str, size: int) -> None:
    """It says what is wrong, whatever the size, and not that there are too many files or that the field is unknown."""
    response = _send_body(http, _body(field.encode(), content=b"x" * size))

    problem = _assert_problem(response, 400, "invalid_request")
    assert problem["detail"] == f"A part '{field}' has no file name. Give it one, or it is not a file."


def test_a_name_with_a_control_character(http: FlaskClient) -> None:
    """The error says which character it is."""
    problem = _assert_problem(_send(http, [("a\x85.jpg", b"x")]), 400, "invalid_request")
    assert problem["detail"] == "The name of file 1 has the control character U+0085: rename it."


def test_an_option_that_is_too_long(http: FlaskClient) -> None:
    """Its value is not kept in memory: the upload is refused."""
    _assert_problem(_send_body(http, _body(b"metadata", content=b"x" * 3_000_000)), 413, "request_too_large")


def test_an_unknown_file_field(http: FlaskClient) -> None:
    """A file under another name would be lost: it is refused by name."""
    assert "'photo'" in _assert_problem(_send(http, [("a.jpg", b"x")], "photo"), 400, "unknown_field")["detail"]


def test_an_option_that_is_not_utf8(http: FlaskClient) -> None:
    """It would be stored as other text: the error names it."""
    response = _send_body(http, _body(b"metadata", content='{"shop": "货架"}'.encode("gbk")))
    problem = _assert_problem(response, 400, "invalid_request")
    assert problem["detail"] == "The field 'metadata' is not UTF-8. Send its text in UTF-8."


def test_a_doubled_option(http: FlaskClient) -> None:
    """Of two values none is picked in silence."""
    data = {"images": (io.BytesIO(b"x"), "a.jpg"), "model": ["default", "other-1.0"]}
    _assert_problem(http.post("/v1/jobs", data=data, content_type="multipart/form-data"), 400, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [b"--b\r\n", b"no part", b"--b\r\nContent-Disposition: form-data; name=images; filename=a\r\n\r\nhalf of it"],
)
def test_a_broken_multipart_body(http: FlaskClient, body: bytes) -> None:
    """Half an upload is an error, not a job of what came of it."""
    _assert_problem(
        http.post("/v1/jobs", data=body, content_type="multipart/form-data; boundary=b"), 400, "invalid_request"
    )


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_another_kind_of_body(http: FlaskClient, kind: str | None) -> None:
    """The answer says which kinds are taken."""
    assert (
        "multipart"
        in _assert_problem(http.post("/v1/jobs", data=b"x", content_type=kind), 415, "unsupported_media_type")["detail"]
    )


def test_a_json_body_that_is_too_long(http: FlaskClient) -> None:
    """A JSON body is read into memory, so it is bounded."""
    response = http.post("/v1/jobs", data=json.dumps({"folder": "x" * 10_000}), content_type="application/json")

    _assert_problem(response, 413, "request_too_large")
