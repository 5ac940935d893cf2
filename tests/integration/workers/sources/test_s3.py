"""Photos in S3 and a blob store in S3, through a whole worker, against a server that answers as AWS does."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
import numpy as np
import pytest
from PIL import Image

from tests.integration.workers.conftest import LEASE, complete, photo, ringing
from tests.support.processes.celery_worker import CeleryWorker
from tests.support.servers.s3_server import BUCKET, S3Server, s3_server
from workers.errors import SourceNotAllowedError, SourceUnreadableError, StoreUnavailableError
from workers.io.blobs import BlobStore
from workers.jobs.options import JobOptions
from workers.jobs.output import Output
from workers.jobs.submission import Submission
from workers.sources.origins.named import NamedSource
from workers.sources.origins.simple import Files

if TYPE_CHECKING:
    from tests.integration.workers.conftest import Worker

OPTIONS = JobOptions("default")
PHOTOS, BLOBS = f"s3://{BUCKET}/photos", f"s3://{BUCKET}/blobs"


@pytest.fixture(scope="module")
def server_of_s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(server_of_s3: S3Server) -> S3Server:
    server_of_s3.empty()
    return server_of_s3


def coloured(width: int) -> bytes:
    """A PNG of `width` x 32 pixels, the longer the wider, since noise does not compress."""
    noise = np.random.default_rng(width).integers(0, 255, (32, width, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "PNG")
    return out.getvalue()


def keys(below: str) -> set[str]:
    files = fsspec.filesystem("s3", use_listings_cache=False)
    return {name.removeprefix(f"{BUCKET}/{below}/") for name in files.find(f"{BUCKET}/{below}")}


def test_a_folder_in_s3(make_worker: Callable[..., Worker], s3: S3Server) -> None:
    """Its images by their names below it; what is not below the allowed prefix, or not there, is refused."""
    worker = make_worker(source_prefixes=(PHOTOS,), blob_url=BLOBS)
    for key, content in (("b.png", photo(1)), ("a/c.png", photo(2)), ("a/d.png", b"no image")):
        s3.put(f"photos/{key}", content)
    job = worker.intake.submit(NamedSource("location", PHOTOS), OPTIONS)
    worker.listed()
    worker.detect()

    outcomes = [(result["name"], result["state"]) for result in worker.results(job)]
    assert outcomes == [("b.png", "succeeded"), ("a/c.png", "succeeded"), ("a/d.png", "failed")]
    with pytest.raises(SourceNotAllowedError):
        worker.intake.submit(NamedSource("location", f"s3://{BUCKET}/blobs"), OPTIONS)
    with pytest.raises(SourceUnreadableError):
        worker.intake.submit(NamedSource("location", f"{PHOTOS}/gone"), OPTIONS)


def add_photo(s3: S3Server) -> None:
    s3.put("photos/c.png", coloured(50))


def add_folder(s3: S3Server) -> None:
    s3.put("photos/new/c.png", coloured(50))


def replace_photo(s3: S3Server) -> None:
    s3.put("photos/a.png", coloured(300))


def delete_photo(s3: S3Server) -> None:
    s3.delete("photos/a.png")


@pytest.mark.parametrize(
    ("change", "photos_after"),
    [
        (add_photo, [("a.png", 40), ("b.png", 41), ("c.png", 50)]),
        (add_folder, [("a.png", 40), ("b.png", 41), ("new/c.png", 50)]),
        (replace_photo, [("a.png", 300), ("b.png", 41)]),
        (delete_photo, [("b.png", 41)]),
    ],
)
def test_each_job_sees_the_store_as_it_is_now(
    change: Callable[[S3Server], None],
    photos_after: list[tuple[str, int]],
    make_worker: Callable[..., Worker],
    s3: S3Server,
) -> None:
    """What another program changes between two jobs of one worker process is in the second job: name and pixels."""
    worker = make_worker(source_prefixes=(PHOTOS,))
    s3.put("photos/a.png", coloured(40))
    s3.put("photos/b.png", coloured(41))

    assert sizes(worker, NamedSource("location", PHOTOS)) == [("a.png", 40), ("b.png", 41)]
    change(s3)
    assert sizes(worker, NamedSource("location", PHOTOS)) == photos_after


def test_each_job_reads_the_manifest_as_it_is_now(make_worker: Callable[..., Worker], s3: S3Server) -> None:
    """A manifest that grows between two jobs of one process is read whole, also after its folder was listed."""
    worker = make_worker(source_prefixes=(PHOTOS,))
    s3.put("photos/a.png", coloured(40))
    s3.put("photos/b.png", coloured(41))
    s3.put("photos/all.csv", b"path\na.png\n")
    manifest = NamedSource("manifest", f"{PHOTOS}/all.csv")

    assert len(sizes(worker, NamedSource("location", PHOTOS))) == 2
    assert sizes(worker, manifest) == [("a.png", 40)]
    s3.put("photos/all.csv", b"path\na.png\nb.png\n")
    assert sizes(worker, manifest) == [("a.png", 40), ("b.png", 41)]


def sizes(worker: Worker, source: NamedSource) -> list[tuple[str, int]]:
    """Name and width of each image that a new job of the source has; all of them succeed."""
    job = worker.intake.submit(source, OPTIONS)
    worker.detect_until(lambda: worker.store.get(job.id).state.terminal, "the end of the job")
    results = worker.results(job)
    assert {result["state"] for result in results} == {"succeeded"}, results
    return [(result["name"], result["width"]) for result in results]


@pytest.mark.usefixtures("s3", "small_segments")
def test_blobs_in_s3(make_worker: Callable[..., Worker]) -> None:
    """Uploads, the manifest and sealed results lie there, are read from there, and go with the job."""
    worker = make_worker(blob_url=BLOBS, batch_rows=1)
    worker.blobs.check()
    job = worker.submit(*(photo(number) for number in range(12)))
    assert {name.partition("/")[0] for name in keys("blobs")} == {"check", "jobs", "uploads"}
    while not worker.store.get(job.id).state.terminal:
        worker.detect()

    assert [result["index"] for result in worker.results(job)] == list(range(12))
    assert {result["state"] for result in worker.results(job)} == {"succeeded"}
    worker.store.delete(job.id)
    while keys("blobs") != {"check"}:
        worker.runtime.do_duties()


@pytest.mark.usefixtures("s3")
def test_outputs_in_s3(make_worker: Callable[..., Worker]) -> None:
    """What a job writes beside its results may lie there as well."""
    worker = make_worker(output_prefixes=(f"s3://{BUCKET}/results",))
    terms = Submission(output=Output(f"s3://{BUCKET}/results", ("csv",), annotate=1))
    job = worker.intake.submit(Files([("a.png", io.BytesIO(photo(1)))]), OPTIONS, terms)
    worker.detect_until(lambda: worker.store.get(job.id).state.terminal, "the end of the job")

    assert keys(f"results/{job.id}") == {
        "annotated/000000-a.jpg",
        "results.csv",
        "results/000000.jsonl.gz",
        "summary.json",
    }


@pytest.mark.process
@pytest.mark.usefixtures("s3")
def test_a_worker_process_with_blobs_in_s3(make_worker: Callable[..., Worker], tmp_path: Path) -> None:
    """Its pool forks, and each of its processes has connections of its own."""
    front = ringing(make_worker(blob_url=BLOBS, lease_seconds=LEASE))
    process = CeleryWorker(front.settings, "prefork", tmp_path / "worker.log")
    try:
        complete(front, front.submit(*(photo(number) for number in range(20))))
    finally:
        process.kill()


def test_s3_that_is_away(s3: S3Server) -> None:
    """It is an error of the project's own, and names no address; when it is back, work goes on."""
    blobs = BlobStore(BLOBS)
    blobs.write("a/0", io.BytesIO(b"x"))
    s3.stop()
    for use in (
        blobs.check,
        lambda: blobs.read("a/0", 1_000_000),
        lambda: blobs.read_lines("a/0", 0, 1),
        lambda: blobs.delete_tree("a"),
        lambda: blobs.write("a/1", io.BytesIO(b"x")),
    ):
        with pytest.raises(StoreUnavailableError, match="check BLOB_URL") as raised:
            use()
        assert "127.0.0.1" not in str(raised.value)
    s3.start()
    s3.empty()
    blobs.check()
