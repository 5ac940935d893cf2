"""The routes that change a job, on a real Redis: cancel, retry, delete, idempotency, refusals."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.manual_worker import ManualWorker
from workers.backend import Backend
from workers.io.redis_link import RedisLink
from workers.settings import Settings


@pytest.fixture
def backend(settings: Settings) -> Iterator[Backend]:
    backend = Backend(settings.model_copy(update={"max_waiting_images": 10}))
    yield backend
    backend.store.close()


@pytest.fixture
def work(link: RedisLink, settings: Settings) -> Callable[[str], None]:
    """Settle everything that waits, in the state that is given."""
    return ManualWorker(settings, link).settle_all


def send(http: FlaskClient, *contents: bytes, **more: Any) -> Any:
    files = [(io.BytesIO(content), f"{number}.jpg") for number, content in enumerate(contents)]
    return http.post("/v1/jobs", data={"images": files, **more.pop("fields", {})}, **more)


def test_a_job_is_canceled_and_deleted(http: FlaskClient, work: Callable[[str], None]) -> None:
    """Each may be sent twice; what does not fit the state is a conflict that names it."""
    job = send(http, b"x").get_json()
    assert job["urls"]["cancel"].endswith(f"/v1/jobs/{job['id']}/cancel")
    refused = http.delete(f"/v1/jobs/{job['id']}")
    assert (refused.status_code, refused.get_json()["code"]) == (409, "job_state")
    assert "queued" in refused.get_json()["detail"]
    canceled = http.post(f"/v1/jobs/{job['id']}/cancel")
    assert (canceled.status_code, canceled.get_json()["state"]) == (200, "finishing")
    work("succeeded")
    assert http.post(f"/v1/jobs/{job['id']}/cancel").get_json()["state"] == "canceled"
    assert http.get(f"/v1/jobs/{job['id']}/results").get_json(force=True)["state"] == "canceled"
    assert http.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert http.delete(f"/v1/jobs/{job['id']}").status_code == 204
    gone = http.get(f"/v1/jobs/{job['id']}")
    assert (gone.status_code, gone.get_json()["code"]) == (410, "job_gone")


def test_failed_images_are_tried_again(http: FlaskClient, work: Callable[[str], None]) -> None:
    """As a new job, which each names of the other; a job without failures is a conflict."""
    job = send(http, b"x", b"y").get_json()
    work("failed")
    again = http.post(f"/v1/jobs/{job['id']}/retry")
    assert (again.status_code, again.get_json()["retry_of"]) == (202, job["id"])
    assert again.headers["Location"] == again.get_json()["urls"]["self"]
    assert http.get(f"/v1/jobs/{job['id']}").get_json()["retried_as"] == again.get_json()["id"]
    assert http.post(f"/v1/jobs/{job['id']}/retry").get_json()["id"] == again.get_json()["id"]
    work("succeeded")
    refused = http.post(again.get_json()["urls"]["retry"])
    assert (refused.status_code, refused.get_json()["code"]) == (409, "job_state")


def test_an_idempotency_key_makes_one_job(http: FlaskClient) -> None:
    """The same request is replayed, another one is refused, a key too long as well."""
    key = {"Idempotency-Key": "abc"}
    first = send(http, b"x", headers=key)
    assert send(http, b"x", headers=key).get_json()["id"] == first.get_json()["id"]
    other = send(http, b"y", headers=key)
    assert (other.status_code, other.get_json()["code"]) == (422, "idempotency_mismatch")
    assert send(http, b"x", headers={"Idempotency-Key": "k" * 256}).status_code == 400


def test_a_full_queue_says_when_to_come_back(http: FlaskClient, work: Callable[[str], None]) -> None:
    """With the rate that was measured, one image a second here."""
    send(http, b"x")
    work("succeeded")
    send(http, *[b"x"] * 8)
    refused = send(http, *[b"x"] * 5)
    assert (refused.status_code, refused.get_json()["code"]) == (503, "queue_full")
    assert refused.headers["Retry-After"] == "3"
    assert refused.get_json()["retryable"] is True


def test_a_job_tells_its_place_and_its_deadline(http: FlaskClient, work: Callable[[str], None]) -> None:
    """How long it takes is unknown until something was measured."""
    job = send(http, b"x", fields={"deadline_seconds": "60"}).get_json()
    assert (job["queue_position"], job["eta_seconds"]) == (0, None)
    assert job["deadline_at"] > job["created_at"]
    work("succeeded")
    second = send(http, b"x", b"y").get_json()
    assert (second["queue_position"], second["eta_seconds"]) == (0, 2.0)
    done = http.get(f"/v1/jobs/{job['id']}").get_json()
    assert (done["queue_position"], done["eta_seconds"]) == (None, 0.0)
    assert done["expires_at"] > done["finished_at"]
    for wrong in ("0", "-1", "nan", "x", "1e9"):
        assert send(http, b"x", fields={"deadline_seconds": wrong}).status_code == 400
