"""Listing named sources, on a real Redis and through a whole worker: what is found, what is odd, who dies meanwhile."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.workers.conftest import Worker, photo
from workers.errors import ImageChangedError, JobStateError, NoImagesError
from workers.io.blobs import bounded
from workers.io.folders import FoundFile, walk_images
from workers.jobs.job import Job, JobState
from workers.jobs.options import JobOptions
from workers.sources import references
from workers.sources.origins.named import NamedSource
from workers.sources.selection import Selection

OPTIONS = JobOptions("default")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve photos in two folders."""
    photos = tmp_path / "photos"
    for number in range(12):
        path = photos / ("ab"[number % 2]) / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(number))
    return photos


def names(worker: Worker, job: Job) -> list[str]:
    worker.detect_until(lambda: worker.store.get(job.id).state.terminal)  # a slice may end before the job
    return [result["name"] for result in worker.results(job)]


def outcome(result: dict[str, Any]) -> str:
    return str(result["error"]["code"] if result["state"] == "failed" else result["state"])


def manifests(worker: Worker) -> list[Path]:
    return list(Path(worker.settings.blob_url).rglob("manifest*"))


def test_a_folder_is_accepted_before_it_is_listed(worker: Worker, folder: Path) -> None:
    """Its total is not known; then it is that of what was found, with size and mtime, in a stable order."""
    job = worker.intake.submit(NamedSource("folder", str(folder)), OPTIONS)
    assert (job.state, job.total, job.queued, job.progress) == (JobState.ENUMERATING, 0, 0, 0.0)
    assert manifests(worker) == []

    worker.listed()

    stored = worker.store.get(job.id)
    assert (stored.state, stored.total, stored.queued, stored.lane) == (JobState.QUEUED, 12, 12, "bulk")
    lines = [json.loads(line) for line in Path(worker.blobs._path(stored.manifest)).read_text().splitlines()]
    assert [line[0] for line in lines] == [f"a/{n:02}.png" for n in range(0, 12, 2)] + [
        f"b/{n:02}.png" for n in range(1, 12, 2)
    ]
    stats = [(folder / line[0]).stat() for line in lines]
    assert [line[3:] for line in lines] == [[stat.st_size, stat.st_mtime] for stat in stats]
    assert names(worker, job) == [line[0] for line in lines]


def test_what_a_folder_or_a_store_has_beside_its_images(
    make_worker: Callable[..., Worker], folder: Path, tmp_path: Path, memory_store: Any
) -> None:
    """The job counts it by suffix, also where a folder has nothing else."""
    worker = make_worker(source_prefixes=("memory://photos",))
    only = tmp_path / "only"
    only.mkdir()
    memory_store.pipe_file("/photos/a.png", photo(1))
    for name in ("x.heic", "y.HEIC", "z.jp2", ".hidden", "Thumbs.db"):
        (folder / "a" / name).write_bytes(b"x")
        (only / name).write_bytes(b"x")
        memory_store.pipe_file(f"/photos/a/{name}", b"x")
    jobs = [
        worker.intake.submit(source, OPTIONS)
        for source in (NamedSource("folder", str(folder)), NamedSource("location", "memory://photos"))
    ]
    without_images = worker.intake.submit(NamedSource("folder", str(only)), OPTIONS)

    worker.listed()
    worker.runtime.do_duties()

    assert [worker.store.get(job.id).skipped for job in jobs] == [{".heic": 2, ".jp2": 1}] * 2
    error = worker.store.get(without_images.id).error
    assert error["code"] == "no_images"
    assert error["detail"].endswith("Other files were left out (2 .heic, 1 .jp2): convert photos among them to JPEG.")


def test_a_small_folder_is_interactive(worker: Worker, folder: Path) -> None:
    """How many there are decides about the lane, unless the caller did."""
    job = worker.intake.submit(NamedSource("folder", str(folder / "a")), OPTIONS)
    other = worker.intake.submit(NamedSource("folder", str(folder / "a")), JobOptions("default", priority="bulk"))
    worker.listed()
    assert [worker.store.get(submitted.id).lane for submitted in (job, other)] == ["interactive", "bulk"]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(include=("a/*",), limit=2), ["a/00.png", "a/02.png"]),
        (Selection(exclude=("*[0-8].png",)), ["b/09.png"]),
    ],
)
def test_some_of_a_folder(worker: Worker, folder: Path, selection: Selection, expected: list[str]) -> None:
    assert names(worker, worker.intake.submit(NamedSource("folder", str(folder), selection), OPTIONS)) == expected


def test_a_sample_of_a_folder(worker: Worker, folder: Path) -> None:
    """The same each time; another seed gives another."""
    samples = [
        names(worker, worker.intake.submit(NamedSource("folder", str(folder), Selection(sample=4, seed=seed)), OPTIONS))
        for seed in (0, 0, 1)
    ]
    assert samples[0] == samples[1] == sorted(samples[0])
    assert len(samples[0]) == len(samples[2]) == 4
    assert samples[0] != samples[2]


def test_odd_files_are_a_failed_item_each(worker: Worker, folder: Path, tmp_path: Path) -> None:
    """A fifo, links that dangle, lead in a circle or out of the root; a link to a photo beside it is that photo."""
    odd = folder / "odd"
    odd.mkdir()
    outside = tmp_path.parent / f"{tmp_path.name}-outside.png"
    outside.write_bytes(photo(1))
    os.mkfifo(odd / "1-fifo.png")
    (odd / "2-dangling.png").symlink_to("nothing.png")
    (odd / "3-circle.png").symlink_to("3-circle.png")
    (odd / "4-outside.png").symlink_to(outside)
    (odd / "5-inside.png").symlink_to(folder / "a" / "00.png")
    (odd / "6-folder.png").mkdir()
    (odd / "7-vanishes.png").write_bytes(photo(1))
    (odd / "8-empty.png").touch()
    (odd / os.fsdecode(b"9-\xff\n.png")).write_bytes(photo(1))
    job = worker.intake.submit(NamedSource("folder", str(odd)), OPTIONS)
    worker.listed()
    (odd / "7-vanishes.png").unlink()

    assert names(worker, job)[-1] == "9-\\udcff\n.png"
    assert [outcome(result) for result in worker.results(job)] == [
        *["image_missing"] * 4,
        "succeeded",
        "image_missing",
        "image_decode_failed",
        "succeeded",
    ]


def test_a_file_that_is_swapped_for_a_link(worker: Worker, folder: Path, tmp_path: Path) -> None:
    """Whether the file or a folder above it: what lies outside of the root is not read."""
    outside = tmp_path.parent / f"{tmp_path.name}-swapped"
    outside.mkdir()
    for number in range(12):
        (outside / f"{number:02}.png").write_bytes(photo(number))
    job = worker.intake.submit(NamedSource("folder", str(folder)), OPTIONS)
    worker.listed()
    (folder / "a" / "00.png").unlink()
    (folder / "a" / "00.png").symlink_to(outside / "00.png")
    (folder / "b").rename(folder / "c")
    (folder / "b").symlink_to(outside)

    names(worker, job)

    assert [outcome(result) for result in worker.results(job)] == [
        "image_missing",
        *["succeeded"] * 5,
        *["image_missing"] * 6,
    ]


def test_a_file_that_was_replaced_is_done_as_it_is_at_its_turn(worker: Worker, folder: Path) -> None:
    """Not as it was when it was listed."""
    job = worker.intake.submit(NamedSource("folder", str(folder / "a")), OPTIONS)
    worker.listed()
    (folder / "a" / "00.png").write_bytes(photo(2))
    names(worker, job)
    results = worker.results(job)
    assert results[0]["detections"] == results[1]["detections"]


def test_a_file_that_grows_while_it_is_read(worker: Worker, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails alone, and may be tried again; where it stops growing soon it is done."""
    growing = {folder / "a" / "00.png": 99, folder / "a" / "02.png": 1}

    def grows(file: Any, limit: int) -> bytes:
        content = bounded(file, limit)
        path = Path(f"/proc/self/fd/{file.fileno()}").readlink()
        if growing.get(path, 0) > 0:
            growing[path] -= 1
            with path.open("ab") as more:
                more.write(b"x")
        return content

    monkeypatch.setattr(references, "bounded", grows)
    monkeypatch.setattr(references, "_PAUSE_SECONDS", 0.01)
    job = worker.intake.submit(NamedSource("folder", str(folder / "a")), OPTIONS)
    names(worker, job)
    results = worker.results(job)
    assert [outcome(result) for result in results] == [ImageChangedError.code, *["succeeded"] * 5]
    assert results[0]["error"]["retryable"]


def test_a_folder_below_that_cannot_be_read(worker: Worker, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a failed item: its photos must not be missed without a word."""
    scandir = os.scandir

    def refusing(path: str) -> Any:
        if os.fspath(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert list(walk_images(folder))[-1] == FoundFile(
        folder / "b", error="The folder cannot be read: Permission denied."
    )
    job = worker.intake.submit(NamedSource("folder", str(folder), Selection(include=("*.png",))), OPTIONS)
    assert names(worker, job)[-1] == "b/"
    assert outcome(worker.results(job)[-1]) == "image_missing"


def test_what_can_be_told_at_once(worker: Worker, tmp_path: Path) -> None:
    """An empty folder; one without photos ends its job, with the reason."""
    (tmp_path / "none").mkdir()
    with pytest.raises(NoImagesError):
        worker.intake.submit(NamedSource("folder", str(tmp_path / "none")), OPTIONS)
    (tmp_path / "none" / "readme.txt").touch()
    job = worker.intake.submit(NamedSource("folder", str(tmp_path / "none")), OPTIONS)
    assert names(worker, job) == []
    stored = worker.store.get(job.id)
    assert (stored.state, stored.error["code"], stored.progress) == (JobState.FAILED, "no_images", 1.0)
    with pytest.raises(JobStateError):
        worker.intake.retry(job.id)
    worker.store.delete(job.id)
    worker.runtime.do_duties()
    assert manifests(worker) == []


@pytest.mark.parametrize(
    ("rows", "says"),
    [("path\n/etc/passwd.jpg\n", "Row 2"), ("file\na.jpg\n", "Line 1"), ("path\n", "The manifest has no rows")],
)
def test_a_manifest_that_is_wrong(worker: Worker, tmp_path: Path, rows: str, says: str) -> None:
    """Its job fails as a whole, and says which row or line it is."""
    (tmp_path / "m.csv").write_text(rows)
    job = worker.intake.submit(NamedSource("manifest", str(tmp_path / "m.csv")), OPTIONS)
    assert names(worker, job) == []
    stored = worker.store.get(job.id)
    assert (stored.state, stored.total) == (JobState.FAILED, 0)
    assert says in stored.error["detail"]


def test_ends_while_it_is_listed(worker: Worker, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Canceled, or out of time: it is over at once, and whoever lists it changes nothing any more."""
    listing, go_on = threading.Event(), threading.Event()
    walk = walk_images

    def slow(where: Path, skipped: dict[str, int]) -> Iterator[FoundFile]:
        listing.set()
        assert go_on.wait(180)
        yield from walk(where, skipped)

    monkeypatch.setattr("workers.sources.origins.simple.walk_images", slow)
    job = worker.intake.submit(NamedSource("folder", str(folder)), OPTIONS)
    worker.runtime.do_duties()
    assert listing.wait(180)
    with pytest.raises(JobStateError, match="enumerating"):
        worker.store.delete(job.id)
    worker.store.cancel(job.id)
    worker.runtime.do_duties()
    assert worker.store.get(job.id).state is JobState.CANCELED
    worker.store.delete(job.id)
    worker.runtime.do_duties()
    go_on.set()
    worker.listed()
    worker.listed()
    assert manifests(worker) == []
    assert worker.link.client.zcard("sl:due") == 0
    assert worker.link.client.keys("sl:job:*") == []


def test_one_that_was_taken_for_dead_changes_nothing(
    make_worker: Callable[..., Worker], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was paused for longer than its lease; the manifest that is worked off is the other's."""
    worker = make_worker(lease_seconds=0.5)
    first, go_on = threading.Event(), threading.Event()
    walk = walk_images

    def slow(where: Path, skipped: dict[str, int]) -> Iterator[FoundFile]:
        if not first.is_set():
            first.set()
            assert go_on.wait(180)
            (folder / "a" / "new.png").write_bytes(photo(1))
        yield from walk(where, skipped)

    monkeypatch.setattr("workers.sources.origins.simple.walk_images", slow)
    job = worker.intake.submit(NamedSource("folder", str(folder)), OPTIONS)
    worker.runtime.do_duties()
    assert first.wait(180)
    other = worker.another()
    while worker.store.get(job.id).state is JobState.ENUMERATING:
        other.do_duties()
    manifest = worker.store.get(job.id).manifest
    go_on.set()
    worker.listed()
    assert worker.store.get(job.id).manifest == manifest
    assert len(names(worker, job)) == 12


def test_a_job_waits_for_room_in_the_queue(make_worker: Callable[..., Worker], folder: Path) -> None:
    """It was accepted, so it stays; one for which there never is room fails."""
    worker = make_worker(max_waiting_images=15, lease_seconds=0.5)
    before = worker.submit(*[photo(number) for number in range(9)])
    job = worker.intake.submit(NamedSource("folder", str(folder)), OPTIONS)
    worker.listed()
    assert worker.store.get(job.id).state is JobState.ENUMERATING
    while not worker.store.get(job.id).state.terminal:
        worker.detect()
    assert worker.store.get(before.id).state is JobState.SUCCEEDED
    assert len(names(worker, job)) == 12
    for number in range(4):
        (folder / f"{number}.png").touch()
    job = worker.intake.submit(NamedSource("folder", str(folder)), OPTIONS)
    assert names(worker, job) == []
    assert worker.store.get(job.id).error["code"] == "too_many_images"


def test_a_hopeless_job_is_given_up(make_worker: Callable[..., Worker], folder: Path) -> None:
    """Once enough is done: what is not yet done is canceled, and the job says why."""
    worker = make_worker(failure_least=5, batch_rows=1)
    for path in sorted((folder / "a").iterdir())[1:]:
        path.write_bytes(b"no image")
    job = worker.intake.submit(NamedSource("folder", str(folder)), JobOptions("default", max_failure_rate=0.5))
    while not worker.store.get(job.id).state.terminal:
        worker.detect()
    stored = worker.store.get(job.id)
    assert (stored.state, stored.error["code"]) == (JobState.FAILED, "too_many_failures")
    assert stored.failed + stored.succeeded >= 5
    assert stored.canceled == 12 - stored.succeeded - stored.failed > 0
    assert "more than max_failure_rate allows (0.5)" in stored.error["detail"]
    assert len(worker.results(job)) == 12

    job = worker.intake.submit(NamedSource("folder", str(folder)), JobOptions("default", max_failure_rate=0.9))
    assert len(names(worker, job)) == 12
    assert worker.store.get(job.id).state is JobState.PARTIAL
