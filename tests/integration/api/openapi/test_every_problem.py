"""Every error that the OpenAPI document names is provoked, at every operation that names it, on a real Redis."""

from __future__ import annotations

import io
import json
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app
from api.commands.make_openapi import PATH
from api.commands.stack.plan import free_ports
from api.http import drawing
from api.http.waiting import WaitingRoom
from api.requests import spool
from tests.support.manual_worker import ManualWorker
from tests.support.servers.redis_server import RedisServer
from workers.backend import Backend
from workers.errors import ItemNotFoundError
from workers.io.redis_link import RedisLink
from workers.jobs.job import new_id
from workers.settings import Settings
from workers.sources.original_images import OriginalImages
from workers.store.api_keys import KeyStore, KeyTerms, Scope, new_secret
from workers.store.idempotency import IdempotencyKeys
from workers.webhooks.endpoints import MAX_ENDPOINTS
from workers.webhooks.outbox import Outbox

DOCUMENT = json.loads(PATH.read_text())
FORM = "multipart/form-data"
HOOK = {"url": "https://example.com/hook", "events": ["job.started"]}

# What the server says before the application is asked: see test_malformed.py.
OF_THE_WIRE = {"url_too_long", "headers_too_large"}
DETECT = {"post /v1/detect", "post /api/v1/prediction/commodity"}  # which wait for a worker


def _documented() -> Iterator[tuple[str, str]]:
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            for response in operation["responses"].values():
                schema = response.get("content", {}).get("application/problem+json", {}).get("schema")
                for code in schema["allOf"][1]["properties"]["code"]["enum"] if schema else ():
                    if code not in OF_THE_WIRE:
                        yield f"{method} {path}", code


@dataclass
class Lab:
    """The API with everything that can be made to go wrong."""

    settings: Settings
    link: RedisLink
    operation: str
    http: FlaskClient
    patch: pytest.MonkeyPatch

    def call(self, *, http: FlaskClient | None = None, job: str | None = None, **sent: Any) -> TestResponse:
        """Call the operation; path parameters are those of `job`, else of a job that does not exist."""
        method, path = self.operation.split(" ")
        values = {"job_id": job or new_id("job"), "index": "0", "model": "default"}
        values |= {"webhook_id": new_id("wh"), "delivery_id": "msg_1"} | sent.pop("values", {})
        for name, value in values.items():
            path = path.replace(f"{{{name}}}", value)
        if "data" not in sent and (body := self.described.get("requestBody")):
            sent |= _upload() if FORM in body["content"] else _json(**self.smallest)
        return (http or self.http).open(path, method=method.upper(), **sent)

    @property
    def root(self) -> Path:
        """A folder that jobs may read."""
        return self.settings.folder_roots[0]

    @property
    def smallest(self) -> dict[str, Any]:
        """The least that a body of JSON must have."""
        return {} if self.operation.endswith("/rotate") else HOOK

    @property
    def described(self) -> dict[str, Any]:
        method, path = self.operation.split(" ")
        operation: dict[str, Any] = DOCUMENT["paths"][path][method]
        return operation

    def client(self, **settings: Any) -> FlaskClient:
        """The API with other settings."""
        changed = self.settings.model_copy(update=settings)
        return create_app(changed, Backend(changed)).test_client()

    def job(self, state: str | None = None, **more: Any) -> str:
        """A job of one image, settled in a state."""
        job_id = str(self.http.post("/v1/jobs", **_upload(**more)).get_json()["id"])
        if state:
            self.settle(state)
        return job_id

    def settle(self, state: str, code: str = "image_missing") -> None:
        error = {"error": {"code": code, "detail": "Said by the test.", "retryable": False}}
        result = {"width": 8, "height": 8, "detections": [], **(error if state == "failed" else {})}
        ManualWorker(self.settings, self.link).settle_all(state, **result)

    def duties(self) -> None:
        ManualWorker(self.settings, self.link).duties.run_due()


def _upload(**more: Any) -> dict[str, Any]:
    content = more.pop("content", b"x")
    return {"data": {"images": (io.BytesIO(content), "a.jpg"), **more.pop("fields", {})}, **more}


def _json(**body: object) -> dict[str, Any]:
    return {"data": json.dumps(body), "content_type": "application/json"}


def _zip(*names: str) -> dict[str, Any]:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b"x")
    return {"data": out.getvalue(), "content_type": "application/zip"}


def _without_redis(lab: Lab) -> TestResponse:
    (nobody,) = free_ports(1)
    return lab.call(http=lab.client(redis_url=f"redis://127.0.0.1:{nobody}/0"))


def _deleted_job(lab: Lab) -> TestResponse:
    job = lab.job("succeeded")
    assert lab.http.delete(f"/v1/jobs/{job}").status_code == 204
    return lab.call(job=job)


def _wrong_state(lab: Lab) -> TestResponse:
    """A job that is over can neither be cancelled nor, if nothing failed, retried; one that runs cannot be deleted."""
    return lab.call(job=lab.job(None if lab.operation.startswith("delete") else "succeeded"))


def _in_flight(lab: Lab) -> TestResponse:
    IdempotencyKeys(lab.link).reserve("", "key-1")
    return lab.call(headers={"Idempotency-Key": "key-1"})


def _other_body(lab: Lab) -> TestResponse:
    lab.call(headers={"Idempotency-Key": "key-2"})
    return lab.call(headers={"Idempotency-Key": "key-2"}, **_upload(fields={"min_score": "0.5"}))


def _full_queue(lab: Lab) -> TestResponse:
    # That would measure a rate, and the wait be known.
    failed = None if lab.operation in DETECT else lab.job("failed")
    lab.job()
    return lab.call(http=lab.client(max_waiting_images=1), job=failed)


def _with_output(url: str, **settings: Any) -> Callable[[Lab], TestResponse]:
    """Submit with an output; or try a job again whose output was written, and now cannot be."""

    def call(lab: Lab) -> TestResponse:
        if "{job_id}" not in lab.operation:
            return lab.call(http=lab.client(**settings), **_json(items=[{"image": "eHg="}], output_url=url))
        lab.settings = lab.settings.model_copy(update={"output_prefixes": ("memory://out",)})
        lab.http = lab.client()
        job = lab.job("failed", fields={"output_url": "memory://out", "output_formats": "parquet"})
        lab.patch.setattr("workers.io.locations.find_spec", lambda _name: None)
        return lab.call(http=lab.client(output_prefixes=settings and ("memory://out",)), job=job)

    return call


def _no_temporary_folder(lab: Lab) -> TestResponse:
    lab.patch.setattr(tempfile, "tempdir", "/nonexistent")
    lab.patch.setattr(spool, "_MEMORY_BYTES", 0)  # small uploads need no file
    return lab.call()


def _with_key(lab: Lab, *scopes: Scope, calls: int = 1, held: bool = False, **terms: Any) -> TestResponse:
    """Call with a key of these scopes and terms, as often as that, while another of its requests is under way."""
    http = lab.client(host="192.0.2.1")
    secret, _ = KeyStore(lab.link).create(KeyTerms(name="k", owner="o", scopes=scopes or tuple(Scope), **terms))
    headers = {"Authorization": f"Bearer {secret}"}
    other = http.get("/v1/models", headers=headers, buffered=False) if held else None
    for _ in range(calls):
        answer = lab.call(http=http, headers=headers)
    if other:
        other.close()
    return answer


def _other_scope(lab: Lab) -> TestResponse:
    ((needed,),) = (scheme["key"] for scheme in lab.described["security"])
    return _with_key(lab, Scope.READ if needed == "submit" else Scope.SUBMIT)


def _detected(lab: Lab, state: str, code: str, *, wait: float = 20.0, **sent: Any) -> TestResponse:
    """Call for detections while a worker settles the image in a state."""
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            lab.settle(state, code)
            time.sleep(0.02)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        return lab.call(http=lab.client(detect_wait_seconds=wait), **sent)
    finally:
        done.set()
        worker.join()


def _of_image(code: str, otherwise: Callable[[Lab], TestResponse] | None = None) -> Callable[[Lab], TestResponse]:
    """What fails an image: of a call for detections the worker says it, else it is provoked."""
    return lambda lab: (
        _detected(lab, "failed", code) if lab.operation in DETECT or otherwise is None else otherwise(lab)
    )


def _lost_job(lab: Lab) -> TestResponse:
    """The same call again, whose job was deleted."""
    sent: dict[str, Any] = {"headers": {"Idempotency-Key": "key-3"}}
    job = lab.call(**sent).get_json()["id"]
    lab.settle("succeeded")
    lab.http.delete(f"/v1/jobs/{job}")
    return lab.call(**sent)


def _canceled(lab: Lab) -> TestResponse:
    return _detected(lab, "canceled", "")


def _lost_picture(lab: Lab) -> TestResponse:
    """The image is done, and its bytes are gone when they shall be drawn."""
    lab.patch.setattr(OriginalImages, "read", lambda _originals, job_id, index: _no_item(job_id, index))
    return _detected(lab, "succeeded", "", headers={"Accept": "image/png"})


def _no_item(job_id: str, index: int) -> bytes:
    raise ItemNotFoundError(f"{job_id} {index}")


def _drawn_at_once(lab: Lab) -> TestResponse:
    lab.patch.setattr(drawing, "_MAX_DRAWINGS", 0)
    lab.patch.setattr(drawing, "_WAIT_SECONDS", 0.01)
    return _detected(lab, "succeeded", "", headers={"Accept": "image/png"})


def _long_queue(lab: Lab) -> TestResponse:
    """More waits than can be done in the time that the caller has."""
    lab.job("succeeded")  # one image a second, as `settle` says
    for _ in range(30):
        lab.job()
    return lab.call()


def _manifest(lab: Lab) -> TestResponse:
    files = {"manifest": (io.BytesIO(b'{"nothing": 1}\n'), "list.jsonl")}
    return lab.call(data=files, content_type="multipart/form-data")


def _undrawable(content: bytes) -> Callable[[Lab], TestResponse]:
    return lambda lab: lab.call(job=lab.job("succeeded", content=content))


def _too_many_callers(lab: Lab) -> TestResponse:
    lab.patch.setattr(WaitingRoom, "enter", lambda _room: False)
    lab.patch.setattr(drawing, "_MAX_DRAWINGS", 0)
    lab.patch.setattr(drawing, "_WAIT_SECONDS", 0.01)
    return lab.call(http=lab.client(), job=lab.job("succeeded"))


def _unprocessable(lab: Lab) -> TestResponse:
    if lab.operation.startswith("post "):
        return lab.call(query_string={"min_score": "0.5"})
    if "{job_id}" not in lab.operation:
        return lab.call(query_string={"cursor": "abc"})
    return lab.call(job=lab.job(), query_string={"start": "9"})


def _missing_image(lab: Lab) -> TestResponse:
    job = lab.job()
    for path in Path(lab.settings.blob_url).rglob("uploads/*/0"):
        path.unlink()
    return lab.call(job=job)


def _too_many_webhooks(lab: Lab) -> TestResponse:
    for _ in range(MAX_ENDPOINTS):
        lab.call()
    return lab.call()


def _blocked_webhook(lab: Lab) -> TestResponse:
    """A webhook of this machine, with a job or registered."""
    private = {"url": "http://127.0.0.1:6379/"}
    if lab.operation == "post /v1/jobs":
        return lab.call(**_json(items=[{"image": "eHg="}], webhook=private))
    return lab.call(
        values={"webhook_id": lab.http.post("/v1/webhooks", json=HOOK).get_json()["id"]}, **_json(**private)
    )


def _disabled(lab: Lab) -> TestResponse:
    """A job was told to an endpoint that is disabled now."""
    endpoint = lab.http.post("/v1/webhooks", json=HOOK).get_json()["id"]
    lab.job("succeeded")
    (delivery,) = Outbox(lab.link, lab.settings).claim(8, 8)
    lab.http.post(f"/v1/webhooks/{endpoint}/disable")
    return lab.call(values={"delivery_id": delivery.message})


PROVOKED: dict[str, Callable[[Lab], TestResponse]] = {
    "archive_invalid": lambda lab: lab.call(data=b"no zip", content_type="application/zip"),
    "archive_too_large": lambda lab: lab.call(http=lab.client(max_archive_entries=1), **_zip("a.jpg", "b.jpg")),
    "busy": lambda lab: _drawn_at_once(lab) if lab.operation in DETECT else _too_many_callers(lab),
    "concurrency_limited": lambda lab: _with_key(lab, concurrency=1, held=True),
    "crashed_worker": _of_image("crashed_worker"),
    "deadline_exceeded": _of_image("deadline_exceeded"),
    "delivery_not_found": lambda lab: lab.call(),
    "duplicate_custom_id": lambda lab: lab.call(**_json(items=[{"image": "eHg=", "custom_id": "a"}] * 2)),
    "fetch_blocked": _of_image("fetch_blocked"),
    "fetch_failed": _of_image("fetch_failed"),
    "folder_not_allowed": lambda lab: lab.call(**_json(folder="/etc")),
    "folder_not_found": lambda lab: lab.call(**_json(folder=f"{lab.root}/nothing")),
    "host_not_allowed": lambda lab: lab.call(base_url="http://elsewhere.example"),
    "idempotency_in_flight": _in_flight,
    "idempotency_mismatch": _other_body,
    "image_timeout": _of_image("image_timeout"),
    "version_gone": _of_image("version_gone"),
    "image_decode_failed": _of_image("image_decode_failed", _undrawable(b"\x89PNG\r\n\x1a\n" + b"x" * 100)),
    "image_missing": _of_image("image_missing", _missing_image),
    "image_too_large": _of_image(
        "image_too_large",
        lambda lab: lab.call(http=lab.client(max_image_bytes=1), job=lab.job("succeeded", content=b"xx")),
    ),
    "invalid_request": lambda lab: lab.call(environ_overrides={"RAW_URI": "/%"}),
    "item_failed": lambda lab: lab.call(job=lab.job("failed")),
    "item_not_finished": lambda lab: lab.call(job=lab.job()),
    "item_not_found": lambda lab: (
        _lost_picture(lab) if lab.operation in DETECT else lab.call(job=lab.job(), values={"index": "1"})
    ),
    "job_gone": lambda lab: _deleted_job(lab) if "{job_id}" in lab.operation else _lost_job(lab),
    "job_not_found": lambda lab: lab.call(),
    "job_state": lambda lab: _canceled(lab) if lab.operation in DETECT else _wrong_state(lab),
    "model_not_found": lambda lab: lab.call(values={"model": "nothing"}),
    "no_images": lambda lab: lab.call(data={}, content_type="multipart/form-data"),
    "not_acceptable": lambda lab: lab.call(headers={"Accept": "video/mp4"}),
    "not_found": lambda lab: lab.call(
        values=dict.fromkeys(("job_id", "model", "webhook_id", "delivery_id"), "") | {"index": "-1"}
    ),
    "not_ready": lambda lab: lab.call(),
    "output_not_allowed": _with_output("s3://elsewhere/x"),
    "output_unusable": _with_output("nosuch://x/y", output_prefixes=("nosuch://x",)),
    "queue_full": _full_queue,
    "rate_limited": lambda lab: _with_key(lab, rate="1/hour", calls=2),
    "request_blocked": _blocked_webhook,
    "request_too_large": lambda lab: lab.call(http=lab.client(max_upload_bytes=10, max_json_bytes=1)),
    "key_invalid": lambda lab: lab.call(
        http=lab.client(host="192.0.2.1"), headers={"Authorization": "Bearer " + new_secret()}
    ),
    "key_missing": lambda lab: lab.call(http=lab.client(host="192.0.2.1")),
    "manifest_invalid": _manifest,
    "scope_missing": _other_scope,
    "source_not_allowed": lambda lab: lab.call(**_json(source="s3://elsewhere/photos")),
    "source_unreadable": lambda lab: lab.call(
        http=lab.client(source_prefixes=("memory://photos",)), **_json(source="memory://photos/nothing")
    ),
    "store_unavailable": _without_redis,
    "too_many_bytes": lambda lab: lab.call(http=lab.client(max_blob_bytes=1), **_upload(content=b"xx")),
    "too_many_images": lambda lab: lab.call(data={"images": [(io.BytesIO(b"x"), "a.jpg")] * 21}),
    "unknown_field": lambda lab: lab.call(query_string={"nothing": "1"}),
    "unknown_model": lambda lab: lab.call(**_upload(fields={"model": "nothing"})),
    "unprocessable": _unprocessable,
    "unsupported_format": _of_image("unsupported_format", _undrawable(b"no picture")),
    "unsupported_media_type": lambda lab: lab.call(data=b"x", content_type="text/plain"),
    "upload_storage_full": _no_temporary_folder,
    "wait_too_long": _long_queue,
    "webhook_not_found": lambda lab: lab.call(),
    "webhook_state": lambda lab: _too_many_webhooks(lab) if lab.operation == "post /v1/webhooks" else _disabled(lab),
}


@pytest.fixture(scope="module")
def shared_api(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Settings, Backend, Flask]]:
    """The API that most tests call. It is made once, because that takes 30 ms."""
    folder = tmp_path_factory.mktemp("problems")
    settings = Settings(
        redis_url=redis_server.url,
        blob_url=str(folder / "blobs"),
        folder_roots=(folder,),
        max_job_images=20,
        detect_wait_seconds=0.2,
    )
    backend = Backend(settings)
    yield settings, backend, create_app(settings, backend)
    backend.store.close()


@pytest.fixture
def lab(
    shared_api: tuple[Settings, Backend, Flask],
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Lab]:
    settings, backend, app = shared_api
    redis_server.empty()
    monkeypatch.setattr(backend.keys, "_required", False)  # it would remember a key of another test
    link = RedisLink(settings.redis_url)
    yield Lab(settings, link, request.param, app.test_client(), monkeypatch)
    link.close()


@pytest.mark.parametrize(("lab", "code"), list(_documented()), indirect=["lab"])
def test_a_documented_problem_happens(lab: Lab, code: str) -> None:
    """With the status and the shape that the document gives it; a new code needs a way to provoke it here."""
    answer = PROVOKED[code](lab)
    problem = answer.get_json()
    assert problem["code"] == code, problem
    described = lab.described["responses"][str(answer.status_code)]
    assert code in described["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"]["enum"]
    assert set(DOCUMENT["components"]["schemas"]["Problem"]["required"]) <= set(problem)
    assert (problem["status"], problem["request_id"]) == (answer.status_code, answer.headers["X-Request-ID"])
    assert ("Retry-After" in answer.headers) == (answer.status_code in {429, 503})
    assert "Traceback" not in answer.text
