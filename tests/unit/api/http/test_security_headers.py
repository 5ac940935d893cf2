"""The headers of every answer."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from api.http.security_headers import SECURITY_HEADERS


@pytest.mark.parametrize("path", ["/healthz", "/v1/jobs/job_0", "/nothing", "/openapi.json", "/docs"])
def test_every_answer_carries_the_security_headers(http: FlaskClient, path: str) -> None:
    """Errors too; a page has a policy of its own, which lets nothing come from elsewhere."""
    headers = http.get(path).headers
    assert set(SECURITY_HEADERS) <= set(headers.keys())
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "http" not in headers["Content-Security-Policy"]


def test_no_other_site_may_read(http: FlaskClient) -> None:
    """No Access-Control header is sent, asked or not, and a preflight finds none either."""
    for answer in (
        http.get("/healthz", headers={"Origin": "http://127.0.0.1:3000"}),
        http.options("/v1/jobs", headers={"Origin": "http://127.0.0.1:3000", "Access-Control-Request-Method": "POST"}),
    ):
        assert [name for name, _ in answer.headers if name.lower().startswith("access-control")] == []


def test_options_name_the_methods(http: FlaskClient) -> None:
    """Without a body."""
    answer = http.options("/v1/jobs")
    assert (answer.status_code, answer.data) == (204, b"")
    assert {"POST", "OPTIONS"} <= {name.strip() for name in answer.headers["Allow"].split(",")}
    assert "Content-Type" not in answer.headers


def test_head_is_get_without_its_body(http: FlaskClient) -> None:
    """The same status and length."""
    head, get = http.head("/v1/models"), http.get("/v1/models")
    assert (head.status_code, head.data) == (200, b"")
    assert head.content_length == get.content_length


@pytest.mark.parametrize("path", ["/v1//models", "/v1/models/", "/v1/../healthz", "/HEALTHZ"])
def test_no_address_is_guessed(http: FlaskClient, path: str) -> None:
    """What is nearly an address is none: no redirect."""
    assert http.get(path).get_json()["code"] in {"not_found", "model_not_found"}


@pytest.mark.parametrize(
    "path",
    ["/v1/jobs/%", "/v1/jobs/%zz", "/v1/jobs/%ff", "/v1/jobs/%00", "/v1/jobs/%ed%a0%80", "/v1/jobs/a?wait=%f", "/%00"],
)
def test_an_address_that_does_not_decode(http: FlaskClient, path: str) -> None:
    """It is refused, never read as something near it."""
    answer = http.get("/", environ_overrides={"RAW_URI": path})
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_request")
