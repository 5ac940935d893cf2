from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from api.client.client import ShelflineClient
from api.client.errors import ApiError, ConnectionFailedError
from api.client.events import parsed_events
from tests.unit.api.conftest import InstantWorker, stored_images
from workers.backend import Backend
from workers.errors import StoreUnavailableError
from workers.health import WORKER_SEEN_KEY
from workers.io.redis_link import RedisLink
from workers.jobs.document import OptionsDocument
from workers.jobs.job import Job
from workers.store.catalog import Published


def _answering(*answers: httpx.Response | Exception) -> ShelflineClient:
    left = iter(answers)

    def respond(_: httpx.Request) -> httpx.Response:
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ShelflineClient("http://127.0.0.1:5000", patience=0, transport=httpx.MockTransport(respond))


def test_files_are_uploaded_under_their_names(client: ShelflineClient, backend: Backend, tmp_path: Path) -> None:
    """Every name that a file system can have arrives as it is, and every byte."""
    names = ["a.jpg", "sub/b c.jpg", 'quo"te.jpg', "back\\slash.jpg", "%22.jpg", "日本;=.jpg", "CR%0D.jpg", "'*.jpg"]
    files = []
    for number, name in enumerate(names):
        path = tmp_path / str(number)
        path.write_bytes(bytes(range(256)) * number * 500 + b"\r\n--")
        files.append((name, path))

    job = client.submit_files(files, model="other-1.0", min_score=0.5, max_detections=9)

    assert stored_images(backend, job.id) == [(name, path.read_bytes()) for name, path in files]
    assert job.options == OptionsDocument(model="other-1.0", min_score=0.5, max_detections=9)


def test_who_is_told_of_an_upload(client: ShelflineClient, backend: Backend, tmp_path: Path) -> None:
    """Options that are objects go with an upload too."""
    (tmp_path / "a").write_bytes(b"x")
    hook = {"url": "https://shop.example/hook", "events": ["item.finished"]}

    job = client.submit_files([("a.jpg", tmp_path / "a")], webhook=hook, metadata={"store": "7"})

    webhook, _ = backend.store.webhook_of(job.id)
    assert webhook is not None
    assert (webhook.url, webhook.events) == (hook["url"], ("item.finished",))
    assert job.metadata == {"store": "7"}


def test_a_name_that_is_not_unicode(client: ShelflineClient, backend: Backend, tmp_path: Path) -> None:
    """A file name in another encoding is escaped, not an error."""
    (tmp_path / "a").write_bytes(b"x")

    job = client.submit_files([("b\udce9.jpg", tmp_path / "a")])

    assert stored_images(backend, job.id) == [("b\\udce9.jpg", b"x")]


def test_a_folder_is_submitted(client: ShelflineClient, root: Path) -> None:
    """A folder of the server's goes by its path, with the options given."""
    (root / "a.jpg").touch()

    assert client.submit_folder(root, min_score=0.5).options.min_score == 0.5


def test_what_the_api_refuses(client: ShelflineClient, root: Path) -> None:
    """The API's own words reach the caller, with its code, status and request id."""
    with pytest.raises(ApiError) as caught:
        client.submit_folder(root.parent)

    assert (caught.value.code, caught.value.status, caught.value.retryable) == ("folder_not_allowed", 403, False)
    assert str(caught.value) == caught.value.detail
    assert "not an absolute path under an allowed root" in caught.value.detail
    assert caught.value.request_id.startswith("req_")


def test_a_job_is_waited_for_and_read(client: ShelflineClient, worker: InstantWorker, tmp_path: Path) -> None:
    """Its states come until the last, then its results, from any of them on; U+2028 is no end of a line."""
    (tmp_path / "a").write_bytes(b"x")
    job = client.submit_files([("a.jpg", tmp_path / "a")] * 2)
    states = client.wait(job.id, every=0.01)
    assert next(states).state == "queued"
    lines = [{"index": index, "state": "succeeded", "name": "\u2028"} for index in range(2)]
    worker.finish(job.id, lines)

    assert [job.state for job in states] == ["succeeded"]
    assert list(client.results(job.id)) == lines
    assert list(client.results(job.id, start=1)) == lines[1:]


def test_results_of_an_unknown_job(client: ShelflineClient) -> None:
    """An error in place of a stream is read as one."""
    with pytest.raises(ApiError) as caught:
        list(client.results("job_x"))

    assert caught.value.code == "job_not_found"


def test_results_that_break_off(
    client: ShelflineClient,
    backend: Backend,
    worker: InstantWorker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half a result is an error, never a result."""
    (tmp_path / "a").write_bytes(b"x")
    job = client.submit_files([("a.jpg", tmp_path / "a")])
    worker.finish(job.id, [{"width": 4}])
    monkeypatch.setattr(backend.store, "results", lambda *_where: iter(['{"index": 0, "na']))

    with pytest.raises(ConnectionFailedError, match="not JSON"):
        list(client.results(job.id))


def test_ready(client: ShelflineClient, backend: Backend, link: RedisLink) -> None:
    """Ready or not, the checks are told."""
    backend.catalog.publish(Published("default", "", 1))
    link.client.set(WORKER_SEEN_KEY, "1")
    assert set(client.ready().values()) == {"ok"}
    backend.catalog.publish(Published("default", "away"))
    assert client.ready()["model"] == "away"


@pytest.mark.parametrize(
    "answer", [httpx.Response(200, text="<html>"), httpx.Response(404), httpx.Response(503, json=[])]
)
def test_something_else_at_that_address(answer: httpx.Response) -> None:
    """An answer that is not Shelfline's says so."""
    with _answering(answer) as client, pytest.raises(ApiError, match="not as Shelfline"):
        client.ready()


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (httpx.ConnectError("refused"), "Nothing answers"),
        (httpx.ReadTimeout("slow"), "in time"),
        (httpx.ReadError("reset"), "broke"),
        (httpx.RemoteProtocolError("cut"), "broke"),
        (httpx.UnsupportedProtocol("ftp"), "broke"),
    ],
)
def test_a_connection_that_fails(raised: Exception, says: str) -> None:
    """Every way for a connection to fail is one error with one clear line."""
    with _answering(raised) as client, pytest.raises(ConnectionFailedError, match=says):
        client.job("job_x")


def test_a_short_outage_is_waited_out(
    client: ShelflineClient,
    backend: Backend,
    worker: InstantWorker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The API may be away for a moment; what cannot come right is raised at once, and so is what `alive` raises."""
    (tmp_path / "a").write_bytes(b"x")
    job = client.submit_files([("a.jpg", tmp_path / "a")])
    worker.finish(job.id, [{"width": 4}])
    get, calls_of_alive = backend.store.get, 0
    away = True

    def get_or_fail(job_id: str) -> Job:
        if away:
            raise StoreUnavailableError("away")
        return get(job_id)

    def alive() -> None:
        nonlocal away, calls_of_alive
        away, calls_of_alive = False, calls_of_alive + 1

    monkeypatch.setattr(backend.store, "get", get_or_fail)
    client._connection.alive = alive
    assert [job.state for job in client.wait(job.id)] == ["succeeded"]
    assert calls_of_alive == 1
    with pytest.raises(ApiError, match="job_x"):
        next(client.wait("job_x"))
    away = True
    client._connection.alive = lambda: None
    client._connection.patience_seconds = 0
    with pytest.raises(ApiError, match="away"):
        next(client.wait(job.id))


def test_an_address_where_nothing_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is wrong more likely than away; one that has answered before is waited for."""
    pauses: list[float] = []
    monkeypatch.setattr("api.client.connection.time.sleep", pauses.append)
    refused = httpx.ConnectError("refused")
    with _answering(refused, httpx.Response(204), refused, httpx.Response(204)) as client:
        client._connection.patience_seconds = 30
        with pytest.raises(ConnectionFailedError, match="Nothing answers"):
            client.delete("job_x")
        assert pauses == []
        client.delete("job_x")
        client.delete("job_x")
    assert len(pauses) == 1


def test_pauses_grow_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the longest; then patience ends, and the last failure is raised."""
    now = 0.0
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        pauses.append(seconds)
        now += seconds

    monkeypatch.setattr("api.client.connection.time.sleep", sleep)
    monkeypatch.setattr("api.client.connection.time.monotonic", lambda: now)
    with _answering(*[httpx.Response(502)] * 50) as client:
        client._connection.patience_seconds = 30
        with pytest.raises(ApiError, match="502"):
            client.job("job_x")
    assert 20 < now <= 30
    assert pauses[0] < 0.25
    assert max(pauses) <= 8


def test_a_loopback_address_needs_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is for the world outside."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")

    with ShelflineClient("http://127.0.0.1:1") as here, ShelflineClient("http://shelf.example") as there:
        assert (here._connection.http._mounts, len(there._connection.http._mounts) > 0) == ({}, True)


def test_events_are_read() -> None:
    """Comments and what is unknown are left aside, and so is an event that breaks off."""
    text = 'retry: 1000\n\n: waiting\n\nid: 2\nevent: items\ndata: {"finished":[[0,1],[4,4]]}\n\n'
    text += "id: end\nevent: job\ndata: {}\n"
    (items,) = parsed_events(text.split("\n")[:-1])
    assert (items.finished, items.id, items.last) == ([0, 1, 4], "2", False)
    (_, job) = parsed_events(text.split("\n"))
    assert (job.finished, job.last) == ([], True)
