from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from flask.testing import FlaskClient

from api.http.waiting import LONG_POLLS, THREADS, WaitingRoom, requested_wait
from serving.contract import VersionStatus
from tests.unit.api.conftest import InstantWorker
from workers.backend import Backend
from workers.errors import StoreUnavailableError
from workers.io.redis_link import RedisLink
from workers.store.catalog import Published


def _submit(http: FlaskClient, count: int = 2) -> str:
    data = {"images": [(io.BytesIO(b"x"), f"{number}.jpg") for number in range(count)]}
    return str(http.post("/v1/jobs", data=data, content_type="multipart/form-data").get_json()["id"])


def _result(index: int, state: str = "succeeded") -> dict[str, Any]:
    error = {"error": {"code": "image_missing", "detail": "It is gone.", "retryable": False}}
    return {"index": index, "name": f"{index}.jpg", "state": state, **(error if state == "failed" else {})}


def _break_off(backend: Backend, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Make the store go down after so many results."""
    read = backend.store.results

    def results(*where: Any) -> Iterator[str]:
        yield from itertools.islice(read(*where), after)
        raise StoreUnavailableError("Redis does not answer.")

    monkeypatch.setattr(backend.store, "results", results)


def test_a_job_is_shown(http: FlaskClient, worker: InstantWorker, link: RedisLink) -> None:
    """A finished job says when it ended and how its images ended."""
    job_id = _submit(http)
    assert http.get(f"/v1/jobs/{job_id}").get_json()["started_at"] is None
    worker.finish(job_id, [_result(0), _result(1, "failed")])
    link.client.hset(f"sl:job:{job_id}", "finished_at", 1_700_000_002_500)

    job = http.get(f"/v1/jobs/{job_id}").get_json()

    assert (job["state"], job["progress"], job["finished_at"]) == ("partial", 1.0, "2023-11-14T22:13:22.500Z")
    assert (job["counts"]["succeeded"], job["counts"]["failed"]) == (1, 1)
    assert job["lane"] != "bulk"


_GONE = "127.0.0.1:8500 has no version of default that is available."
_LOADING, _READY = VersionStatus(3, "LOADING", "try 2"), VersionStatus(2, "AVAILABLE", "")


@pytest.mark.parametrize(
    ("published", "version", "expected"),
    [
        (None, None, "The model default is not available: No worker has looked for the model lately: check that one"),
        (Published("default", "", 2, "", (_LOADING, _READY)), None, None),
        (Published("default", "", 2, "", (_LOADING, _READY)), 2, None),
        (Published("default", "The contract is wrong.", None, "", (_READY,)), None, "not available: The contract is"),
        (Published("default", _GONE), 3, _GONE),
        (Published("default", _GONE, None, "", (_LOADING,)), None, "Of its versions 3 is LOADING (try 2)."),
        (
            Published("default", "", 2, "", (_LOADING, _READY)),
            3,
            "Version 3 of the model is not served. Of its versions 3 is LOADING (try 2), 2 is AVAILABLE.",
        ),
    ],
)
def test_what_a_job_waits_for(
    http: FlaskClient,
    worker: InstantWorker,
    backend: Backend,
    published: Published | None,
    version: int | None,
    expected: str | None,
) -> None:
    """A job whose model no server has says so, as long as none of its images is processed."""
    data: dict[str, Any] = {"images": (io.BytesIO(b"x"), "0.jpg")} | (
        {"model_version": str(version)} if version else {}
    )
    job_id = str(http.post("/v1/jobs", data=data, content_type="multipart/form-data").get_json()["id"])
    if published:
        backend.catalog.publish(published)

    waiting_for = http.get(f"/v1/jobs/{job_id}").get_json()["waiting_for"]

    assert (expected is None) == (waiting_for is None)
    assert (expected or "") in (waiting_for or "")
    backend.catalog.forget("default")
    images = worker.claim(backend.store.get(job_id).options.target)
    assert http.get(f"/v1/jobs/{job_id}").get_json()["waiting_for"] is None, "its image is being processed"
    worker.settle(images[0], width=1)
    assert http.get(f"/v1/jobs/{job_id}").get_json()["waiting_for"] is None


@pytest.mark.parametrize("path", ["", "/results"])
def test_a_job_that_does_not_exist(http: FlaskClient, path: str) -> None:
    """An unknown job is a 404 with a code of its own."""
    response = http.get(f"/v1/jobs/job_unheard_of{path}")

    assert (response.status_code, response.get_json()["code"]) == (404, "job_not_found")


def test_a_long_poll_ends_with_the_job(http: FlaskClient, worker: InstantWorker, waits: list[float]) -> None:
    """A caller that waits has the answer when the job ends, not when its time is over."""
    job_id = _submit(http)
    ender = threading.Timer(0.05, worker.finish, (job_id, [_result(0), _result(1)]))
    ender.start()

    job = http.get(f"/v1/jobs/{job_id}?wait=4.5").get_json()

    ender.join()
    assert (waits, job["state"]) == ([4.5], "succeeded")


def test_a_long_poll_is_bounded(http: FlaskClient, worker: InstantWorker, waits: list[float]) -> None:
    """No caller waits longer than the setting allows."""
    job_id = _submit(http)
    worker.finish(job_id, [_result(0), _result(1)])

    http.get(f"/v1/jobs/{job_id}?wait=1000000")

    assert waits == [5.0]


def test_prefer_wait(http: FlaskClient, worker: InstantWorker, waits: list[float]) -> None:
    """`Prefer: wait=` is the other way to ask, and is acknowledged where it was granted in full."""
    job_id = _submit(http)
    worker.finish(job_id, [_result(0), _result(1)])

    granted = http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "respond-async, wait=3"})
    shortened = http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=100"})

    assert granted.headers["Preference-Applied"] == "wait=3"
    assert "Preference-Applied" not in shortened.headers
    assert waits == [3.0, 5.0]


@pytest.mark.parametrize("text", ["", "abc", "-1", "nan", "inf"])
def test_a_wait_that_is_no_time(http: FlaskClient, text: str) -> None:
    """A wrong `wait` is refused; a Prefer that is not understood is ignored, as its RFC wants."""
    response = http.get(f"/v1/jobs/{_submit(http)}?wait={text}")

    assert (response.status_code, response.get_json()["code"]) == (400, "invalid_request")
    assert requested_wait(None, f"wait={text}") == (0.0, False)


def test_waiting_callers_leave_room() -> None:
    """However many wait, threads are left for those who do not."""
    assert LONG_POLLS < THREADS
    room = WaitingRoom(1)

    with room.place(3.0) as first, room.place(3.0) as second:
        assert (first, second) == (3.0, 0.0)
    with room.place(2.0) as third:
        assert third == 2.0


def test_results_are_lines_of_json(http: FlaskClient, worker: InstantWorker) -> None:
    """The results come as they are stored, one a line, also from the middle and also when there are none yet."""
    job_id = _submit(http, 3)
    assert http.get(f"/v1/jobs/{job_id}/results").data == b""
    worker.finish(job_id, [_result(0), _result(1), _result(2)])

    everything = http.get(f"/v1/jobs/{job_id}/results")
    rest = http.get(f"/v1/jobs/{job_id}/results?start=2")

    assert everything.mimetype == "application/x-ndjson"
    stored = list(worker.store.results(job_id))
    assert len(stored) == 3
    assert stored == everything.text.splitlines()
    assert stored[2:] == rest.text.splitlines()
    assert everything.text.endswith("}\n")
    assert http.get(f"/v1/jobs/{job_id}/results?start=3").data == b""


@pytest.mark.parametrize("start", ["-1", "x", "", "4", "1.5", "9" * 5000, "²"])
def test_a_start_that_is_no_index(http: FlaskClient, start: str) -> None:
    """A start outside the job is refused."""
    response = http.get(f"/v1/jobs/{_submit(http, 3)}/results?start={start}")

    assert response.status_code in {400, 422}
    assert "start" in response.get_json()["detail"]


def test_long_results_come_in_pieces(http: FlaskClient, worker: InstantWorker) -> None:
    """A large answer is streamed: never held whole, never a chunk a line."""
    job_id = _submit(http, 20)
    worker.finish(job_id, [_result(index) | {"pad": "x" * 10_000} for index in range(20)])

    with http.get(f"/v1/jobs/{job_id}/results", buffered=False) as response:
        pieces = list(response.iter_encoded())

    assert len(pieces) == 3
    assert len(b"".join(pieces).splitlines()) == 20


def test_a_store_that_is_down(http: FlaskClient, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage is a 503 that says when to come back, from every route."""

    def unavailable(_job_id: str) -> NoReturn:
        raise StoreUnavailableError("Redis does not answer.")

    job_id = _submit(http)
    monkeypatch.setattr(backend.store, "get", unavailable)

    for path in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}?wait=1", f"/v1/jobs/{job_id}/results"):
        response = http.get(path)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        body = response.get_json()
        assert (body["code"], body["retryable"]) == ("store_unavailable", True)


def test_a_store_that_goes_down_before_the_first_result(
    http: FlaskClient, backend: Backend, worker: InstantWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent yet, so the caller gets a problem and not a broken stream."""
    job_id = _submit(http)
    worker.finish(job_id, [_result(0), _result(1)])
    _break_off(backend, monkeypatch, after=0)

    assert http.get(f"/v1/jobs/{job_id}/results").status_code == 503


def test_a_store_that_goes_down_in_the_middle_of_the_results(
    http: FlaskClient, backend: Backend, worker: InstantWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that cannot be finished breaks: a reader must never take a part for the whole."""
    job_id = _submit(http)
    worker.finish(job_id, [_result(0) | {"pad": "x" * 100_000}, _result(1)])
    _break_off(backend, monkeypatch, after=1)

    with pytest.raises(StoreUnavailableError):
        http.get(f"/v1/jobs/{job_id}/results", buffered=True)
