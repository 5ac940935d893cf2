from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from api.client.client import ShelflineClient
from api.client.errors import ApiError, ConnectionFailedError
from api.commands.detect import runner, sending
from api.commands.detect.journal import Journal, opened_journal
from api.commands.detect.photos import Photo
from api.commands.detect.runner import Runner, Tally
from api.commands.detect.sending import Sender, Sharing
from workers.errors import (
    FolderNotAllowedError,
    IdempotencyMismatchError,
    QueueFullError,
    TooManyImagesError,
)
from workers.jobs.job import Job
from workers.sources.origins.manifest_file import Manifest
from workers.sources.origins.simple import Files

if TYPE_CHECKING:
    from tests.unit.api.conftest import MemoryBackend

COUNT = 12


class Anywhere(dict[tuple[str, int], bytes]):
    """The same bytes for every image of every job, None for no bytes."""

    def __init__(self, content: bytes | None) -> None:
        super().__init__()
        self.content = content

    def __contains__(self, _key: object) -> bool:
        return self.content is not None

    def __missing__(self, _key: object) -> bytes:
        return self.content or b""


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    (tmp_path / "photos").mkdir()
    photos = []
    for number in range(COUNT):
        path = tmp_path / "photos" / f"{number}.jpg"
        path.write_bytes(b"x" * 10)
        photos.append(Photo(f"{number}.jpg", str(path), 10))
    with opened_journal(tmp_path / "out", "one", {}) as made:
        made.add_photos(photos)
        yield made


@pytest.fixture(autouse=True)
def finished(backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Jobs are over as soon as they are there; the names of each one's images."""
    intake, made = backend.intake, []
    create = intake._create

    def finish(total: int, options: Any) -> Job:
        names = [name for name, _ in intake.uploads]
        if names == ["manifest"]:
            rows = [json.loads(line)["path"] for line in intake.uploads[0][1].splitlines()]
            names, total = rows, len(rows)
        job = create(total, options)
        made.append(names)
        backend.store.finish(job.id, [{"index": n, "name": one, "state": "succeeded"} for n, one in enumerate(names)])
        return job

    monkeypatch.setattr(intake, "_create", finish)
    monkeypatch.setattr(sending, "UPLOADED_IMAGES", 5)
    monkeypatch.setattr(runner, "SENDING", 1)  # the intake in memory keeps the last upload only
    return made


@pytest.fixture
def run(client: ShelflineClient, journal: Journal) -> Callable[..., Tally]:
    def run(sharing: Sharing = Sharing.NO, **more: Any) -> Tally:
        told: list[Tally] = []
        Runner(client, journal, Sender(client, journal, {}, sharing), show=told.append, **more).run()
        assert [one["index"] for one in _results(journal)] == list(range(len(journal.photos)))
        assert [one["name"] for one in _results(journal)] == [one.name for one in journal.photos]
        return told[-1] if told else Tally()

    return run


def _results(journal: Journal) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.results.read_text().splitlines()]


def _fail(
    backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch, kind: type[Files | Manifest], *errors: Exception
) -> None:
    """Raise errors, one a call, before the intake takes origins of this kind."""
    left, works = list(errors), backend.intake.submit

    def call(origin: Files | Manifest, *more: Any) -> Job:
        if left and isinstance(origin, kind):
            raise left.pop(0)
        return works(origin, *more)

    monkeypatch.setattr(backend.intake, "submit", call)


def test_uploads_in_parts(run: Callable[..., Tally], finished: list[list[str]], backend: MemoryBackend) -> None:
    """Each a job that knows of its run; those that are merged are deleted, for their images need room."""
    assert run() == Tally(COUNT, COUNT, 0, COUNT)
    assert finished == [[f"{number}.jpg" for number in numbers] for numbers in (range(5), range(5, 10), range(10, 12))]
    assert backend.store.jobs == {}
    assert backend.intake.terms.metadata["images"] == "10-11"


def test_large_photos_make_smaller_parts(
    run: Callable[..., Tally], finished: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload is bounded in bytes too, and one photo is an upload however large."""
    monkeypatch.setattr(sending, "UPLOADED_BYTES", 20)
    run()
    assert {len(names) for names in finished} == {2}
    assert len(finished) == 6


def test_a_server_that_reads_the_disk(
    run: Callable[..., Tally], finished: list[list[str]], journal: Journal, backend: MemoryBackend
) -> None:
    """It is told where the photos are, all at once; nothing is uploaded, and the job stays."""
    run(Sharing.YES)
    assert finished == [[one.path for one in journal.photos]]
    assert journal.parts[0].by_reference
    assert [job.metadata for job in backend.store.jobs.values()] == [{}]


def test_a_server_that_may_read_the_disk(
    run: Callable[..., Tally], finished: list[list[str]], journal: Journal, backend: MemoryBackend
) -> None:
    """It is believed where the bytes that it reads are those that are here."""
    backend.originals.contents = Anywhere(b"x" * 10)
    run(Sharing.ASK)
    assert finished == [[one.path for one in journal.photos]]


@pytest.mark.parametrize("there", [b"another photo", None])
def test_a_server_with_another_disk(
    run: Callable[..., Tally], finished: list[list[str]], backend: MemoryBackend, there: bytes | None
) -> None:
    """Where it reads other photos by the same names, or none, they are uploaded."""
    backend.originals.contents = Anywhere(there)
    run(Sharing.ASK)
    assert list(map(len, finished)) == [12, 5, 5, 2]
    assert [job.state for job in backend.store.jobs.values()] == ["canceled"]


def test_a_server_that_reads_no_folders(
    run: Callable[..., Tally],
    finished: list[list[str]],
    backend: MemoryBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then all is uploaded, in parts of the size of uploads."""
    _fail(backend, monkeypatch, Manifest, *[FolderNotAllowedError("no roots")] * 3)
    run(Sharing.YES)
    assert sorted(map(len, finished)) == [2, 5, 5]


def test_names_that_a_manifest_cannot_have(
    run: Callable[..., Tally], finished: list[list[str]], journal: Journal, tmp_path: Path
) -> None:
    """Their photos are uploaded, under names that a server takes; the results have their own."""
    odd = tmp_path / "photos" / "a\nb.jpg"
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
    errors = {one["index"]: one["error"] for one in _results(journal) if one["state"] == "failed"}
    assert {error["code"] for error in errors.values()} == {"image_missing"}
    assert {index: error["detail"] for index, error in errors.items()} == {
        3: "The file cannot be read: it is not a regular file.",
        7: "The file cannot be read: Is a directory.",
        11: "The file cannot be read: No such file or directory.",
    }


def test_a_server_that_takes_less(
    run: Callable[..., Tally],
    finished: list[list[str]],
    backend: MemoryBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Uploads become smaller until it takes them."""
    take = backend.intake.submit

    def refuse(origin: Files, *more: Any) -> Job:
        files = list(origin._files)
        if len(files) > 2:
            raise TooManyImagesError("at most 2")
        return take(Files(files), *more)

    monkeypatch.setattr(backend.intake, "submit", refuse)
    run()
    assert {len(names) for names in finished} <= {1, 2}


def test_a_server_that_is_full_is_waited_for(
    run: Callable[..., Tally], backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than for a server that does not answer: others' images go first."""
    pauses: list[float] = []
    monkeypatch.setattr("api.commands.detect.sending.time.sleep", pauses.append)
    monkeypatch.setattr("api.client.connection.Patience.spend", lambda _self, error: (_ for _ in ()).throw(error))
    _fail(backend, monkeypatch, Files, *[QueueFullError("full", 7)] * 3)
    run()
    assert pauses == [7.0] * 3


def test_photos_that_changed_since_a_lost_answer(
    run: Callable[..., Tally],
    finished: list[list[str]],
    backend: MemoryBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their upload gets a new key."""
    _fail(backend, monkeypatch, Files, IdempotencyMismatchError("another body"))
    run()
    assert sorted(map(len, finished)) == [2, 5, 5]


def test_what_a_server_refuses_is_raised(
    run: Callable[..., Tally], backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the server says it."""
    _fail(backend, monkeypatch, Files, *[FolderNotAllowedError("not you")] * 9)
    with pytest.raises(ApiError, match="not you"):
        run()


def test_a_job_that_the_server_lost(
    run: Callable[..., Tally], finished: list[list[str]], journal: Journal, backend: MemoryBackend
) -> None:
    """What there is of its results stays; only the rest is sent again."""
    journal.add_part(0, COUNT)
    journal.accepted(journal.parts[0], "job_gone", {}, by_reference=False)
    kept = [{"index": n, "name": f"{n}.jpg", "state": "succeeded", "mine": True} for n in range(4)]
    journal.part_file(journal.parts[0]).write_text("".join(json.dumps(one) + "\n" for one in kept))
    journal.recount(journal.parts[0])

    run()

    assert sorted(name for names in finished for name in names) == sorted(f"{n}.jpg" for n in range(4, COUNT))
    assert [one.get("mine", False) for one in _results(journal)] == [True] * 4 + [False] * 8
    assert backend.store.jobs == {}


def test_a_job_that_has_too_few_results(
    run: Callable[..., Tally], journal: Journal, backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is over, and yet not whole: that is never taken for the end."""
    finish = backend.store.finish
    monkeypatch.setattr(backend.store, "finish", lambda job, lines: finish(job, lines[:-1]))
    with pytest.raises(ConnectionFailedError, match="sent 4 of 5 results"):
        run()
    assert journal.merged == 0


def test_photos_that_arrive(run: Callable[..., Tally], journal: Journal, tmp_path: Path) -> None:
    """They are sent as they come; the run is over when its command is."""
    merged: list[int] = []

    def arrive() -> bool:
        if journal.merged == len(journal.photos) == COUNT + 1:
            raise KeyboardInterrupt
        if journal.merged < COUNT or len(journal.photos) > COUNT:
            return False
        (tmp_path / "photos" / "new.jpg").write_bytes(b"new")
        journal.add_photos([Photo("new.jpg", str(tmp_path / "photos" / "new.jpg"), 3)])
        return True

    with pytest.raises(KeyboardInterrupt):
        run(arrived=arrive, merged=lambda: merged.append(journal.merged))
    assert [one["name"] for one in _results(journal)][-1] == "new.jpg"
    assert merged[-1] == COUNT + 1


def test_a_job_of_others(
    client: ShelflineClient, journal: Journal, backend: MemoryBackend, finished: list[list[str]]
) -> None:
    """Its images keep the names that the server has; gone, it cannot be made again."""
    job = client.submit_files([("their name.jpg", journal.photos[0].path)])
    assert finished
    journal.photos[:] = [Photo("", "")]
    journal.add_part(0, 1)
    journal.accepted(journal.parts[0], job.id, {}, by_reference=True)
    sender = Sender(client, journal, {}, Sharing.NO)
    kept = backend.store.jobs.pop(job.id)

    with pytest.raises(ApiError, match="There is no job"):
        Runner(client, journal, sender, show=lambda _tally: None, own_names=True).run()
    backend.store.jobs[job.id] = kept
    Runner(client, journal, sender, show=lambda _tally: None, own_names=True).run()

    assert [one["name"] for one in _results(journal)] == ["their name.jpg"]
