from __future__ import annotations

import errno
import importlib
import shutil

import pytest
from flask import Flask, abort
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.http.errors import BusyError, SpoolFullError
from api.http.problems import STATUS_BY_CODE, register_problems
from serving.errors import ModelUnavailableError, ShelflineError
from workers.backend import Backend
from workers.errors import StoreUnavailableError
from workers.health import WORKER_SEEN_KEY
from workers.io.redis_link import RedisLink
from workers.store.catalog import Published


def _kinds(root: type[ShelflineError]) -> set[type[ShelflineError]]:
    return {root}.union(*(_kinds(child) for child in root.__subclasses__()))


# Errors that answer no request: those of commands, of the Python client, of the start, and of the robots' own protocol.
NEVER_ANSWERED = {
    "bind_failed",
    "connection_failed",
    "invalid_url",
    "key_not_found",
    "manifest_lost",
    "output_failed",
    "robot_refused",
    "settings_invalid",
    "stack_failed",
    "usage",
}


def test_every_error_has_a_status() -> None:
    """An error that is added without a status would be a 500."""
    own = ("http.errors", "access.binding", "access.refusals", "client.errors", "commands.errors", "schema.robot")
    for module in (*(f"api.{name}" for name in own), "workers.errors", "serving.errors"):
        importlib.import_module(module)
    ours = {
        kind.code for kind in _kinds(ShelflineError) if kind.__module__.startswith(("api.", "workers.", "serving."))
    }

    assert ours - set(STATUS_BY_CODE) == NEVER_ANSWERED


def test_a_path_that_does_not_exist(http: FlaskClient) -> None:
    """Flask's own errors are problems too."""
    response = http.get("/v2/nothing")

    assert (
        response.status_code,
        response.get_json()["code"],
        response.content_type,
    ) == (404, "not_found", "application/problem+json")


def test_a_method_that_is_not_allowed(http: FlaskClient) -> None:
    """A 405 still says which methods there are."""
    response = http.delete("/v1/jobs")

    assert (response.status_code, response.get_json()["code"]) == (405, "method_not_allowed")
    assert "POST" in response.headers["Allow"]


def test_an_unexpected_error(app: Flask, capsys: pytest.CaptureFixture[str]) -> None:
    """A bug is a 500 that shows nothing of its inside; the log has it, with the request's id."""

    @app.get("/bug")
    def bug() -> str:
        raise RuntimeError("a secret detail")

    response = app.test_client().get("/bug", headers={"X-Request-ID": "abc-1"})

    assert (
        response.status_code,
        response.get_json()["code"],
        response.get_json()["request_id"],
    ) == (500, "internal_error", "abc-1")
    assert "secret" not in response.text
    logged = capsys.readouterr().out
    assert "a secret detail" in logged
    assert "abc-1" in logged


def test_a_model_that_is_away(app: Flask) -> None:
    """Whatever is temporary says so, and when to come back."""

    @app.get("/away")
    def away() -> str:
        raise ModelUnavailableError("The model server does not answer.")

    response = app.test_client().get("/away")

    assert (response.status_code, response.headers["Retry-After"], response.get_json()["retryable"]) == (503, "1", True)


@pytest.mark.parametrize(
    ("status", "code"), [(418, "invalid_request"), (415, "unsupported_media_type"), (501, "internal_error")]
)
def test_any_http_error(app: Flask, status: int, code: str) -> None:
    """A status that Flask raises keeps its number, under the nearest code."""
    app.add_url_rule("/raised", "raised", lambda: abort(status))

    response = app.test_client().get("/raised")

    assert (status, code) == (response.status_code, response.get_json()["code"])


@pytest.mark.parametrize("offered", ["a b", "a" * 129, "", 'a"b', "\xe9"])
def test_a_request_id_that_is_not_sane(http: FlaskClient, offered: str) -> None:
    """What could break a log or a header is replaced."""
    response = http.get("/healthz", headers={"X-Request-ID": offered})

    assert response.headers["X-Request-ID"].startswith("req_")


def test_a_request_id_is_kept(http: FlaskClient) -> None:
    """The caller's id comes back, so that both logs can be joined."""
    assert http.get("/healthz", headers={"X-Request-ID": "trace/1:2"}).headers["X-Request-ID"] == "trace/1:2"
    assert http.get("/v2", headers={"X-Request-ID": "a" * 128}).get_json()["request_id"] == "a" * 128


def test_ready(http: FlaskClient, backend: Backend, link: RedisLink) -> None:
    """Ready means that every part of the chain is; else the problem says which is not."""
    backend.catalog.publish(Published("default", "", 1))
    link.client.set(WORKER_SEEN_KEY, "1")
    assert (http.get("/readyz").status_code, http.get("/readyz").get_json()["checks"]["worker"]) == (200, "ok")
    backend.catalog.publish(Published("default", "not loaded yet"))

    response = http.get("/readyz")

    assert (
        response.status_code,
        response.get_json()["code"],
        response.headers["Retry-After"],
    ) == (503, "not_ready", "1")
    assert response.get_json()["detail"] == "model: not loaded yet"
    assert response.get_json()["checks"]["redis"] == "ok"
    assert http.get("/healthz").status_code == 200


def test_two_slashes_lead_nowhere(http: FlaskClient) -> None:
    """Werkzeug takes them for one, and an address that is guarded by a prefix would be reached by another."""
    for address in ("//metrics", "//v1/jobs", "///healthz"):
        answer = http.get("/", environ_overrides={"PATH_INFO": address})
        assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found"), address


@pytest.mark.parametrize("address", ["/v1/jobs", "/v1/detect", "/api/v3/prediction/commodity"])
def test_a_compressed_body_is_refused(http: FlaskClient, address: str) -> None:
    """It would be read as what it is not; `identity` says that it is not compressed."""
    sent = {"data": b"{}", "content_type": "application/json"}
    refused = http.post(address, headers={"Content-Encoding": "gzip"}, **sent)
    read = http.post(address, headers={"Content-Encoding": "identity"}, **sent)
    if "prediction" in address:
        assert refused.get_json()["error_code"] != read.get_json()["error_code"]
    else:
        assert (refused.status_code, refused.get_json()["code"]) == (415, "unsupported_media_type")
        assert read.status_code == 400


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [(errno.EMFILE, 503, "busy"), (errno.ENFILE, 503, "busy"), (errno.EIO, 500, "internal_error")],
)
def test_too_many_open_files_are_a_503(number: int, status: int, code: str) -> None:
    """A caller may try again; other errors of the system are the server's fault."""
    answer = _answer_of(OSError(number, "no file"))
    assert (answer.status_code, answer.get_json()["code"], "Retry-After" in answer.headers) == (
        status,
        code,
        status == 503,
    )


@pytest.mark.parametrize(
    ("error", "seconds"),
    [(SpoolFullError("full"), 30), (StoreUnavailableError("full", retry_after=30), 30), (BusyError("busy"), 1)],
)
def test_when_to_come_back(error: ShelflineError, seconds: int) -> None:
    """A full disk is not empty again after a second."""
    assert _answer_of(error).headers["Retry-After"] == str(seconds)


def _answer_of(error: Exception) -> TestResponse:
    """The answer to a request that ends with an error."""
    own = Flask("errors")
    register_problems(own)

    def fail() -> str:
        raise error

    own.add_url_rule("/", view_func=fail)
    return own.test_client().get("/")


def test_ready_looks_at_free_space(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bytes fit on a disk that has no room for a photo."""
    assert backend.health.checks()["disk"] == "ok"
    usage = shutil.disk_usage("/")._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    assert "only 100000 bytes free" in backend.health.checks()["disk"]
