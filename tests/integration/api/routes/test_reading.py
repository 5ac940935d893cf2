"""Reading jobs over HTTP, on a real Redis and a real blob store: lists, results, items, pictures, ETags."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from PIL import Image

from api.http.drawing import DrawingBoard
from api.http.errors import BusyError
from tests.integration.api.routes.conftest import Work, photo
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.settings import Settings


def path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def test_jobs_are_listed_page_by_page(http: FlaskClient, submit: Callable[..., str], work: Work) -> None:
    """Following `next` from the first page shows every job, newest first; filters go along."""
    jobs = [submit() for _ in range(5)]
    seen, url = [], "/v1/jobs?limit=2"
    while url:
        page = http.get(url).get_json()
        seen += [job["id"] for job in page["data"]]
        url = path(page["next"]) if page["next"] else ""
    assert sorted(seen) == sorted(jobs)
    assert [job["created_at"] for job in http.get("/v1/jobs").get_json()["data"]] == sorted(
        (http.get(f"/v1/jobs/{job}").get_json()["created_at"] for job in jobs), reverse=True
    )
    work.settle(0)
    done = http.get("/v1/jobs?state=succeeded&limit=1&model=default&created_after=2020-01-01T00:00:00Z").get_json()
    assert [job["state"] for job in done["data"]] == ["succeeded"]
    assert http.get("/v1/jobs?created_before=2020-01-01T00:00:00%2B01:00").get_json() == {
        "object": "list",
        "data": [],
        "next": None,
    }


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=101", "state=done", "cursor=x", "cursor=%C3%BC", "cursor=MS5q"),
        *("created_after=2020-01-01", "created_after=2020-01-01T00:00:00", "created_after=2020-02-30T00:00:00Z"),
        *("created_before=0.5", "created_before=1600000000"),
    ],
)
def test_a_list_that_cannot_be(http: FlaskClient, query: str) -> None:
    """What is wrong is named."""
    response = http.get(f"/v1/jobs?{query}")
    meaningless = (422, "unprocessable") if query in {"cursor=x", "cursor=MS5q"} else (400, "invalid_request")
    assert (response.status_code, response.get_json()["code"]) == meaningless
    assert query.partition("=")[0] in response.get_json()["detail"]


def test_results_while_a_job_runs(http: FlaskClient, submit: Callable[..., str], work: Work) -> None:
    """The finished beginning, where the next ones will be, and at the end that there are none."""
    job = submit(4)
    work.settle(0, 2)
    first = http.get(f"/v1/jobs/{job}/results?format=json")
    assert [item["index"] for item in first.get_json()["data"]] == [0]
    assert first.get_json()["next"] == first.headers["Link"].split(";")[0].strip("<>")
    work.settle(1, 3)
    rest = http.get(path(first.get_json()["next"]))
    assert [item["index"] for item in rest.get_json()["data"]] == [1, 2, 3]
    assert (rest.get_json()["next"], "Link" in rest.headers) == (None, False)
    part = http.get(f"/v1/jobs/{job}/results?start=1&limit=2")
    assert [json.loads(line)["index"] for line in part.text.splitlines()] == [1, 2]
    assert "start=3&limit=2" in part.headers["Link"]
    wrong = http.get(f"/v1/jobs/{job}/results?start=5")
    assert (wrong.status_code, wrong.get_json()["code"]) == (422, "unprocessable")


@pytest.mark.parametrize(
    ("query", "accept", "media_type", "suffix"),
    [
        ("", "*/*", "application/x-ndjson", "jsonl"),
        ("", "text/html,*/*;q=0.8", "application/x-ndjson", "jsonl"),
        ("", "text/csv", "text/csv", "csv"),
        ("", "application/json, text/csv;q=0.5", "application/json", "json"),
        ("?format=csv", "application/json", "text/csv", "csv"),
        ("?format=coco", "*/*", "application/json", "coco.json"),
        ("?format=baidu", "*/*", "application/x-ndjson", "baidu.jsonl"),
    ],
)
def test_formats(
    http: FlaskClient, submit: Callable[..., str], work: Work, query: str, accept: str, media_type: str, suffix: str
) -> None:
    """By name or by Accept, as a file with a name, the same compressed, and unchanged without a body."""
    job = submit(2)
    work.settle(0, 1)
    url = f"/v1/jobs/{job}/results{query}"
    plain = http.get(url, headers={"Accept": accept})
    assert (plain.mimetype, plain.status_code) == (media_type, 200)
    assert plain.headers["Content-Disposition"] == f'attachment; filename="{job}.{suffix}"'
    assert "cola" in plain.text
    packed = http.get(url, headers={"Accept": accept, "Accept-Encoding": "br, gzip;q=0.5"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert "Accept-Encoding" in plain.headers["Vary"]
    unpacked = http.get(url, headers={"Accept": accept, "Accept-Encoding": "gzip;q=0"})
    assert "Content-Encoding" not in unpacked.headers
    again = http.get(url, headers={"Accept": accept, "If-None-Match": plain.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    other = http.get(f"{url}{'&' if query else '?'}start=1", headers={"If-None-Match": plain.headers["ETag"]})
    assert other.status_code == 200


def test_results_of_a_running_job_change_their_tag(http: FlaskClient, submit: Callable[..., str], work: Work) -> None:
    """With each result that is new, and not without."""
    job = submit(3)
    work.settle(0)
    tag = {"If-None-Match": http.get(f"/v1/jobs/{job}/results").headers["ETag"]}
    work.settle(2)
    assert http.get(f"/v1/jobs/{job}/results", headers=tag).status_code == 304
    work.settle(1)
    assert http.get(f"/v1/jobs/{job}/results", headers=tag).status_code == 200


def test_a_job_that_has_not_changed(http: FlaskClient, submit: Callable[..., str], work: Work) -> None:
    """Is not sent again; neither is a list."""
    job = submit()
    for url in (f"/v1/jobs/{job}", "/v1/jobs"):
        tag = {"If-None-Match": http.get(url).headers["ETag"]}
        assert (http.get(url, headers=tag).status_code, http.get(url, headers=tag).data) == (304, b"")
    work.settle(0)
    for url in (f"/v1/jobs/{job}", "/v1/jobs"):
        assert http.get(url, headers=tag).status_code == 200


def test_one_image(http: FlaskClient, submit: Callable[..., str], work: Work) -> None:
    """Its result as soon as it has one; before that a conflict that says so; beyond the job there is none."""
    job = submit(3)
    work.settle(2)
    shown_image = http.get(f"/v1/jobs/{job}/items/2")
    assert (shown_image.get_json()["index"], shown_image.get_json()["state"]) == (2, "succeeded")
    tag = {"If-None-Match": shown_image.headers["ETag"]}
    assert http.get(f"/v1/jobs/{job}/items/2", headers=tag).status_code == 304
    for url in (f"/v1/jobs/{job}/items/0", f"/v1/jobs/{job}/items/0/annotated"):
        early = http.get(url)
        assert (early.status_code, early.get_json()["code"]) == (409, "item_not_finished")
        assert early.get_json()["retryable"] is True
        assert "running" in early.get_json()["detail"]
    for url in (f"/v1/jobs/{job}/items/3", f"/v1/jobs/{job}/items/3/annotated"):
        assert (http.get(url).status_code, http.get(url).get_json()["code"]) == (404, "item_not_found")
    assert http.get(f"/v1/jobs/{job}/items/x").status_code == 404


def test_a_drawn_picture(http: FlaskClient, submit: Callable[..., str], work: Work) -> None:
    """A JPEG, or a PNG for whoever prefers it, of the image's size, with its boxes; not sent twice."""
    job = submit(2)
    work.settle(0)
    url = f"/v1/jobs/{job}/items/0/annotated"
    for accept, kind in (("*/*", "JPEG"), ("image/png", "PNG"), ("image/png;q=0.1, image/jpeg", "JPEG")):
        response = http.get(url, headers={"Accept": accept})
        picture = Image.open(io.BytesIO(response.data))
        assert (picture.format, picture.size, response.mimetype) == (kind, (40, 30), f"image/{kind.lower()}")
        colours = {colour for _, colour in picture.convert("RGB").getcolors(10_000) or ()}
        assert len(colours) > 1  # the photo is of one
        again = http.get(url, headers={"Accept": accept, "If-None-Match": response.headers["ETag"]})
        assert again.status_code == 304
        assert "max-age" in again.headers["Cache-Control"]


def test_a_picture_that_cannot_be_drawn(
    http: FlaskClient, submit: Callable[..., str], work: Work, link: RedisLink, settings: Settings
) -> None:
    """Of an image that failed, was canceled or is gone: each says why."""
    job = submit(3)
    work.settle(0, state="failed")
    work.settle(1)
    url = f"/v1/jobs/{job}/items"
    failed = http.get(f"{url}/0/annotated")
    assert (failed.status_code, failed.get_json()["code"]) == (409, "item_failed")
    assert "Damaged." in failed.get_json()["detail"]
    http.post(f"/v1/jobs/{job}/cancel")
    work.settle(2)
    upload = link.client.hget(f"sl:job:{job}", "upload")
    BlobStore(settings.blob_url).delete_tree(f"uploads/{upload}")
    assert http.get(f"{url}/1/annotated").get_json()["code"] == "item_not_found"


def test_a_large_picture_comes_smaller(
    http: FlaskClient, submit: Callable[..., str], work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No caller makes the server draw more than so many pixels."""
    monkeypatch.setattr("workers.results.drawing.MAX_PIXELS", 120_000)
    for kind in ("JPEG", "PNG"):
        job = submit(1, photo(900, 600, kind))
        work.settle(0, width=900, height=600)
        picture = Image.open(io.BytesIO(http.get(f"/v1/jobs/{job}/items/0/annotated").data))
        assert 118_000 < picture.width * picture.height <= 120_000
        assert picture.width / picture.height == pytest.approx(1.5, abs=0.01)


def test_few_pictures_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more waits for its turn, and is told to come back where that takes too long."""
    monkeypatch.setattr("api.http.drawing._WAIT_SECONDS", 0.05)
    board = DrawingBoard(10_000)
    result = {"width": 40, "height": 30, "detections": []}
    with board._places, board._places, pytest.raises(BusyError):
        board.draw(photo(), result, "image/png")
    assert board.draw(photo(), result, "image/png").startswith(b"\x89PNG")
