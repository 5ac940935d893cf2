"""The client and the command line against the server as it is run, and through a proxy that does harm."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.client.client import ShelflineClient
from api.client.errors import ApiError, ConnectionFailedError
from api.commands.cli import app
from api.commands.errors import UsageError
from tests.integration.api.conftest import Server
from tests.support.servers.flaky_proxy import Harm, flaky
from tests.support.stacks.job_bench import JobBench
from tests.support.stacks.web_server import PROJECT
from workers.jobs.job import JobState
from workers.results.formats.registry import FormatName


@pytest.fixture
def client(server: Server) -> Iterator[ShelflineClient]:
    with ShelflineClient(f"http://{server[0]}:{server[1]}") as made:
        yield made


@pytest.fixture
def photos(tmp_path: Path) -> list[tuple[str, Path]]:
    (tmp_path / "a.jpg").write_bytes(b"x" * 200_000)
    return [(f"{number}.jpg", tmp_path / "a.jpg") for number in range(10)]


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize(
    "harms", [("drop",), ("drop", "drop"), ("later", "drop"), ("refuse", "later", "drop", "later")]
)
def test_one_submission_makes_one_job(
    server: Server,
    client: ShelflineClient,
    photos: list[tuple[str, Path]],
    harms: tuple[Harm, ...],
) -> None:
    """However often its answer is lost and it is sent again; an upload of many files too."""
    with flaky(server, *harms) as proxy, ShelflineClient(proxy.url) as mine:
        job = mine.submit_files(photos)
        assert not proxy.harms
    assert [listed.id for listed in client.jobs()] == [job.id]
    assert job.counts.total == 10


@pytest.mark.usefixtures("bench")
def test_two_submissions_make_two_jobs(client: ShelflineClient, photos: list[tuple[str, Path]]) -> None:
    """Each has a key of its own; with a key that is given, the second is the first."""
    ids = {client.submit_files(photos[:1]).id for _ in range(2)}
    assert ids == {listed.id for listed in client.jobs()}
    again = [client.submit_files(photos[:1], idempotency_key="mine").id for _ in range(2)]
    assert again[0] == again[1] not in ids


def test_a_pause_is_as_long_as_the_server_says(server: Server, bench: JobBench) -> None:
    """Retry-After is honoured; a client without that much patience says what was answered."""
    job = bench.job()
    with flaky(server, "later") as proxy, ShelflineClient(proxy.url) as client:
        began = time.monotonic()
        assert client.job(job.id).id == job.id
        assert time.monotonic() - began >= 1.0
    with flaky(server, "later") as proxy, ShelflineClient(proxy.url, patience=0.9) as client:
        with pytest.raises(ApiError) as caught:
            client.job(job.id)
        assert (caught.value.status, caught.value.retry_after) == (503, 1.0)


def test_results_that_break_off_are_taken_up_again(server: Server, bench: JobBench) -> None:
    """Each comes once, in order, however often the connection breaks."""
    job = bench.job(900)
    bench.settle(job, range(900), pad="\u2028ü" * 200)
    bench.duties.run_due()
    with flaky(server, "cut", "cut", "refuse", "cut") as proxy, ShelflineClient(proxy.url) as client:
        assert [result["index"] for result in client.results(job.id)] == list(range(900))
        assert proxy.connections >= 5


def test_another_format_that_breaks_off_is_an_error(server: Server, bench: JobBench) -> None:
    """It cannot be taken up in the middle, so it is not taken for complete."""
    job = bench.job(900)
    bench.settle(job, range(900), pad="x" * 400)
    bench.duties.run_due()
    with flaky(server, "cut") as proxy, ShelflineClient(proxy.url) as client:
        with pytest.raises(ConnectionFailedError):
            list(client.download(job.id, FormatName.JSON))
        whole = json.loads(b"".join(client.download(job.id, FormatName.JSON)))
    assert len(whole["data"]) == 900


def test_results_as_they_come(bench: JobBench, client: ShelflineClient) -> None:
    """Those that are there at once, the others when they are, up to the end."""
    job = bench.job(30)
    bench.settle(job, [0, 1, 5])
    results = client.results(job.id, wait=True)
    assert [next(results)["index"] for _ in range(2)] == [0, 1]
    ender = threading.Timer(0.1, bench.end, (job,))
    ender.start()
    assert [result["index"] for result in results] == list(range(2, 30))
    ender.join()


@pytest.mark.parametrize("harms", [(), ("cut", "refuse", "later")])
def test_events_are_followed(
    server: Server, bench: JobBench, monkeypatch: pytest.MonkeyPatch, harms: tuple[Harm, ...]
) -> None:
    """To the job's end, over connections that break: every image is told, the last event is the end."""
    monkeypatch.setattr("tests.support.servers.flaky_proxy.CUT_BYTES", 3000)
    job = bench.job(30)
    with flaky(server, *harms) as proxy, ShelflineClient(proxy.url) as client:
        events = []
        for event in client.events(job.id):
            events.append(event)
            if len(events) <= 10:
                bench.settle(job, [29 - len(events)])
            if len(events) == 10:
                bench.end(job)
        assert not proxy.harms
    assert {index for event in events for index in event.finished} == set(range(30))
    assert (events[-1].last, events[-1].data["state"]) == (True, "succeeded")
    assert sum(event.last for event in events) == 1


def test_jobs_are_changed(bench: JobBench, client: ShelflineClient) -> None:
    """Canceled, tried again, deleted; a refusal says the state, and is not tried again."""
    job = bench.job(2)
    with pytest.raises(ApiError, match="queued") as refused:
        client.delete(job.id)
    assert (refused.value.status, refused.value.code) == (409, "job_state")
    assert client.cancel(job.id).state is JobState.FINISHING
    bench.duties.run_due()
    assert client.cancel(job.id).state is JobState.CANCELED
    failing = bench.job(2)
    bench.settle(failing, [0, 1], "failed")
    bench.duties.run_due()
    again = client.retry(failing.id)
    assert (again.retry_of, client.retry(failing.id).id) == (failing.id, again.id)
    client.delete(job.id)
    client.delete(job.id)
    assert {listed.id for listed in client.jobs()} == {failing.id, again.id}
    assert [listed.id for listed in client.jobs(limit=1)] == [again.id]
    assert [listed.id for listed in client.jobs(state=JobState.FAILED)] == [failing.id]


def test_long_lists_are_read_page_by_page(bench: JobBench, client: ShelflineClient) -> None:
    """As many as are wanted, whatever the API's own page."""
    made = {bench.job().id for _ in range(120)}
    assert {listed.id for listed in client.jobs()} == made
    assert len(list(client.jobs(limit=110))) == 110


def _shelfline(server: Server, *arguments: str) -> tuple[int, bytes]:
    done = CliRunner().invoke(app, [*arguments, "--url", f"http://{server[0]}:{server[1]}"])
    return done.exit_code, done.stdout_bytes


def test_the_command_line(server: Server, bench: JobBench, tmp_path: Path) -> None:
    """Every command of jobs does what it says, in one run each; what is wrong is one line and exit status 2."""
    job = bench.job(3)
    bench.settle(job, [0, 1])
    bench.settle(job, [2], "failed", error={"code": "image_missing", "detail": "Gone.", "retryable": False})
    bench.duties.run_due()

    status, out = _shelfline(server, "jobs", "--state", "partial")
    assert (status, job.id in out.decode(), "100%" in out.decode()) == (0, True, True)
    assert json.loads(_shelfline(server, "show", job.id)[1])["state"] == "partial"
    status, out = _shelfline(server, "watch", job.id)
    assert (status, json.loads(out)["counts"]["failed"]) == (1, 1)
    status, out = _shelfline(server, "results", job.id)
    assert [json.loads(line)["index"] for line in out.splitlines()] == [0, 1, 2]
    table = tmp_path / "results.csv"
    assert _shelfline(server, "results", job.id, "--format", "csv", "--wait", "--output", str(table))[0] == 0
    assert len(list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8-sig"), newline="")))) == 3
    again: dict[str, Any] = json.loads(_shelfline(server, "retry", job.id)[1])
    assert again["retry_of"] == job.id
    assert json.loads(_shelfline(server, "cancel", again["id"])[1])["state"] in {"finishing", "canceled"}
    assert _shelfline(server, "delete", job.id) == (0, b"")

    nowhere = [
        "results",
        again["id"],
        "--url",
        f"http://{server[0]}:{server[1]}",
        "--output",
        str(tmp_path / "a" / "b"),
    ]
    with pytest.raises(UsageError, match="cannot be written"):
        CliRunner().invoke(app, nowhere, catch_exceptions=False)
    command = [sys.executable, "-m", "api.commands.cli", "show", job.id, "--url", f"http://{server[0]}:{server[1]}"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "deleted" in done.stderr
