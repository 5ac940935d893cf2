"""Reading jobs over HTTP, on a real Redis and a real blob store: lists, results, items, pictures, events, ETags."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from api.app import create_app
from api.http.answers import document_of
from api.http.drawing import DrawingBoard
from api.http.errors import BusyError
from api.routes.events import job_events
from workers.backend import Backend
from workers.duties import Duties
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.jobs.index_set import IndexSet
from workers.jobs.job import Outcome
from workers.queue.work_queue import WorkQueue
from workers.settings import Settings

BOX = {"ymin": 4.0, "xmin": 4.0, "ymax": 20.0, "xmax": 24.0}


def photo(width: int = 40, height: int = 30, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (0, 0, 255)).save(out, kind)
    return out.getvalue()


@pytest.fixture
def app(settings: Settings, backend: Backend) -> Flask:
    return create_app(settings, backend)


@pytest.fixture
def http(app: Flask) -> FlaskClient:
    return app.test_client()


class Work:
    """Claims images as a worker does, and settles those that it is told, in any order."""

    def __init__(self, settings: Settings, link: RedisLink, backend: Backend) -> None:
        self._queue = WorkQueue(link, settings, "w")
        self._store = backend.store
        self._duties = Duties(link, BlobStore(settings.blob_url), settings, lambda _model: None)
        self.held: dict[int, Any] = {}

    def claim(self) -> None:
        self.held |= {one.index: one for one in self._queue.claim("default", 16).images}

    def settle(self, *indexes: int, state: str = "succeeded", width: int = 40, height: int = 30) -> None:
        if not set(indexes) <= set(self.held):
            self.claim()
        for index in indexes:
            one = self.held.pop(index)
            result: dict[str, Any] = {"index": index, "name": one.name, "state": state}
            if state == "succeeded":
                found = [{"label": "cola", "score": 0.5, "box": BOX}]
                result |= {"width": width, "height": height, "model": "default", "model_version": 1}
                result["detections"] = found
            else:
                result["error"] = {"code": "image_decode_failed", "detail": "Damaged.", "retryable": False}
            text = json.dumps(result, separators=(",", ":"))
            outcome = Outcome(one.stream, one.entry, one.job, index, one.attempt, state, 1, text)
            self._store.settle([outcome], 1.0)
        self._duties.run_due()


@pytest.fixture
def work(settings: Settings, link: RedisLink, backend: Backend) -> Work:
    return Work(settings, link, backend)


@pytest.fixture
def submit(http: FlaskClient) -> Callable[..., str]:
    def send(count: int = 1, content: bytes = photo()) -> str:
        files = [(io.BytesIO(content), f"{number}.png") for number in range(count)]
        return str(http.post("/v1/jobs", data={"images": files}).get_json()["id"])

    return send


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
    assert [one["index"] for one in first.get_json()["data"]] == [0]
    assert first.get_json()["next"] == first.headers["Link"].split(";")[0].strip("<>")
    work.settle(1, 3)
    rest = http.get(path(first.get_json()["next"]))
    assert [one["index"] for one in rest.get_json()["data"]] == [1, 2, 3]
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
    found = http.get(f"/v1/jobs/{job}/items/2")
    assert (found.get_json()["index"], found.get_json()["state"]) == (2, "succeeded")
    tag = {"If-None-Match": found.headers["ETag"]}
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
    board = DrawingBoard()
    result = {"width": 40, "height": 30, "detections": []}
    with board._places, board._places, pytest.raises(BusyError):
        board.draw(photo(), result, "image/png", 10_000)
    assert board.draw(photo(), result, "image/png", 10_000).startswith(b"\x89PNG")


class Reader:
    """Reads a job's events as a browser would, until they end."""

    def __init__(self, app: Flask, backend: Backend, job: str, last: str = "") -> None:
        known = IndexSet.from_text(last) if last else IndexSet()
        with app.test_request_context():
            self._stream = job_events(
                backend.store, job, lambda now: self._document(app, backend, now), known, pause=0.0
            )
        self.last = last

    @staticmethod
    def _document(app: Flask, backend: Backend, job: Any) -> Any:
        with app.test_request_context():
            return document_of(backend, job)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        for text in self._stream:
            fields = dict(line.split(": ", 1) for line in text.strip().split("\n") if not line.startswith(":"))
            self.last = fields.get("id", self.last)
            if "event" in fields:
                yield fields["event"], json.loads(fields["data"])

    def close(self) -> None:
        self._stream.close()  # type: ignore[attr-defined]


def finished(events: list[tuple[str, Any]]) -> list[int]:
    ranges = [one for name, data in events if name == "items" for one in data["finished"]]
    return [index for first, last in ranges for index in range(first, last + 1)]


def test_events_of_a_job(app: Flask, backend: Backend, submit: Callable[..., str], work: Work) -> None:
    """Each image is told once, as it is done, whatever the order; the last event is the job's end."""
    job = submit(5)
    reader = Reader(app, backend, job)
    events = iter(reader)
    told = [next(events)]
    assert (told[0][0], told[0][1]["state"]) == ("job", "queued")
    for index in (3, 0, 1, 4):
        work.settle(index)
        told += [next(events), next(events)]
        assert finished(told)[-1] == index
    work.settle(2)
    told += events
    assert sorted(finished(told)) == [0, 1, 2, 3, 4]
    assert (told[-1][0], told[-1][1]["state"], reader.last) == ("job", "succeeded", "end")


def test_nothing_is_missed_while_away(app: Flask, backend: Backend, submit: Callable[..., str], work: Work) -> None:
    """A reader that comes and goes at any moment is told of every image once, and of the end."""
    job = submit(12)
    order = [7, 3, 11, 0, 1, 2, 10, 9, 4, 8, 5, 6]
    told: list[tuple[str, Any]] = []
    last = ""
    for step, index in enumerate(order):
        reader = Reader(app, backend, job, last)
        told += itertools.islice(reader, step % 3)
        work.settle(index)
        reader.close()
        last = reader.last
    told += Reader(app, backend, job, last)
    assert sorted(finished(told)) == list(range(12))
    assert told[-1][1]["state"] == "succeeded"


def test_events_over_http(http: FlaskClient, submit: Callable[..., str], work: Work) -> None:
    """As an event stream; whoever was told the end need not come back; a wrong id is refused."""
    job = submit(2)
    work.settle(0, 1)
    url = f"/v1/jobs/{job}/events"
    response = http.get(url)
    assert (response.mimetype, response.headers["Cache-Control"]) == ("text/event-stream", "no-store")
    assert 'data: {"finished":[[0,1]]}' in response.text
    assert response.text.rstrip().split("\n")[-3] == "id: end"
    assert http.get(url, headers={"Last-Event-ID": "end"}).status_code == 204
    assert "items" not in http.get(url, headers={"Last-Event-ID": "2"}).text
    assert http.get(url, headers={"Last-Event-ID": "x"}).get_json()["code"] == "invalid_request"
    assert http.get(f"/v1/jobs/job_{0:032x}/events").status_code == 404


def test_events_of_a_job_that_is_deleted(app: Flask, backend: Backend, submit: Callable[..., str], work: Work) -> None:
    """End with a word about it."""
    job = submit(1)
    reader = iter(Reader(app, backend, job))
    next(reader)
    work.settle(0)
    backend.store.delete(job)
    assert list(reader) == [("deleted", {"id": job})]


def test_places_for_readers_are_given_back(
    backend: Backend, settings: Settings, submit: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reader too many is told to come back; when one leaves, its place is free, even if it never read."""
    monkeypatch.setattr("api.http.waiting.WaitingRoom.__init__.__defaults__", (1,))
    other = create_app(settings, backend).test_client()
    job = submit()
    first = other.get(f"/v1/jobs/{job}/events", buffered=False)
    refused = other.get(f"/v1/jobs/{job}/events")
    assert (refused.status_code, refused.get_json()["code"], refused.headers["Retry-After"]) == (503, "busy", "1")
    polled = other.get(f"/v1/jobs/{job}?wait=30")
    assert (polled.status_code, polled.headers["Retry-After"]) == (200, "1")
    first.close()
    second = other.get(f"/v1/jobs/{job}/events", buffered=False)
    assert second.status_code == 200
    with suppress(StopIteration):
        next(iter(second.response))
    second.close()


def test_a_job_is_followed_by_many(app: Flask, backend: Backend, submit: Callable[..., str], work: Work) -> None:
    """Each reader is told everything."""
    job = submit(8)
    told: list[list[int]] = []
    begun = threading.Barrier(6)

    def read() -> None:
        events = iter(Reader(app, backend, job))
        first = next(events)
        begun.wait(20)
        told.append(sorted(finished([first, *events])))

    threads = [threading.Thread(target=read) for _ in range(5)]
    for thread in threads:
        thread.start()
    begun.wait(20)
    work.settle(*reversed(range(8)))
    for thread in threads:
        thread.join(30)
    assert told == [list(range(8))] * 5
