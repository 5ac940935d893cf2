"""Webhooks by HTTP: as an option of jobs and as registered endpoints; what is refused, what is shown, what never is."""

from __future__ import annotations

import io
import json
import uuid
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.app import create_app
from workers.backend import Backend
from workers.io.redis_link import RedisLink
from workers.jobs.webhook import Event, Webhook, WebhookFormat, new_secret
from workers.queue.work_queue import WorkQueue
from workers.settings import Settings
from workers.store.api_keys import KeyStore, KeyTerms, Scope
from workers.webhooks.deliveries import Attempt
from workers.webhooks.outbox import DueDelivery, Outbox
from workers.webhooks.payloads import Renderer
from workers.webhooks.verdicts import Verdict

URL = "https://example.com/hook?token=1"
SECRET = new_secret()
HOOK = {"url": URL, "events": ["job.started", "item.finished"], "secret": SECRET}


@pytest.fixture
def outbox(link: RedisLink, settings: Settings) -> Outbox:
    return Outbox(link, settings)


def upload(**fields: Any) -> dict[str, Any]:
    return {"data": {"images": (io.BytesIO(b"x"), "a.jpg"), **fields}}


def submitted(http: FlaskClient, webhook: Any = HOOK) -> str:
    return str(http.post("/v1/jobs", **upload(webhook=json.dumps(webhook))).get_json()["id"])


def started(link: RedisLink, settings: Settings) -> None:
    assert WorkQueue(link, settings, "w").claim("default", 16).images


def record(outbox: Outbox, due: DueDelivery, error: str = "") -> None:
    """Record the last attempt of a delivery."""
    attempt = Attempt(due.message, due.attempts + 1, 1.0, 0.25, 500 if error else 200, error, "thanks")
    outbox.record(due, attempt, Verdict(error), None)


@pytest.mark.parametrize("form", ["json", "multipart"])
def test_a_job_with_a_webhook(http: FlaskClient, backend: Backend, form: str) -> None:
    """It is kept with the job as it was asked for, in JSON and in a form's field; its secret is in no answer."""
    if form == "json":
        answer = http.post("/v1/jobs", json={"items": [{"image": "eA=="}], "webhook": HOOK})
    else:
        answer = http.post("/v1/jobs", **upload(webhook=json.dumps(HOOK)))

    assert answer.status_code == 202, answer.text
    job = answer.get_json()["id"]
    kept, base_url = backend.store.webhook_of(job)
    expected = Webhook(URL, (Event.JOB_STARTED, Event.ITEM_FINISHED), WebhookFormat.STANDARD, SECRET)
    assert (kept, base_url) == (expected, "http://localhost")
    shown = answer.text + http.get(f"/v1/jobs/{job}").text + http.get(f"/v1/jobs/{job}/deliveries").text
    assert SECRET not in shown
    assert SECRET.removeprefix("whsec_") not in shown


@pytest.mark.parametrize(
    "wrong",
    [
        "https://example.com/hook",
        {},
        {"url": "ftp://example.com/"},
        {"url": "https://user:pass@example.com/"},
        {"url": URL, "events": []},
        {"url": URL, "events": ["job.exploded"]},
        {"url": URL, "format": "xml"},
        {"url": URL, "format": "baidu", "events": ["job.finished"]},
        {"url": URL, "format": "baidu_batch", "events": ["item.finished"]},
        {"url": URL, "secret": "hunter2hunter2hunter2hunter2"},
        {"url": URL, "secret": ""},
        {"url": URL, "colour": "blue"},
    ],
)
def test_a_wrong_webhook(http: FlaskClient, wrong: Any) -> None:
    """It is refused in both forms, with the field by name, and never with the secret."""
    for answer in (
        http.post("/v1/jobs", json={"items": [{"image": "eA=="}], "webhook": wrong}),
        http.post("/v1/jobs", **upload(webhook=json.dumps(wrong))),
    ):
        assert answer.status_code == 400
        assert "webhook" in answer.get_json()["detail"]
        assert "hunter2" not in answer.text


def test_a_retry_tells_the_same_webhook(http: FlaskClient, backend: Backend, link: RedisLink) -> None:
    """The new job's webhook is the old one's, its secret too."""
    job = submitted(http)
    backend.store.cancel(job)
    link.client.hset(f"sl:job:{job}", mapping={"state": "failed", "failed": 1, "canceled": 0})
    link.client.hset(f"sl:job:{job}:seg:0", "0", '{"index":0,"name":"a.jpg","state":"failed"}')

    again = http.post(f"/v1/jobs/{job}/retry").get_json()["id"]

    assert again != job
    assert backend.store.webhook_of(again) == backend.store.webhook_of(job)


def test_the_body_is_the_job_as_the_api_shows_it(
    http: FlaskClient, backend: Backend, link: RedisLink, settings: Settings, outbox: Outbox
) -> None:
    """Its addresses too, though no request is there to tell them; PUBLIC_URL tells others."""
    job = submitted(http)
    started(link, settings)
    (due,) = outbox.claim(8, 8)
    renderer = Renderer(link, backend.originals._blobs)

    body = json.loads(renderer.body(due))
    assert body["type"] == "job.started"
    assert body["data"] == http.get(f"/v1/jobs/{job}").get_json()

    public = settings.model_copy(update={"public_url": "https://shelf.example"})
    other = submitted(create_app(public, Backend(public)).test_client())
    assert backend.store.webhook_of(other)[1] == "https://shelf.example"


def test_deliveries_as_they_are_shown(http: FlaskClient, link: RedisLink, settings: Settings, outbox: Outbox) -> None:
    """Each attempt with status, duration, and what was answered; the URL without its query. It may be sent again."""
    job = submitted(http)
    started(link, settings)
    (due,) = outbox.claim(8, 8)
    record(outbox, due)

    shown = http.get(f"/v1/jobs/{job}/deliveries").get_json()
    (hook,), (delivery,) = shown["webhooks"], shown["data"]
    assert (hook["id"], hook["url"], hook["delivered"]) == (None, "https://example.com/hook", 1)
    assert (delivery["id"], delivery["event"], delivery["state"]) == (due.message, "job.started", "delivered")
    (attempt,) = delivery["attempts"]
    assert (attempt["status"], attempt["seconds"], attempt["answer"]) == (200, 0.25, "thanks")

    assert outbox.claim(8, 8) == []
    assert http.post(f"/v1/deliveries/{due.message}/redeliver").status_code == 202
    (again,) = outbox.claim(8, 8)
    assert again.message == due.message


@pytest.mark.parametrize("text", ["x", "msg_1", f"msg_{'0' * 32}_0_finished"])
def test_a_delivery_that_there_is_not(http: FlaskClient, text: str) -> None:
    """404, in whatever way there is none."""
    answer = http.post(f"/v1/deliveries/{text}/redeliver")

    assert (answer.status_code, answer.get_json()["code"]) == (404, "delivery_not_found")


def test_a_delivery_of_what_has_not_happened(http: FlaskClient) -> None:
    """Nor may anything be told early in this way."""
    job = submitted(http)

    for event in ("started", "finished", "item-0", "progress-1"):
        assert http.post(f"/v1/deliveries/msg_{job[4:]}_0_{event}/redeliver").status_code == 404


def test_an_endpoint(http: FlaskClient) -> None:
    """Made, listed, shown, changed, disabled, enabled, deleted; the secret is in the first answer only."""
    made = http.post("/v1/webhooks", json={"url": URL})
    assert made.status_code == 201
    document = made.get_json()
    secret, where = document.pop("secret"), f"/v1/webhooks/{document['id']}"
    assert made.headers["Location"].endswith(where)
    assert (document["events"], document["format"], document["state"]) == (["job.finished"], "standard", "enabled")

    assert http.get("/v1/webhooks").get_json()["data"] == [document | {"secret": None}]
    shown = http.get(where)
    assert shown.get_json() == document | {"secret": None, "attempts": []}
    changed = http.put(where, json={"url": "https://example.com/2", "events": ["job.started"]}).get_json()
    assert (changed["url"], changed["events"]) == ("https://example.com/2", ["job.started"])
    disabled = http.post(f"{where}/disable").get_json()
    assert (disabled["state"], bool(disabled["reason"]), bool(disabled["disabled_at"])) == ("disabled", True, True)
    enabled = http.post(f"{where}/enable").get_json()
    assert (enabled["state"], enabled["reason"], enabled["disabled_at"]) == ("enabled", None, None)
    assert all(secret not in answer.text for answer in (shown, http.get("/v1/webhooks")))
    assert http.delete(where).status_code == 204
    for verb in (http.get, http.delete):
        assert verb(where).get_json()["code"] == "webhook_not_found"


def test_a_secret_is_rotated(http: FlaskClient, outbox: Outbox) -> None:
    """The new one is shown once; both are used for as long as was said, then the new one alone."""
    made = http.post("/v1/webhooks", json={"url": URL, "secret": SECRET}).get_json()
    assert made["secret"] == SECRET
    where = f"/v1/webhooks/{made['id']}"
    rotated = http.post(f"{where}/rotate", json={"keep_old_seconds": 3600}).get_json()
    assert rotated["secret"] not in {None, SECRET}
    assert rotated["old_secret_until"]
    http.post(f"{where}/test")
    (due,) = outbox.claim(8, 8)
    until = float(due.endpoint["old_secret_until"])
    assert due.secrets(until - 1) == [rotated["secret"], SECRET]
    assert due.secrets(until + 1) == [rotated["secret"]]
    refused = http.post(f"{where}/rotate", json={"secret": "short"})
    assert refused.status_code == 400
    assert refused.get_json()["detail"].startswith("secret: write whsec_ and the base64")


def test_there_are_so_many_endpoints_at_most(http: FlaskClient) -> None:
    """Each job holds a hook for each."""
    for _ in range(20):
        assert http.post("/v1/webhooks", json={"url": URL}).status_code == 201

    assert http.post("/v1/webhooks", json={"url": URL}).get_json()["code"] == "webhook_state"


def test_endpoints_are_told_of_their_owners_jobs_only(
    app: Flask, link: RedisLink, settings: Settings, outbox: Outbox
) -> None:
    """And nobody else sees their deliveries, or has them sent again."""
    keys = KeyStore(link)

    def client(owner: str) -> FlaskClient:
        made = app.test_client()
        scopes = (Scope.SUBMIT, Scope.READ)
        secret, _ = keys.create(KeyTerms(name=owner, owner=owner, scopes=scopes))
        made.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
        return made

    mine, theirs = client(f"a{uuid.uuid4().hex[:8]}"), client("b")
    endpoint = mine.post("/v1/webhooks", json={"url": URL, "events": ["job.started"]}).get_json()["id"]
    job_id, other = (caller.post("/v1/jobs", **upload()).get_json()["id"] for caller in (mine, theirs))
    started(link, settings)

    (due,) = outbox.claim(8, 8)
    assert (due.destination, due.job.id) == (endpoint, job_id)
    record(outbox, due, "The endpoint answered 500.")
    assert theirs.get(f"/v1/jobs/{job_id}/deliveries").status_code == 404
    assert theirs.post(f"/v1/deliveries/{due.message}/redeliver").status_code == 404
    assert theirs.get("/v1/webhooks").get_json()["data"] == []
    assert mine.get(f"/v1/jobs/{job_id}/deliveries").get_json()["data"][0]["state"] == "failed"
    assert mine.get(f"/v1/webhooks/{endpoint}").get_json()["attempts"][0]["status"] == 500
    assert theirs.get(f"/v1/jobs/{other}/deliveries").get_json() == {"object": "list", "webhooks": [], "data": []}
    mine.post(f"/v1/webhooks/{endpoint}/disable")
    assert mine.post(f"/v1/deliveries/{due.message}/redeliver").get_json()["code"] == "webhook_state"
    assert mine.post("/v1/jobs", **upload()).status_code == 202  # nothing of it is told
    started(link, settings)
    assert outbox.claim(8, 8) == []


def test_the_same_request_with_another_webhook(http: FlaskClient) -> None:
    """Is another request to an idempotency key."""
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    assert http.post("/v1/jobs", headers=headers, **upload(webhook=json.dumps(HOOK))).status_code == 202
    assert http.post("/v1/jobs", headers=headers, **upload(webhook=json.dumps(HOOK))).status_code == 202
    other = HOOK | {"secret": new_secret()}
    assert http.post("/v1/jobs", headers=headers, **upload(webhook=json.dumps(other))).status_code == 422
