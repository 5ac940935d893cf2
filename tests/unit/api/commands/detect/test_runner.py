from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from api.client.client import ShelflineClient
from api.client.errors import ApiError, ConnectionFailedError
from api.commands.detect import runner, sending
from api.commands.detect.journal import Journal, opened_journal
from api.commands.detect.photos import Photo
from api.commands.detect.runner import Runner, Tally
from api.commands.detect.sending import Sender, Sharing
from api.commands.progress import WaitingReason
from tests.unit.api.conftest import InstantWorker, all_jobs
from workers.backend import Backend
from workers.errors import (
    FolderNotAllowedError,
    IdempotencyMismatchError,
    ItemNotFoundError,
    QueueFullError,
    TooManyImagesError,
)
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.job import Job, JobState
from workers.jobs.submission import NewJob
from workers.store.job_store import unknown_job

COUNT = 12


@pytest.fixture
def journal(root: Path, tmp_path: Path) -> Iterator[Journal]:
    photos = []
    for number in range(COUNT):
        path = root / f"{number}.jpg"
        path.write_bytes(b"x" * 10)
        photos.append(Photo(f"{number}.jpg", str(path), 10))
    with opened_journal(tmp_path / "out", "one", {}) as made:
        made.add_photos(photos)
        yield made


@pytest.fixture
def metadata() -> list[Mapping[str, str]]:
    """The metadata of each job that was finished."""
    return []


@pytest.fixture(autouse=True)
def finished(
    worker: InstantWorker, backend: Backend, metadata: list[Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> list[list[str]]:
    """Finish jobs as soon as they are there. The images of each: their names, or the paths that the server reads."""
    names: list[list[str]] = []
    jobs: dict[str, list[str]] = {}

    def succeed(image: ClaimedImage) -> dict[str, Any]:
        if image.job not in jobs:
            jobs[image.job] = []
            names.append(jobs[image.job])
            metadata.append(backend.store.get(image.job).metadata)
        kind, _, path = image.ref.partition(":")
        jobs[image.job].append(path if kind == "file" else image.name)
        return {"width": 4}

    worker.result = succeed
    monkeypatch.setattr(sending, "UPLOADED_IMAGES", 5)
    monkeypatch.setattr(runner, "SENDING", 1)  # so that jobs come in order
    return names


@pytest.fixture
def run(client: ShelflineClient, journal: Journal) -> Callable[..., Tally]:
    def run(sharing: Sharing = Sharing.NO, **more: Any) -> Tally:
        tallies: list[Tally] = []
        Runner(client, journal, Sender(client, journal, {}, sharing), show=tallies.append, **more).run()
        assert [result["index"] for result in _results(journal)] == list(range(len(journal.photos)))
        assert [result["name"] for result in _results(journal)] == [photo.name for photo in journal.photos]
        return tallies[-1] if tallies else Tally()

    return run


def _results(journal: Journal) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.results.read_text().splitlines()]


def _fail(backend: Backend, monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> None:
    """Raise errors, one per job, before jobs are created again."""
    left, create = list(errors), backend.store.create

    def create_or_fail(*arguments: Any) -> tuple[Job, bool]:
        if left:
            raise left.pop(0)
        return create(*arguments)

    monkeypatch.setattr(backend.store, "create", create_or_fail)


def test_uploads_in_parts(
    run: Callable[..., Tally], finished: list[list[str]], metadata: list[Mapping[str, str]], backend: Backend
) -> None:
    """Each a job that knows of its run; those that are merged are deleted, for their images need room."""
    assert run() == Tally(COUNT, COUNT, 0, COUNT)
    assert finished == [[f"{number}.jpg" for number in numbers] for numbers in (range(5), range(5, 10), range(10, 12))]
    assert all_jobs(backend) == []
    assert metadata[-1]["images"] == "10-11"


def test_large_photos_make_smaller_parts(
    run: Callable[..., Tally], finished: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload is bounded in bytes too, and one photo is an upload however large."""
    monkeypatch.setattr(sending, "UPLOADED_BYTES", 20)
    run()
    assert {len(names) for names in finished} == {2}
    assert len(finished) == 6


def test_a_server_that_reads_the_disk(
    run: Callable[..., Tally], finished: list[list[str]], journal: Journal, backend: Backend
) -> None:
    """It is told where the photos are, all at once; nothing is uploaded, and the job stays."""
    run(Sharing.YES)
    assert finished == [[photo.path for photo in journal.photos]]
    assert journal.parts[0].by_reference
    assert [job.metadata for job in all_jobs(backend)] == [{}]


def test_a_server_that_may_read_the_disk(
    run: Callable[..., Tally], finished: list[list[str]], journal: Journal
) -> None:
    """It is believed where the bytes that it reads are those that are here."""
    run(Sharing.ASK)
    assert finished == [[photo.path for photo in journal.photos]]


@pytest.mark.parametrize("there", [b"another photo", None])
def test_a_server_with_another_disk(
    run: Callable[..., Tally],
    finished: list[list[str]],
    worker: InstantWorker,
    backend: Backend,
    there: bytes | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where it reads other photos by the same names, or none, they are uploaded."""
    send, succeed = worker.send, worker.result

    def read(_job_id: str, _index: int) -> bytes:
        if there is None:
            raise ItemNotFoundError("There is no such file.")
        return there

    def send_but_for_the_first(model: str) -> None:
        """Leave the images of the first job, which is to be canceled."""
        worker.result = None if all_jobs(backend)[-1].state is JobState.QUEUED else succeed
        send(model)

    monkeypatch.setattr(backend.originals, "read", read)
    monkeypatch.setattr(worker, "send", send_but_for_the_first)
    run(Sharing.ASK)
    assert list(map(len, finished)) == [5, 5, 2]
    assert [(job.state, job.total) for job in all_jobs(backend)] == [("canceled", 12)]


def test_a_server_that_reads_no_folders(
    run: Callable[..., Tally],
    finished: list[list[str]],
    backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then all is uploaded, in parts of the size of uploads."""
    _fail(backend, monkeypatch, FolderNotAllowedError("no roots"))
    run(Sharing.YES)
    assert sorted(map(len, finished)) == [2, 5, 5]


def test_names_that_a_manifest_cannot_have(
    run: Callable[..., Tally], finished: list[list[str]], journal: Journal, root: Path
) -> None:
    """Their photos are uploaded, under names that a server takes; the results have their own."""
    odd = root / "a\nb.jpg"
    odd.write_bytes(b"y")
    journal.add_photos([Photo(odd.name, str(odd), 1)])
    run(Sharing.YES)
    assert sorted(map(len, finished)) == [3, 5, 5]
    assert _results(journal)[-1]["name"] == "a\nb.jpg"


def test_photos_that_cannot_be_read(run: Callable[..., Tally], journal: Journal) -> None:
    """Each fails alone, and says why; a pipe does not hold the command up."""
    for number, make in ((3, os.mkfifo), (7, os.mkdir), (11, None)):
        Path(journal.photos[number].path).unlink()
        if make:
            make(journal.photos[number].path)

    assert run().failed == 3
    errors = {result["index"]: result["error"] for result in _results(journal) if result["state"] == "failed"}
    assert {error["code"] for error in errors.values()} == {"image_missing"}
    assert {index: error["detail"] for index, error in errors.items()} == {
        3: "The file cannot be read: it is not a regular file.",
        7: "The file cannot be read: Is a directory.",
        11: "The file cannot be read: No such file or directory.",
    }


def test_a_server_that_takes_less(
    run: Callable[..., Tally],
    finished: list[list[str]],
    backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Uploads become smaller until it takes them."""
    create = backend.store.create

    def create_if_small(job: NewJob, *more: Any) -> tuple[Job, bool]:
        if job.total > 2:
            raise TooManyImagesError("at most 2")
        return create(job, *more)

    monkeypatch.setattr(backend.store, "create", create_if_small)
    run()
    assert {len(names) for names in finished} <= {1, 2}


def test_a_server_that_is_full_is_waited_for(
    run: Callable[..., Tally], backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than for a server that does not answer: others' images go first."""
    pauses: list[float] = []
    monkeypatch.setattr("api.commands.detect.sending.time.sleep", pauses.append)
    monkeypatch.setattr("api.client.connection.Patience.spend", lambda _self, error: (_ for _ in ()).throw(error))
    _fail(backend, monkeypatch, *[QueueFullError("full", 7)] * 3)
    run()
    assert pauses == [7.0] * 3


def test_photos_that_changed_since_a_lost_answer(
    run: Callable[..., Tally],
    finished: list[list[str]],
    backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their upload gets a new key."""
    _fail(backend, monkeypatch, IdempotencyMismatchError("another body"))
    run()
    assert sorted(map(len, finished)) == [2, 5, 5]


def test_what_a_server_refuses_is_raised(
    run: Callable[..., Tally], backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the server says it."""
    _fail(backend, monkeypatch, *[FolderNotAllowedError("not you")] * 9)
    with pytest.raises(ApiError, match="not you"):
        run()


def test_a_job_that_the_server_lost(
    run: Callable[..., Tally], finished: list[list[str]], journal: Journal, backend: Backend
) -> None:
    """What there is of its results stays; only the rest is sent again."""
    journal.add_part(0, COUNT)
    journal.accepted(journal.parts[0], "job_gone", {}, by_reference=False)
    kept = [{"index": n, "name": f"{n}.jpg", "state": "succeeded", "mine": True} for n in range(4)]
    journal.part_file(journal.parts[0]).write_text("".join(json.dumps(result) + "\n" for result in kept))
    journal.recount()

    run()

    assert sorted(name for names in finished for name in names) == sorted(f"{n}.jpg" for n in range(4, COUNT))
    assert [result.get("mine", False) for result in _results(journal)] == [True] * 4 + [False] * 8
    assert all_jobs(backend) == []


def test_a_job_that_has_too_few_results(
    run: Callable[..., Tally], journal: Journal, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is over, and yet not whole: that is never taken for the end."""
    monkeypatch.setattr(backend.store, "finished_end", lambda _job_id, _start, end: end - 1)
    with pytest.raises(ConnectionFailedError, match="sent 4 of 5 results"):
        run()
    assert journal.merged == 0


def test_photos_that_arrive(run: Callable[..., Tally], journal: Journal, root: Path) -> None:
    """They are sent as they come; the run is over when its command is."""

    def arrive() -> bool:
        if journal.merged == len(journal.photos) == COUNT + 1:
            raise KeyboardInterrupt
        if journal.merged < COUNT or len(journal.photos) > COUNT:
            return False
        (root / "new.jpg").write_bytes(b"new")
        journal.add_photos([Photo("new.jpg", str(root / "new.jpg"), 3)])
        return True

    with pytest.raises(KeyboardInterrupt):
        run(arrived=arrive)
    assert [result["name"] for result in _results(journal)][-1] == "new.jpg"
    assert journal.merged == COUNT + 1


def test_a_job_of_others(
    client: ShelflineClient,
    journal: Journal,
    backend: Backend,
    finished: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its images keep the names that the server has; gone, it cannot be made again."""
    job = client.submit_files([("their name.jpg", journal.photos[0].path)])
    assert finished
    journal.photos[:] = [Photo("", "")]
    journal.add_part(0, 1)
    journal.accepted(journal.parts[0], job.id, {}, by_reference=True)
    sender = Sender(client, journal, {}, Sharing.NO)

    def missing(job_id: str) -> NoReturn:
        raise unknown_job(job_id)

    with monkeypatch.context() as patch:
        patch.setattr(backend.store, "get", missing)
        with pytest.raises(ApiError, match="There is no job"):
            Runner(client, journal, sender, show=lambda _tally: None, own_names=True).run()
    Runner(client, journal, sender, show=lambda _tally: None, own_names=True).run()

    assert [result["name"] for result in _results(journal)] == ["their name.jpg"]


def test_a_job_whose_model_is_nowhere_says_why_it_waits(run: Callable[..., Tally], worker: InstantWorker) -> None:
    """Once, on the terminal; the run goes on when the model is there."""
    succeed, worker.result = worker.result, None
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        worker.result = succeed
        worker.send("default")

    run(Sharing.NO, say=say, waiting=WaitingReason(clock=itertools.count(0.0, 1.0).__next__))

    assert len(said) == 1
    assert said[0].startswith("Waiting. The model default is not available: No worker has looked for the model lately")
