"""What a job writes where its caller keeps things, and what becomes of it where that fails."""

from __future__ import annotations

import errno
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from pycocotools.coco import COCO

from tests.integration.workers.conftest import Worker, photo
from workers.errors import OutputNotAllowedError, OutputUnusableError, StoreUnavailableError
from workers.io import local_files
from workers.io.blobs import BlobStore
from workers.jobs.job import Job, JobState
from workers.jobs.options import JobOptions
from workers.jobs.output import Output
from workers.jobs.submission import Submission
from workers.results.summary import Summary
from workers.settings import Settings, load_settings
from workers.sources.origins.simple import Files


def submit(worker: Worker, *contents: bytes, output: Output, **options: Any) -> Job:
    files = [(f"shelf/{number}.png", io.BytesIO(content)) for number, content in enumerate(contents)]
    return worker.intake.submit(Files(files), JobOptions("default", **options), Submission(output=output))


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted((folder / "results").iterdir())
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]


@pytest.mark.usefixtures("small_segments")
def test_everything_is_written(make_worker: Callable[..., Worker], tmp_path: Path) -> None:
    """Segments, formats, summary and pictures say what the results say."""
    place = tmp_path / "out"
    worker = make_worker(output_prefixes=(str(place),))
    contents = [photo(number) for number in range(11)]
    contents[4] = b"no image"
    output = Output(f"{place}/monday", ("coco", "csv", "parquet"), annotate=3)
    job = submit(worker, *contents, output=output)
    worker.detect_until(lambda: worker.store.get(job.id).state.terminal)

    assert worker.store.get(job.id).state is JobState.PARTIAL
    folder = place / "monday" / job.id
    results = worker.results(job)
    assert [path.name for path in sorted((folder / "results").iterdir())] == [f"00000{n}.jsonl.gz" for n in range(3)]
    assert lines_of(folder) == results

    coco = COCO(str(folder / "results.coco.json"))
    assert len(coco.imgs) == 10
    table = pd.read_csv(folder / "results.csv")
    columns = pd.read_parquet(folder / "results.parquet")
    assert list(columns.columns) == list(table.columns)
    pd.testing.assert_frame_equal(table, columns, check_dtype=False)
    assert len(coco.anns) == sum(len(result.get("detections", ())) for result in results)

    summary = json.loads((folder / "summary.json").read_text())
    assert summary["images"] == {"total": 11, "succeeded": 10, "failed": 1, "canceled": 0}
    assert summary["failures"] == {"unsupported_format": 1}
    assert summary["model_versions"] == {"1": 10}
    assert sum(summary["labels"].values()) == sum(summary["scores"]["count"]) == summary["detections"] == len(coco.anns)
    assert summary["images_per_second"] > 0

    pictures = sorted((folder / "annotated").iterdir())
    assert [path.name for path in pictures] == ["000000-0.jpg", "000001-1.jpg", "000002-2.jpg"]
    with Image.open(pictures[0]) as picture:
        assert picture.size == (32, 32)


def test_a_small_job_writes_too(make_worker: Callable[..., Worker], memory_store: Any) -> None:
    """Of one segment, into another store; and one that was canceled, with what it has."""
    worker = make_worker(output_prefixes=("memory://results",))
    output = Output("memory://results")
    job = submit(worker, photo(1), output=output)
    other = submit(worker, photo(1), output=output)
    worker.store.cancel(other.id)
    worker.detect_until(lambda: worker.store.get(other.id).state.terminal)
    worker.detect_until(lambda: worker.store.get(job.id).state.terminal)
    names = sorted(name.rpartition("/")[2] for name in memory_store.find(f"/results/{job.id}"))
    assert names == ["000000.jsonl.gz", "summary.json"]
    summary = json.loads(memory_store.cat_file(f"/results/{other.id}/summary.json"))
    assert summary["images"] == {"total": 1, "succeeded": 0, "failed": 0, "canceled": 1}


def test_a_job_that_tries_again_writes_too(make_worker: Callable[..., Worker], tmp_path: Path) -> None:
    """Beside the job whose failed images it has, what became of these."""
    place = tmp_path / "out"
    worker = make_worker(output_prefixes=(str(place),))
    job = submit(worker, photo(1), b"no image", output=Output(str(place), ("csv",)))
    worker.detect_until(lambda: worker.store.get(job.id).state.terminal)
    again = worker.intake.retry(job.id)
    worker.detect_until(lambda: worker.store.get(again.id).state.terminal)

    assert {path.name for path in place.iterdir()} == {job.id, again.id}
    assert [line["name"] for line in lines_of(place / again.id)] == ["shelf/1.png"]
    assert (place / again.id / "results.csv").exists()


def test_a_disk_that_is_full(
    make_worker: Callable[..., Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job says so and waits; it ends once there is room, with everything, and nothing of the trouble."""
    place = tmp_path / "out"
    worker = make_worker(output_prefixes=(str(place),), lease_seconds=0.5)
    job = submit(worker, photo(1), photo(2), output=Output(str(place)))
    write, full = BlobStore.write, [True]

    def limited(self: BlobStore, path: str, content: Any, **options: Any) -> int:
        if full[0] and self._root.startswith(str(place)):
            self._root, before = "/dev/full", self._root
            try:
                return write(self, path, content, **options)
            finally:
                self._root = before
        return write(self, path, content, **options)

    def fails(path: Path) -> int:
        with path.open("wb") as out:
            return out.write(b"x" * 1_000_000)

    def written(path: str, content: Any, folder_mode: int) -> int:
        return fails(Path("/dev/full")) if path.startswith("/dev/full") else real(path, content, folder_mode)

    real = local_files.write_file
    monkeypatch.setattr("workers.io.blobs.write_file", written)
    monkeypatch.setattr(BlobStore, "write", limited)
    worker.detect_until(lambda: worker.store.get(job.id).output_error)
    stored = worker.store.get(job.id)
    assert stored.state is JobState.FINISHING
    assert stored.output_error["detail"] == "results/000000.jsonl.gz cannot be written: No space left on device."
    assert stored.output_error["retryable"]
    assert len(worker.results(job)) == 2
    full[0] = False
    worker.detect_until(lambda: worker.store.get(job.id).state.terminal)
    stored = worker.store.get(job.id)
    assert (stored.state, stored.output_error) == (JobState.SUCCEEDED, {})
    assert lines_of(place / job.id) == worker.results(job)
    summary = json.loads((place / job.id / "summary.json").read_text())
    assert summary["seconds"] == round((stored.settled_at or 0) - (stored.started_at or 0), 3)
    assert summary["seconds"] + 0.5 <= (stored.finished_at or 0) - (
        stored.started_at or 0
    )  # a lease it waited for room


def test_nothing_is_left_of_what_was_not_written_whole(tmp_path: Path) -> None:
    """Half a file is taken away: output is tried again and again, and its folder is the caller's."""

    class Breaks(io.BytesIO):
        def read(self, most: int | None = -1, /) -> bytes:
            content = super().read(most)
            if not content:
                raise OSError(errno.EIO, "Input/output error")
            return content

    with pytest.raises(StoreUnavailableError, match="Input/output error"):
        BlobStore(str(tmp_path)).write("results/000000.jsonl.gz", Breaks(b"half"))
    assert list((tmp_path / "results").iterdir()) == []


def test_a_place_that_stays_broken(make_worker: Callable[..., Worker], tmp_path: Path) -> None:
    """After a while the job ends without; its results are here, and it says why they are not there."""
    place = tmp_path / "out"
    worker = make_worker(output_prefixes=(str(place),), output_seconds=0)
    place.write_text("a file")
    job = submit(worker, photo(1), output=Output(str(place)))
    worker.detect_until(lambda: worker.store.get(job.id).state.terminal)
    stored = worker.store.get(job.id)
    assert (stored.state, stored.output_error["code"]) == (JobState.SUCCEEDED, "output_failed")
    assert len(worker.results(job)) == 1


def test_places_that_are_not_allowed(make_worker: Callable[..., Worker], tmp_path: Path) -> None:
    """Whatever they are written like, and wherever links lead."""
    place = tmp_path / "out"
    place.mkdir()
    (place / "link").symlink_to("/tmp")
    allowed = make_worker(output_prefixes=(str(place), "memory://results", "nosuch://x"))
    for url in (
        "/",
        f"{tmp_path}/outer",
        f"{place}/../x",
        f"{place}/link/x",
        "memory://result",
        "file:///etc",
        "s3://x",
    ):
        with pytest.raises(OutputNotAllowedError):
            submit(allowed, photo(1), output=Output(url))
    with pytest.raises(OutputNotAllowedError, match="OUTPUT_PREFIXES"):
        submit(make_worker(), photo(1), output=Output(str(place)))
    with pytest.raises(OutputUnusableError, match="nosuch"):
        submit(allowed, photo(1), output=Output("nosuch://x/y"))
    assert allowed.link.client.zcard("sl:jobs") == 0


def test_parquet_without_its_package(
    make_worker: Callable[..., Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said at once."""
    monkeypatch.setattr("workers.io.locations.find_spec", lambda _name: None)
    worker = make_worker(output_prefixes=(str(tmp_path),))
    with pytest.raises(OutputUnusableError, match="pyarrow"):
        submit(worker, photo(1), output=Output(str(tmp_path), ("parquet",)))


@pytest.mark.parametrize("prefix", ["results", "file:///srv", "s3://", "https://x/y", "a::b"])
def test_prefixes_that_are_none(prefix: str) -> None:
    with pytest.raises(Exception, match="OUTPUT_PREFIXES"):
        load_settings(output_prefixes=prefix)
    assert Settings(output_prefixes="/srv/a/,s3://b/c").output_prefixes == ("/srv/a", "s3://b/c")


def test_a_summary_of_nothing_stays_small() -> None:
    """Whatever labels there are."""
    summary = Summary()
    for number in range(20):
        detections = [{"label": f"{number} {label}", "score": 1.0} for label in range(1000)]
        summary.add(json.dumps({"state": "succeeded", "model_version": 1, "detections": detections}))
    assert len(summary._labels) == 10_000
    assert summary._scores[-1] == 20_000
