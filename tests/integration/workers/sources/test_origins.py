"""Jobs of archives, other stores, manifests and items, on a real Redis and through a whole worker."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.workers.conftest import photo
from workers.errors import (
    ArchiveTooLargeError,
    DuplicateIdError,
    IdempotencyMismatchError,
    QueueFullError,
    SourceNotAllowedError,
    SourceUnreadableError,
    TooManyImagesError,
)
from workers.jobs.job import Job, JobState
from workers.jobs.options import JobOptions
from workers.jobs.submission import Submission
from workers.sources.origins.archive import Archive
from workers.sources.origins.manifest_file import Manifest
from workers.sources.origins.named import NamedSource
from workers.sources.origins.simple import Item, Items

if TYPE_CHECKING:
    from tests.integration.workers.conftest import Worker

OPTIONS = JobOptions("default")


@pytest.fixture
def store(memory_store: Any) -> Any:
    """Photos with a picture on top, one below, and what is no picture."""
    for path, content in {
        "/photos/b.png": photo(1),
        "/photos/a/c.png": photo(2),
        "/photos/a/.thumbs/d.png": b"hidden",
        "/photos/readme.txt": b"x",
        "/photosother/e.png": photo(3),
    }.items():
        memory_store.pipe_file(path, content)
    return memory_store


def archive(*entries: tuple[str, bytes]) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in entries:
            written.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # no time: the same bytes each time
    return io.BytesIO(out.getvalue())


def outcomes(worker: Worker, job: Job) -> list[tuple[str, str]]:
    """Name and state, or error code, of each image once the job is done."""
    worker.detect()
    return [(result["name"], result.get("error", {}).get("code", result["state"])) for result in worker.results(job)]


def why(worker: Worker, job: Job) -> str:
    """Why a job that could not be listed failed."""
    worker.listed()
    worker.runtime.do_duties()
    stored = worker.store.get(job.id)
    assert (stored.state, stored.total, worker.results(job)) == ("failed", 0, [])
    return str(stored.error["code"])


def test_an_archive(worker: Worker) -> None:
    """Its images are a job; a bad entry is a failed image, and nothing lies under an entry's own name."""
    content = archive(
        ("b.png", photo(1)),
        ("../../evil.png", photo(2)),
        ("a/inner.zip", b"PK"),
        ("a/c.png", photo(3)),
        ("d.png", b"x"),
    )

    job = worker.intake.submit(Archive(content, worker.settings), OPTIONS)

    assert outcomes(worker, job) == [
        ("b.png", "succeeded"),
        ("../../evil.png", "archive_entry_refused"),
        ("a/inner.zip", "archive_entry_refused"),
        ("a/c.png", "succeeded"),
        ("d.png", "unsupported_format"),
    ]
    blobs = Path(worker.settings.blob_url)
    assert {path.name for path in blobs.rglob("uploads/*/*")} == {"0", "1", "2"}
    assert list(blobs.parent.rglob("evil.png")) == []


def test_an_archive_that_is_refused_leaves_nothing(make_worker: Callable[..., Worker]) -> None:
    """What was stored before it was known to be too large goes soon; a refused queue leaves nothing either."""
    worker = make_worker(max_archive_bytes=150)
    blobs = Path(worker.settings.blob_url)
    with pytest.raises(ArchiveTooLargeError):
        worker.intake.submit(Archive(archive(("a.png", b"x" * 100), ("b.png", b"x" * 100)), worker.settings), OPTIONS)
    full = make_worker(max_blob_bytes=10_000)
    full.submit(b"x" * 9_900)
    with pytest.raises(QueueFullError):
        full.submit(b"y" * 200)
    worker.runtime.do_duties()
    worker.runtime.do_duties()

    assert [path.read_bytes()[:1] for path in blobs.rglob("uploads/*/*") if path.is_file()] == [b"x"]
    assert worker.link.client.zcard("sl:jobs") == 1


def test_another_store(make_worker: Callable[..., Worker], store: Any) -> None:
    """Its images by their names below the location; one that is gone at its turn, or too large, fails alone."""
    worker = make_worker(source_prefixes=("memory://photos",), max_image_bytes=10_000)
    store.pipe_file("/photos/large.png", b"x" * 10_001)
    job = worker.intake.submit(NamedSource("location", "memory://photos/"), OPTIONS)
    worker.listed()
    assert worker.store.get(job.id).total == 3
    store.rm("/photos/a/c.png")

    assert outcomes(worker, job) == [
        ("b.png", "succeeded"),
        ("large.png", "image_too_large"),
        ("a/c.png", "image_missing"),
    ]


@pytest.mark.parametrize(
    "url",
    ["memory://photosother", "memory://photos/../photosother", "file:///etc", "memory://", "s3://photos", "/photos"],
)
def test_locations_outside_the_prefixes(make_worker: Callable[..., Worker], store: Any, url: str) -> None:
    """They are refused, however they are written."""
    worker = make_worker(source_prefixes=("memory://photos",))
    assert store.exists("/photosother/e.png")
    with pytest.raises(SourceNotAllowedError):
        worker.intake.submit(NamedSource("location", url), OPTIONS)


def test_a_worker_that_does_not_allow_what_the_api_did(make_worker: Callable[..., Worker], store: Any) -> None:
    """The worker looks at its own setting, whatever stands in the queue."""
    assert store.exists("/photos/b.png")
    first = make_worker(source_prefixes=("memory://photos",))
    job = first.intake.submit(NamedSource("location", "memory://photos"), OPTIONS)
    first.listed()
    assert {code for _, code in outcomes(make_worker(source_prefixes=("memory://x",)), job)} == {"image_missing"}


def test_stores_that_cannot_be_read(
    make_worker: Callable[..., Worker], store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing there, no images there, a protocol without its package, a library that fails: each has its words."""
    worker = make_worker(source_prefixes=("memory://photos", "memory://none", "nosuch://x"))
    store.pipe_file("/none/readme.txt", b"x")
    with pytest.raises(SourceUnreadableError, match="nothing at the location"):
        worker.intake.submit(NamedSource("location", "memory://photos/gone"), OPTIONS)
    assert why(worker, worker.intake.submit(NamedSource("location", "memory://none"), OPTIONS)) == "no_images"
    with pytest.raises(SourceUnreadableError, match="nosuch:// cannot be opened"):
        worker.intake.submit(NamedSource("location", "nosuch://x"), OPTIONS)

    def failing(*_: object, **__: object) -> None:
        raise ZeroDivisionError("credentials\nwith a second line")

    monkeypatch.setattr(type(store), "ls", failing)
    assert why(worker, worker.intake.submit(NamedSource("location", "memory://photos"), OPTIONS)) == "source_unreadable"
    monkeypatch.setattr(type(store), "open", failing)
    assert (
        why(worker, worker.intake.submit(NamedSource("manifest", "memory://photos/b.png"), OPTIONS))
        == "source_unreadable"
    )
    monkeypatch.setattr(type(store), "info", failing)
    with pytest.raises(SourceUnreadableError, match=r"cannot be read: credentials\."):
        worker.intake.submit(NamedSource("location", "memory://photos"), OPTIONS)


def test_a_manifest_that_lies_beside_its_images(make_worker: Callable[..., Worker], tmp_path: Path, store: Any) -> None:
    """In a folder and in another store; ids are in the results, of images that are missing too."""
    worker = make_worker(source_prefixes=("memory://photos",))
    (tmp_path / "a.png").write_bytes(photo(1))
    (tmp_path / "m.csv").write_text("custom_id,path\nfirst,a.png\n,gone.png\n")
    job = worker.intake.submit(NamedSource("manifest", str(tmp_path / "m.csv")), OPTIONS)
    assert outcomes(worker, job) == [("a.png", "succeeded"), ("gone.png", "image_missing")]
    assert [result.get("custom_id") for result in worker.results(job)] == ["first", None]

    store.pipe_file("/photos/m.jsonl", b'{"path": "a/c.png", "custom_id": "x"}\n')
    job = worker.intake.submit(NamedSource("manifest", "memory://photos/m.jsonl"), OPTIONS)
    assert outcomes(worker, job) == [("a/c.png", "succeeded")]
    with pytest.raises(SourceUnreadableError, match="nothing at"):
        worker.intake.submit(NamedSource("manifest", "memory://photos/gone.jsonl"), OPTIONS)


def test_ids_and_metadata_stay_with_a_job(worker: Worker) -> None:
    """Through hand-backs, cancels and retries."""
    terms = Submission(metadata={"store": "Köln"})
    items = [Item(image=b"bad", custom_id="ä"), Item(image=photo(1))]
    job = worker.intake.submit(Items(items), OPTIONS, terms)
    assert job.metadata == {"store": "Köln"}
    worker.detect()
    assert [result.get("custom_id") for result in worker.results(job)] == ["ä", None]
    again = worker.intake.retry(job.id)
    assert again.metadata == {"store": "Köln"}
    worker.store.cancel(again.id)
    worker.detect()
    worker.runtime.do_duties()
    assert [(result["custom_id"], result["state"]) for result in worker.results(again)] == [("ä", "canceled")]


def test_an_id_that_stands_twice(worker: Worker) -> None:
    """The results could not be told apart: nothing is accepted."""
    with pytest.raises(DuplicateIdError, match="'a'"):
        worker.intake.submit(Items([Item(image=b"x", custom_id="a"), Item(image=b"y", custom_id="a")]), OPTIONS)
    rows = b'{"url": "http://x.example/", "custom_id": "a"}\n' * 2
    with pytest.raises(DuplicateIdError):
        worker.intake.submit(Manifest(io.BytesIO(rows), worker.settings), OPTIONS)
    assert worker.link.client.zcard("sl:jobs") == 0


def test_more_images_than_a_job_takes(make_worker: Callable[..., Worker], tmp_path: Path, store: Any) -> None:
    """In every form."""
    worker = make_worker(max_job_images=1, source_prefixes=("memory://photos",))
    assert store.exists("/photos/b.png")
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "m.csv").write_text("path\na.png\nb.png\n")
    for submit in (
        lambda: worker.intake.submit(Items([Item(image=b"x")] * 2), OPTIONS),
        lambda: worker.intake.submit(Archive(archive(("a.png", b"x"), ("b.png", b"x")), worker.settings), OPTIONS),
    ):
        with pytest.raises(TooManyImagesError):
            submit()
    for job in (
        worker.intake.submit(NamedSource("location", "memory://photos"), OPTIONS),
        worker.intake.submit(NamedSource("manifest", str(tmp_path / "m.csv")), OPTIONS),
        worker.intake.submit(NamedSource("folder", str(tmp_path)), OPTIONS),
    ):
        assert why(worker, job) == "too_many_images"


def test_the_same_submission_with_the_same_key(make_worker: Callable[..., Worker], tmp_path: Path, store: Any) -> None:
    """In every form it gives the first one's job and stores nothing; another one under the key is an error."""
    worker = make_worker(source_prefixes=("memory://photos",))
    assert store.exists("/photos/b.png")
    (tmp_path / "a.png").write_bytes(photo(1))
    for name, rows in (("m.csv", "path\na.png\n"), ("n.csv", "path\na.png\na.png\n")):
        (tmp_path / name).write_text(rows)
    row = json.dumps({"path": str(tmp_path / "a.png")}).encode()
    intake, settings = worker.intake, worker.settings
    forms: list[tuple[Callable[[Submission], Job], Callable[[Submission], Job]]] = [
        (
            lambda terms: intake.submit(Items([Item(image=b"x")]), OPTIONS, terms),
            lambda terms: intake.submit(Items([Item(image=b"x", custom_id="a")]), OPTIONS, terms),
        ),
        (
            lambda terms: intake.submit(Items([Item("http://a.example/")]), OPTIONS, terms),
            lambda terms: intake.submit(Items([Item("http://b.example/")]), OPTIONS, terms),
        ),
        (
            lambda terms: intake.submit(Archive(archive(("a.png", b"x")), settings), OPTIONS, terms),
            lambda terms: intake.submit(Archive(archive(("b.png", b"x")), settings), OPTIONS, terms),
        ),
        (
            lambda terms: intake.submit(NamedSource("location", "memory://photos"), OPTIONS, terms),
            lambda terms: intake.submit(NamedSource("location", "memory://photos/a"), OPTIONS, terms),
        ),
        (
            lambda terms: intake.submit(NamedSource("manifest", str(tmp_path / "m.csv")), OPTIONS, terms),
            lambda terms: intake.submit(NamedSource("manifest", str(tmp_path / "n.csv")), OPTIONS, terms),
        ),
        (
            lambda terms: intake.submit(Manifest(io.BytesIO(row), settings), OPTIONS, terms),
            lambda terms: intake.submit(Manifest(io.BytesIO(row + b"\n" + row), settings), OPTIONS, terms),
        ),
    ]
    for number, (same, other) in enumerate(forms):
        terms = Submission(idempotency_key=f"key {number}")
        first = same(terms)
        stored = len(list(Path(worker.settings.blob_url).rglob("*")))
        assert same(terms).id == first.id
        assert len(list(Path(worker.settings.blob_url).rglob("*"))) == stored
        for wrong in (other, lambda terms, same=same: same(Submission("", 60.0, terms.idempotency_key))):
            with pytest.raises(IdempotencyMismatchError):
                wrong(terms)
        with pytest.raises(IdempotencyMismatchError):
            same(Submission(idempotency_key=f"key {number}", metadata={"a": "b"}))
    assert worker.link.client.zcard("sl:jobs") == len(forms)


def _ended(worker: Worker, job: Job) -> bool:
    return worker.store.get(job.id).state.terminal


def test_a_wrong_row_and_a_wrong_item_fail_alone(worker: Worker, tmp_path: Path) -> None:
    """Each is one failed image with its reason; the photos around it succeed."""
    (tmp_path / "a.png").write_bytes(photo(1))
    (tmp_path / "m.csv").write_text("path,url,custom_id\na.png,,first\n,https://shop.example/a b.png,wrong\n,,\n")
    items = [Item(image=photo(2), custom_id="first"), Item(error="The item is wrong: no data.", custom_id="wrong")]
    for origin in (NamedSource("manifest", str(tmp_path / "m.csv")), Items(items)):
        job = worker.intake.submit(origin, OPTIONS)
        worker.detect_until(partial(_ended, worker, job), "the end of the job")

        good, wrong = worker.results(job)
        assert (worker.store.get(job.id).state, good["state"]) == (JobState.PARTIAL, "succeeded")
        assert (wrong["custom_id"], wrong["error"]["code"]) == ("wrong", "item_invalid")
        assert "URL has spaces" in wrong["error"]["detail"] or "no data" in wrong["error"]["detail"]
