"""The OpenAPI document: complete, current, and readable without the network."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from api.commands.make_openapi import PATH, openapi_text
from api.openapi.declaration import Api
from api.openapi.responses import Answer
from api.schema.webhook_request import SIGNING
from workers.jobs.webhook import checked_secret
from workers.settings import Settings

NOT_DESCRIBED = {"docs", "pages"}  # what is for people


@pytest.fixture
def document(http: FlaskClient) -> dict[str, Any]:
    return dict(http.get("/openapi.json").get_json())


def test_the_committed_document_is_current() -> None:
    """Whoever changes a route runs `make openapi`."""
    assert PATH.read_text() == openapi_text(), "run `make openapi`"


def test_every_route_is_described(app: Flask, document: dict[str, Any]) -> None:
    """A route without a declaration would be neither checked nor documented."""
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in {"HEAD", "OPTIONS"} and rule.endpoint.split(".")[0] not in NOT_DESCRIBED
    }
    assert routes == {(path, method) for path, operations in document["paths"].items() for method in operations}


def test_every_reference_leads_somewhere(http: FlaskClient, document: dict[str, Any]) -> None:
    """And no schema is there that nothing refers to."""
    used = set(re.findall(r'"#/components/schemas/([^"]+)"', http.get("/openapi.json").text))
    assert used == set(document["components"]["schemas"])


def test_every_operation_says_what_it_is(document: dict[str, Any]) -> None:
    """A summary that is a sentence, its own problems, and no parameter that could be null.

    A robot's errors are no problems, and stand in its one answer; only an address or a header that is too long reaches
    no route.
    """
    for operations in document["paths"].values():
        for operation in operations.values():
            assert re.fullmatch(r"[A-Z].*\.", operation["summary"]), operation["operationId"]
            robot, own = operation["tags"] == ["robots"], operation["operationId"]
            assert (
                {"200", "414", "431"} == set(operation["responses"])
                if robot
                else {"400", "403"} < set(operation["responses"])
            )
            texts = [parameter["schema"] for parameter in operation["parameters"] if "content" not in parameter]
            objects = {parameter["name"] for parameter in operation["parameters"] if "content" in parameter}
            assert objects == ({"Shelfline-Metadata", "Shelfline-Webhook"} if own == "jobs_submit" else set())  # JSON
            assert "null" not in str(texts)


def test_two_routes_of_one_name_are_refused(settings: Settings) -> None:
    """An operation's id must be unique, or clients made of the document lose one."""
    api = Api(settings)

    def show() -> Response:
        return Response()

    api.describe(Answer(), tag="jobs")(show)
    with pytest.raises(AssertionError, match="jobs_show"):
        api.describe(Answer(), tag="jobs")(show)


def test_the_page_needs_no_foreign_host(http: FlaskClient) -> None:
    """All that the page loads is served from here."""
    page = http.get("/docs").text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(loaded) == 3
    for path in loaded:
        assert path.startswith("/docs/")
        with http.get(path) as response:
            assert response.status_code == 200
    assert "/openapi.json" in http.get("/docs/start.js").text
    assert http.get("/docs/nothing.js").status_code == 404


def test_an_unknown_parameter_is_refused(http: FlaskClient) -> None:
    """A misspelt one would be ignored, a doubled one half so."""
    assert http.get("/healthz?verbose=1").get_json()["code"] == "unknown_field"
    doubled = http.get("/v1/jobs/job_0?wait=1&wait=2")
    assert (doubled.status_code, doubled.get_json()["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("size", [0, 23, 24, 25, 26, 27, 61, 62, 63, 64, 65, 66, 68])
def test_the_secret_in_the_document_is_the_one_that_is_taken(size: int) -> None:
    """A client that checks it by the document, and the server, agree."""
    secret = "whsec_" + base64.b64encode(bytes(size)).decode()
    try:
        checked_secret(secret)
    except ValueError:
        assert not re.search(SIGNING, secret)
    else:
        assert re.search(SIGNING, secret)
