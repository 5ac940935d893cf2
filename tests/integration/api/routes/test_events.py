"""The events of a job, on a real Redis: each image once, and the end."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.app import create_app
from api.http.answers import document_of
from api.routes.events import job_events
from tests.integration.api.routes.conftest import Work
from workers.backend import Backend
from workers.jobs.index_set import IndexSet
from workers.settings import Settings


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
    ranges = [bounds for name, data in events if name == "items" for bounds in data["finished"]]
    return [index for first, last in ranges for index in range(first, last + 1)]


def test_events_of_a_job(app: Flask, backend: Backend, submit: Callable[..., str], work: Work) -> None:
    """Each image is told once, as it is done, whatever the order; the last event is the job's end."""
    job = submit(5)
    reader = Reader(app, backend, job)
    events = iter(reader)
    seen = [next(events)]
    assert (seen[0][0], seen[0][1]["state"]) == ("job", "queued")
    for index in (3, 0, 1, 4):
        work.settle(index)
        seen += [next(events), next(events)]
        assert finished(seen)[-1] == index
    work.settle(2)
    seen += events
    assert sorted(finished(seen)) == [0, 1, 2, 3, 4]
    assert (seen[-1][0], seen[-1][1]["state"], reader.last) == ("job", "succeeded", "end")


def test_nothing_is_missed_while_away(app: Flask, backend: Backend, submit: Callable[..., str], work: Work) -> None:
    """A reader that comes and goes at any moment is told of every image once, and of the end."""
    job = submit(12)
    order = [7, 3, 11, 0, 1, 2, 10, 9, 4, 8, 5, 6]
    seen: list[tuple[str, Any]] = []
    last = ""
    for step, index in enumerate(order):
        reader = Reader(app, backend, job, last)
        seen += itertools.islice(reader, step % 3)
        work.settle(index)
        reader.close()
        last = reader.last
    seen += Reader(app, backend, job, last)
    assert sorted(finished(seen)) == list(range(12))
    assert seen[-1][1]["state"] == "succeeded"


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
    seen: list[list[int]] = []
    begun = threading.Barrier(6)

    def read() -> None:
        events = iter(Reader(app, backend, job))
        first = next(events)
        begun.wait(180)
        seen.append(sorted(finished([first, *events])))

    threads = [threading.Thread(target=read) for _ in range(5)]
    for thread in threads:
        thread.start()
    begun.wait(180)
    work.settle(*reversed(range(8)))
    for thread in threads:
        thread.join(30)
    assert seen == [list(range(8))] * 5
