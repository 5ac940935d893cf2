"""Submissions over HTTP to the real intake: what each form is answered with, and every limit."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from workers.backend import Backend
from workers.settings import Settings

IMAGE = base64.b64encode(b"x").decode()


@pytest.fixture
def make_http(settings: Settings, tmp_path: Path) -> Callable[..., FlaskClient]:
    """The API on a real Redis; keyword arguments are settings."""

    def make(**overrides: Any) -> FlaskClient:
        own = settings.model_copy(update={"folder_roots": (tmp_path / "root",), **overrides})
        return create_app(own, Backend(own)).test_client()

    (tmp_path / "root").mkdir()
    return make


def archive(*names: str, content: bytes = b"x") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as written:
        for name in names:
            written.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # no time: the same bytes each time
    return out.getvalue()


def send(http: FlaskClient, body: Any, key: str = "") -> tuple[int, Any]:
    """Send JSON, or a zip; the status, and the job or the error's code."""
    headers = {"Idempotency-Key": key} if key else {}
    if isinstance(body, bytes):
        answer = http.post("/v1/jobs", data=body, content_type="application/zip", headers=headers)
    else:
        answer = http.post("/v1/jobs", json=body, headers=headers)
    document = answer.get_json()
    return answer.status_code, document.get("code", document)


def test_every_form_is_accepted(make_http: Callable[..., FlaskClient], tmp_path: Path, memory_store: Any) -> None:
    """And shows what it was made with."""
    http = make_http(source_prefixes=("memory://photos",))
    (tmp_path / "root" / "a.jpg").touch()
    (tmp_path / "root" / "m.csv").write_text("path\na.jpg\n")
    memory_store.pipe_file("/photos/a.jpg", b"x")
    for body in (
        {"items": [{"image": IMAGE}]},
        {"items": [{"url": "https://shop.example/a.jpg"}]},
        {"folder": str(tmp_path / "root")},
        {"source": "memory://photos"},
        {"manifest": str(tmp_path / "root" / "m.csv")},
        archive("a.jpg"),
    ):
        status, job = send(http, body)
        state, total = ("queued", 1) if isinstance(body, bytes) or "items" in body else ("enumerating", None)
        assert (status, job["state"], job["counts"]["total"], job["metadata"]) == (202, state, total, {}), body


def test_what_is_refused(make_http: Callable[..., FlaskClient], tmp_path: Path) -> None:
    """Each with the status and the code of its kind."""
    http = make_http(source_prefixes=("memory://photos",))
    twice = [{"image": IMAGE, "custom_id": "a"}] * 2
    for body, status, code in (
        (b"no archive", 422, "archive_invalid"),
        (archive("a.txt"), 422, "no_images"),
        ({"items": twice}, 400, "duplicate_custom_id"),
        ({"folder": "/etc"}, 403, "folder_not_allowed"),
        ({"source": "memory://other"}, 403, "source_not_allowed"),
        ({"source": "memory://photos/gone"}, 422, "source_unreadable"),
        ({"manifest": "/etc/passwd"}, 403, "folder_not_allowed"),
        ({"manifest": str(tmp_path / "root" / "gone.csv")}, 422, "folder_not_found"),
    ):
        assert send(http, body) == (status, code), body


def test_every_limit(make_http: Callable[..., FlaskClient], tmp_path: Path) -> None:
    """Of items, files, entries, inflated bytes, body and manifest; one below it is accepted."""
    two = [{"image": IMAGE}] * 2
    (tmp_path / "root" / "m.csv").write_text("path\na.jpg\n")
    (tmp_path / "root" / "large.csv").write_text("path\n" + "a.jpg\n" * 20)
    limited = make_http(
        max_job_images=2,
        max_archive_entries=2,
        max_archive_bytes=1000,
        max_json_bytes=2000,
        max_upload_bytes=3000,
        max_manifest_bytes=100,
    )
    for fine, beyond, code in (
        ({"items": two}, {"items": [*two, *two]}, "too_many_images"),
        ({"items": two}, {"items": [{"image": "A" * 3000}]}, "request_too_large"),
        (archive("a.jpg", "b.jpg"), archive("a.jpg", "b.jpg", "c.txt"), "archive_too_large"),
        (archive("a.jpg", content=b"x" * 900), archive("a.jpg", "b.jpg", content=b"x" * 900), "archive_too_large"),
        (archive("a.jpg"), archive("a.jpg") + bytes(3000), "request_too_large"),
    ):
        assert send(limited, fine)[0] == 202
        assert send(limited, beyond) == (413, code)
    assert send(limited, {"manifest": str(tmp_path / "root" / "m.csv")})[0] == 202
    assert send(limited, {"manifest": str(tmp_path / "root" / "large.csv")}) == (422, "manifest_invalid")


def test_the_same_request_again(make_http: Callable[..., FlaskClient]) -> None:
    """The same body under the same key gives the same job, as a zip and as JSON, whatever its white space."""
    http = make_http()
    for same, other in (
        (archive("a.jpg"), archive("b.jpg")),
        ({"items": [{"image": IMAGE}]}, {"items": [{"image": "eQ=="}]}),
    ):
        key = type(same).__name__
        (_, first), (_, again) = send(http, same, key), send(http, same, key)
        assert first["id"] == again["id"]
        assert send(http, other, key) == (422, "idempotency_mismatch")
    spaced = http.post(
        "/v1/jobs",
        data=json.dumps({"items": [{"image": IMAGE}]}, indent=4),
        content_type="application/json",
        headers={"Idempotency-Key": "dict"},
    )
    assert spaced.get_json()["id"] == first["id"]
