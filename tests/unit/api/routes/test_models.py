"""The routes of models."""

from __future__ import annotations

from flask.testing import FlaskClient

from serving.contract import VersionStatus
from tests.support.models import tiny_contract
from workers.backend import Backend
from workers.store.catalog import Published


def test_models_are_listed_with_what_workers_found(http: FlaskClient, backend: Backend) -> None:
    """The contract of the version that answers, every version's state, and a model that nobody has looked for."""
    versions = (VersionStatus(3, "LOADING", "variables are missing"), VersionStatus(2, "AVAILABLE", ""))
    backend.catalog.publish(Published("default", "", 2, tiny_contract().to_json(), versions))
    first, second = http.get("/v1/models").get_json()["data"]
    assert (first["id"], first["default"], first["state"], first["version"]) == ("default", True, "available", 2)
    assert first["versions"][0] == {"version": 3, "state": "LOADING", "error": "variables are missing"}
    assert first["contract"]["labels"][0] == {"id": 1, "name": "product-1", "root": "shelf"}
    assert (second["id"], second["state"], second["contract"]) == ("other-1.0", "unavailable", None)
    assert second["error"]


def test_one_model(http: FlaskClient, backend: Backend) -> None:
    """A model that is down says why."""
    backend.catalog.publish(Published("default", "nobody answers at 127.0.0.1:8500"))
    shown = http.get("/v1/models/default").get_json()
    assert (shown["state"], shown["error"]) == ("unavailable", "nobody answers at 127.0.0.1:8500")


def test_an_unknown_model_is_404(http: FlaskClient) -> None:
    """The problem names it."""
    answer = http.get("/v1/models/nothing")
    assert answer.status_code == 404
    assert answer.get_json()["code"] == "model_not_found"
    assert "'nothing'" in answer.get_json()["detail"]
