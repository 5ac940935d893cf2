"""Images by URL, from real servers on the loopback interface, through a whole worker."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.workers.conftest import photo
from tests.support.polling import wait_until
from tests.support.servers.origin import Origin, answer, gated, origin
from workers.errors import StoreUnavailableError
from workers.jobs.job import Job
from workers.jobs.lanes import DETECT_QUEUE
from workers.jobs.options import JobOptions
from workers.sources.original_images import OriginalImages
from workers.sources.origins.simple import Item, Items
from workers.sources.references import fetched_path

if TYPE_CHECKING:
    from tests.integration.workers.conftest import Worker

MANY = JobOptions("default", priority="bulk")


@pytest.fixture
def web() -> Iterator[Origin]:
    with origin() as server:
        yield server


@pytest.fixture
def make_fetching(make_worker: Callable[..., Worker], web: Origin) -> Callable[..., Worker]:
    """A worker that may fetch from the server."""

    def make(**settings: Any) -> Worker:
        return make_worker(fetch_private_hosts=frozenset({web.host}), **settings)

    return make


def submit(worker: Worker, *urls: str, options: JobOptions = MANY) -> Job:
    return worker.intake.submit(Items([Item(url, custom_id=str(n)) for n, url in enumerate(urls)]), options)


def finished(worker: Worker, job: Job) -> list[dict[str, Any]]:
    """The results, once the worker has been rung for until the job's end."""

    def ended() -> bool:
        worker.detect()
        return worker.store.get(job.id).state.terminal

    wait_until(ended, what="the end of the job")
    return worker.results(job)


def test_images_by_url(make_fetching: Callable[..., Worker], web: Origin) -> None:
    """They are fetched once each, redirects followed, and have their results; the bytes can be looked at later."""
    worker = make_fetching()
    web.handlers["/a.png?x=1"] = answer(photo(1), Content_Type="text/html")
    web.handlers["/b"] = answer(status=302, Location="/a.png?x=1")
    job = submit(worker, f"{web.url}/a.png?x=1", f"{web.url}/b")

    results = finished(worker, job)

    assert [(result["name"], result["custom_id"], result["state"]) for result in results] == [
        ("a.png", "0", "succeeded"),
        ("b", "1", "succeeded"),
    ]
    assert len(web.requests) == 3
    originals = OriginalImages(worker.store, worker.blobs, worker.settings)
    assert originals.read(job.id, 1) == photo(1)


def test_what_can_be_wrong_with_a_url(make_fetching: Callable[..., Worker], web: Origin) -> None:
    """Each image fails alone, with what was wrong, and without what stands in its query."""
    worker = make_fetching(max_image_bytes=10_000, fetch_seconds=1.0)

    def dripping(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 x\r\n\r\n")
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)

    web.handlers |= {
        "/gone": answer(status=404),
        "/broken?token=secret": answer(status=500),
        "/text": answer(b"no image at all", Content_Type="image/png"),
        "/empty": answer(b""),
        "/large": answer(b"x" * 10_001),
        "/bomb": answer(gzip.compress(b"\0" * 5_000_000), Content_Encoding="gzip"),
        "/drip": dripping,
        "/inside": answer(status=302, Location="http://127.0.0.1:9/"),
        "/good": answer(photo(1)),
    }
    expected = [
        ("/gone", "fetch_failed"),
        ("/broken?token=secret", "fetch_failed"),
        ("/text", "unsupported_format"),
        ("/empty", "image_decode_failed"),
        ("/large", "image_too_large"),
        ("/bomb", "image_too_large"),
        ("/drip", "fetch_failed"),
        ("/inside", "fetch_blocked"),
        ("/good", None),
    ]
    elsewhere = [("http://127.0.0.1:9/", "fetch_blocked"), ("http://nowhere.invalid/", "fetch_failed")]
    job = submit(worker, *(web.url + path for path, _ in expected), *(url for url, _ in elsewhere))

    results = finished(worker, job)

    assert [result.get("error", {}).get("code") for result in results] == [code for _, code in expected + elsewhere]
    assert "secret" not in str([result.get("error") for result in results])
    assert "404" in results[0]["error"]["detail"]
    assert [result["error"]["retryable"] for result in results[:3]] == [False, True, False]
    assert results[6]["error"]["retryable"]
    web.handlers["/gone"] = answer(photo(1))
    again = finished(worker, worker.intake.retry(job.id))
    assert (again[0]["state"], again[0]["custom_id"]) == ("succeeded", "0")


def test_a_slow_host_holds_up_nobody(make_fetching: Callable[..., Worker], web: Origin) -> None:
    """While every place of the host hangs, uploads of others are done, and no wake-up is waited for."""
    worker = make_fetching(fetch_threads=4, fetch_threads_per_host=2)
    web.handlers["/slow"] = gated(web.stopped, answer(photo(1)))
    slow = submit(worker, *[f"{web.url}/slow"] * 24)
    worker.detect()
    wait_until(lambda: len(web.requests) == 2, what="two requests")
    worker.link.client.delete(DETECT_QUEUE, "sl:ring:default")
    worker.detect()
    assert not worker.link.client.exists(DETECT_QUEUE)  # or workers would wake each other all the while

    others = [worker.submit(*(photo(n) for n in range(20))) for _ in range(3)]
    for other in others:
        assert {result["state"] for result in finished(worker, other)} == {"succeeded"}

    assert len(web.requests) == 2
    stored = worker.store.get(slow.id)
    assert (stored.running, stored.queued) == (2, 22)
    web.stopped.set()


def test_more_urls_than_places(make_fetching: Callable[..., Worker], web: Origin) -> None:
    """All have their turn; an interactive image has a place that bulk does not get."""
    worker = make_fetching(fetch_threads=4, fetch_threads_per_host=4)
    gate = threading.Event()
    web.handlers["/bulk"] = gated(gate, answer(photo(1)))
    web.handlers["/now"] = answer(photo(2))
    bulk = submit(worker, *[f"{web.url}/bulk"] * 40)
    worker.detect()
    wait_until(lambda: len(web.requests) == 3, what="three requests")

    now = submit(worker, f"{web.url}/now", options=JobOptions("default"))
    assert finished(worker, now)[0]["state"] == "succeeded"
    assert worker.store.get(bulk.id).succeeded == 0
    gate.set()

    assert {result["state"] for result in finished(worker, bulk)} == {"succeeded"}
    assert len(web.requests) == 41


def test_a_worker_that_dies_while_it_fetches(make_fetching: Callable[..., Worker], web: Origin) -> None:
    """Another takes over after a lease; what the first one hands in late changes nothing."""
    worker = make_fetching()
    gate = threading.Event()
    calls: list[int] = []

    def slow_once(connection: socket.socket) -> None:
        calls.append(1)
        if len(calls) == 1:
            gate.wait(180)
        answer(photo(1))(connection)

    web.handlers["/a"] = slow_once
    job = submit(worker, f"{web.url}/a")
    dead = worker.another()
    dead.detect("default")
    wait_until(lambda: calls, what="the first request")
    dead._context.leases.stop()

    results = finished(worker, job)

    gate.set()
    dead._context.fetcher.close()
    assert (len(calls), results[0]["state"], worker.store.get(job.id).succeeded) == (2, "succeeded", 1)


def test_a_job_that_is_deleted_meanwhile(make_fetching: Callable[..., Worker], web: Origin) -> None:
    """Nothing of it stays in the blob store, although the bytes come after the deletion."""
    worker = make_fetching()
    gate = threading.Event()
    web.handlers["/a"] = gated(gate, answer(photo(1)))
    job = submit(worker, f"{web.url}/a")
    worker.detect()
    wait_until(lambda: web.requests, what="the request")
    worker.link.run("jobs/delete", job.id, 1000, "any")
    worker.runtime.do_duties()

    gate.set()
    worker.runtime._context.fetcher.close()

    assert list(Path(worker.settings.blob_url).rglob(fetched_path(job.id, 0))) == []


def test_a_worker_that_shall_stop(make_fetching: Callable[..., Worker], web: Origin) -> None:
    """What has not begun goes back into its lane at once."""
    worker = make_fetching(fetch_threads=1)
    gate = threading.Event()
    web.handlers["/a"] = gated(gate, answer(photo(1)))
    job = submit(worker, f"{web.url}/a", f"{web.url}/a")
    fetcher = worker.runtime._context.fetcher
    fetcher._settings = worker.settings.model_copy(update={"fetch_threads": 2})  # two places, one thread
    worker.detect()
    wait_until(lambda: web.requests, what="the request")
    worker.runtime.stop()
    gate.set()
    fetcher.close()

    assert len(web.requests) == 1
    assert worker.store.get(job.id).queued == 2
    worker.runtime = worker.another()
    assert {result["state"] for result in finished(worker, job)} == {"succeeded"}


def test_a_blob_store_that_cannot_be_written(
    make_fetching: Callable[..., Worker], web: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no fault of the image: it waits, and is fetched again."""
    worker = make_fetching()
    web.handlers["/a"] = answer(photo(1))
    blobs = worker.runtime._context.blobs
    write, failures = blobs.write, [StoreUnavailableError("full")]

    def failing(path: str, content: Any) -> int:
        if failures:
            raise failures.pop()
        return write(path, content)

    monkeypatch.setattr(blobs, "write", failing)
    job = submit(worker, f"{web.url}/a")

    assert finished(worker, job)[0]["state"] == "succeeded"
    assert len(web.requests) == 2


def test_an_error_that_nobody_foresaw(
    make_fetching: Callable[..., Worker], web: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails its image, and the thread goes on."""
    worker = make_fetching()
    web.handlers["/a"] = answer(photo(1))

    def failing(_url: str) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(worker.runtime._context.fetcher, "_get", failing)
    job = submit(worker, f"{web.url}/a")

    assert finished(worker, job)[0]["error"]["code"] == "fetch_failed"
