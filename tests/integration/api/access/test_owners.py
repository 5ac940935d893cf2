"""Whose a job is: for everyone else it never was, on a real Redis."""

from __future__ import annotations

import io
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from api.access.caller import Caller, bind_caller
from api.app import create_app
from workers.backend import Backend
from workers.duties import Duties
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.settings import Settings


@pytest.fixture
def app(settings: Settings, backend: Backend) -> Flask:
    """The API, where a header says who calls."""
    app = create_app(settings, backend)
    app.before_request(
        lambda: bind_caller(Caller(request.headers.get("Owner", ""), sees_all="Admin" in request.headers))
    )
    return app


@pytest.fixture
def duties(link: RedisLink, settings: Settings) -> Duties:
    return Duties(link, BlobStore(settings.blob_url), settings, lambda _model: None)


def send(http: FlaskClient, owner: str, **headers: str) -> Any:
    data = {"images": (io.BytesIO(b"x"), "a.jpg")}
    return http.post("/v1/jobs", data=data, headers={"Owner": owner, **headers}).get_json()


OF_A_JOB = [
    ("GET", ""),
    ("GET", "?wait=1"),
    ("GET", "/results"),
    ("GET", "/items/0/image"),
    ("POST", "/cancel"),
    ("POST", "/retry"),
    ("DELETE", ""),
]


@pytest.mark.parametrize(("method", "path"), OF_A_JOB)
def test_another_owners_job_never_was(http: FlaskClient, method: str, path: str) -> None:
    """The answer is that to an unknown id, word for word, and nothing happens to the job."""
    job = send(http, "a")["id"]
    unknown = job[:-1] + ("0" if job[-1] != "0" else "1")

    refused = [
        http.open(f"/v1/jobs/{job_id}{path}", method=method, headers={"Owner": "b"}) for job_id in (job, unknown)
    ]

    assert [answer.status_code for answer in refused] == [404, 404]
    said, expected = [answer.get_json() for answer in refused]
    assert said["detail"] == expected["detail"].replace(unknown, job)
    assert said["code"] == expected["code"] == "job_not_found"
    assert http.get(f"/v1/jobs/{job}", headers={"Owner": "a"}).get_json()["state"] == "queued"


def test_a_deleted_job_is_gone_to_its_owner_only(http: FlaskClient, duties: Duties) -> None:
    """Others do not learn that it was there, not even by deleting it."""
    job = send(http, "a")["id"]
    http.post(f"/v1/jobs/{job}/cancel", headers={"Owner": "a"})
    duties.run_due()
    urls = [("GET", ""), ("GET", "/results"), ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")]
    assert http.delete(f"/v1/jobs/{job}", headers={"Owner": "b"}).status_code == 404
    assert http.delete(f"/v1/jobs/{job}", headers={"Owner": "a"}).status_code == 204

    for owner, expected in (("a", [410, 410, 410, 410, 204]), ("b", [404] * 5), ("", [404] * 5)):
        answers = [http.open(f"/v1/jobs/{job}{path}", method=method, headers={"Owner": owner}) for method, path in urls]
        assert [answer.status_code for answer in answers] == expected
    assert http.get(f"/v1/jobs/{job}", headers={"Admin": "1"}).status_code == 410


def test_an_admin_sees_everyones(http: FlaskClient) -> None:
    """And may end it."""
    job = send(http, "a")["id"]

    assert http.get(f"/v1/jobs/{job}", headers={"Admin": "1"}).get_json()["id"] == job
    assert http.post(f"/v1/jobs/{job}/cancel", headers={"Admin": "1"}).status_code == 200


def test_an_idempotency_key_is_its_owners(http: FlaskClient) -> None:
    """The same key of another owner is another key."""
    jobs = [send(http, owner, **{"Idempotency-Key": "k"})["id"] for owner in ("a", "a", "b")]

    assert jobs[0] == jobs[1] != jobs[2]
