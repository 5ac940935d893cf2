from __future__ import annotations

import io
import re

import pytest
from flask.testing import FlaskClient

from workers.io.blobs import BlobStore
from workers.settings import Settings


def _submit(http: FlaskClient, content: bytes) -> str:
    return str(http.post("/v1/jobs", data={"images": (io.BytesIO(content), "a.jpg")}).get_json()["id"])


def _files(http: FlaskClient) -> list[str]:
    return re.findall(r'(?:src|href)="(page/[^"]+)"', http.get("/").text)


def test_the_page_and_its_files(http: FlaskClient) -> None:
    """Everything that the page names is there, with its type, and nothing of it comes from elsewhere."""
    page = http.get("/")

    assert (page.status_code, page.content_type) == (200, "text/html; charset=utf-8")
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page.text)
    assert {path.rsplit("/", 1)[1] for path in _files(http)} == {"icon.svg", "style.css", "app.js"}
    for path in _files(http):
        assert http.get(f"/{path}").status_code == 200
        assert http.get(f"/{path}").headers["X-Content-Type-Options"] == "nosniff"


def test_every_module_is_there(http: FlaskClient) -> None:
    """What one script imports is served beside it; nothing is served that nothing imports."""
    base = next(path for path in _files(http) if path.endswith("app.js")).rsplit("/", 1)[0]
    seen, left = set[str](), ["app.js"]
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        script = http.get(f"/{base}/{name}")
        assert script.content_type == "text/javascript; charset=utf-8", name
        left += re.findall(r'from "\./([\w.]+)"', script.text)

    assert seen == {"app.js", "boxes.js", "files.js", "following.js", "job.js", "pictures.js", "server.js"} | {
        "strip.js",
        "viewer.js",
    }


def test_nothing_inline_is_needed_nor_allowed(http: FlaskClient) -> None:
    """The policy allows no inline script or style, and the page has none; no script makes markup of text."""
    page = http.get("/")
    policy = page.headers["Content-Security-Policy"]

    assert "unsafe" not in policy
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= set(
        policy.split("; ")
    )
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page.text)
    for path in (file for file in _files(http) if file.endswith(".js")):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", http.get(f"/{path}").text
        )


def test_caching(http: FlaskClient) -> None:
    """The page is asked for each time, and told that it has not changed; its files are kept for ever."""
    page = http.get("/")
    assert page.headers["Cache-Control"] == "no-cache"
    again = http.get("/", headers={"If-None-Match": page.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")

    path = _files(http)[0]
    assert "immutable" in http.get(f"/{path}").headers["Cache-Control"]
    other = http.get(re.sub(r"page/\w+/", "/page/0000/", path))  # of a server that runs another version
    assert (other.status_code, other.headers["Cache-Control"]) == (200, "no-cache")


@pytest.mark.parametrize("name", ["nothing.js", "..%2fapp.py", "index.html", "__init__.py"])
def test_only_the_files_of_the_page(http: FlaskClient, name: str) -> None:
    """No other file can be had that way."""
    response = http.get(f"/page/0/{name}")

    assert (response.status_code, response.get_json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("content", "kind", "shown"),
    [
        (b"\x89PNG\r\n\x1a\nrest", "image/png", "inline"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>", "application/octet-stream", "attachment"),
        (b"<!doctype html><script>x()</script>", "application/octet-stream", "attachment"),
    ],
)
def test_an_image_is_never_run(http: FlaskClient, content: bytes, kind: str, shown: str) -> None:
    """Whatever was sent comes back as it was, as a picture or a download, and in a sandbox."""
    response = http.get(f"/v1/jobs/{_submit(http, content)}/items/0/image")

    assert (response.status_code, response.data) == (200, content)
    assert (response.content_type, response.headers["Content-Disposition"]) == (kind, shown)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert response.headers["Cache-Control"].startswith("private")


def test_an_image_that_is_not_there(http: FlaskClient, settings: Settings) -> None:
    """No such job, no such image, no longer kept: each has its code."""
    job_id = _submit(http, b"content")
    BlobStore(settings.blob_url).delete_tree("uploads")
    answers = [
        http.get(path)
        for path in (
            "/v1/jobs/job_0/items/0/image",
            f"/v1/jobs/{job_id}/items/1/image",
            f"/v1/jobs/{job_id}/items/0/image",
            f"/v1/jobs/{job_id}/items/x/image",
        )
    ]
    assert [(answer.status_code, answer.get_json()["code"]) for answer in answers] == [
        (404, "job_not_found"),
        (404, "item_not_found"),
        (404, "item_not_found"),
        (404, "not_found"),
    ]
