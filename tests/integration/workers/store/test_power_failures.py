"""A power failure at the moment when something is relied on: the bytes and the names that it needs are on the disk."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.workers.conftest import Worker, photo
from tests.support.polling import wait_until
from tests.support.power_failure import Disk, recorded_syncs
from workers.errors import StoreUnavailableError
from workers.io.blobs import BlobStore
from workers.io.local_files import SharedSync
from workers.io.redis_link import RedisLink
from workers.jobs.options import JobOptions
from workers.sources.origins.named import NamedSource
from workers.sources.selection import Selection

MANY = 70  # images: more than are synced together


@pytest.fixture
def disk(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    with recorded_syncs(Path(worker.settings.blob_url), monkeypatch) as made:
        yield made


@pytest.fixture
def at_script(monkeypatch: pytest.MonkeyPatch, disk: Disk) -> Callable[[str], list[dict[str, bytes]]]:
    """Record what a power failure would leave whenever a script is about to run."""

    def record(script: str) -> list[dict[str, bytes]]:
        run, survivors = RedisLink.run, []

        def recorded(link: RedisLink, name: str, *args: object) -> Any:
            if name == script:
                survivors.append(disk.survivors())
            return run(link, name, *args)

        monkeypatch.setattr(RedisLink, "run", recorded)
        return survivors

    return record


@pytest.mark.parametrize("count", [1, 2, MANY])
def test_an_accepted_job_has_its_images(
    worker: Worker, at_script: Callable[[str], list[dict[str, bytes]]], count: int
) -> None:
    """Before the script that creates the job: each image and the manifest that names them, byte for byte."""
    left_at_create = at_script("jobs/create")
    contents = [photo(number) for number in range(count)]

    job = worker.submit(*contents)

    (left,) = left_at_create
    lines = [json.loads(line) for line in left[f"jobs/{job.id}/manifest.jsonl"].splitlines()]
    assert [left[line[1].removeprefix("blob:")] for line in lines] == contents


def test_a_listed_job_has_its_manifest(
    worker: Worker, at_script: Callable[[str], list[dict[str, bytes]]], tmp_path: Path
) -> None:
    """Of a folder: before its images are in the lane."""
    left_at_listing = at_script("jobs/images_listed")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(photo(1))
    worker.intake.submit(NamedSource("folder", str(tmp_path / "photos"), Selection()), JobOptions("default"))

    worker.listed()

    assert any(b"a.png" in content for left in left_at_listing for content in left.values())


@pytest.mark.usefixtures("small_segments")
def test_sealed_results_are_there_before_redis_forgets_them(
    worker: Worker, at_script: Callable[[str], list[dict[str, bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each segment, before the script that deletes it from Redis."""
    left_at_seal = at_script("results/seal_segment")
    monkeypatch.setattr("workers.store.result_segments.SEGMENT", 5)
    job = worker.submit(*[photo(number) for number in range(12)])

    worker.detect_until(lambda: worker.store.get(job.id).state.terminal)

    counts = [sum(".jsonl.gz" in path for path in left) for left in left_at_seal]
    assert (counts[0], counts[-1]) == (1, 3)  # a duty that is done twice seals once more
    assert counts == sorted(counts)


def test_a_job_that_is_not_synced(
    make_worker: Callable[..., Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the setting off nothing is synced, and the job is accepted."""
    worker = make_worker(blob_sync=False)
    worker.blobs = BlobStore.of(worker.settings)
    worker.intake._blobs = worker.blobs
    with recorded_syncs(tmp_path / "blobs", monkeypatch) as disk:
        worker.submit(photo(1))

    assert disk.syncs == 0


def test_threads_that_wait_share_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one sync runs, all that come wait for the next one: that began after they wrote, and is one for all."""
    shared, go, synced = SharedSync(), threading.Event(), []

    def slow(_file: int) -> None:
        synced.append(len(list(tmp_path.iterdir())))
        go.wait(60)

    monkeypatch.setattr(os, "fsync", slow)
    threads = [threading.Thread(target=shared.sync, args=(str(tmp_path),))]
    threads[0].start()
    wait_until(lambda: synced, what="the first sync")
    (tmp_path / "late").touch()
    threads += [threading.Thread(target=shared.sync, args=(str(tmp_path),)) for _ in range(9)]
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: shared._waiting[str(tmp_path)] == 10, what="all that wait")
    go.set()
    for thread in threads:
        thread.join()

    assert synced == [0, 1]
    assert not shared._waiting


def test_a_disk_that_fails(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is accepted that is not on the disk, and nobody waits for a sync that failed."""

    def broken(_file: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StoreUnavailableError, match="Input/output error"):
        worker.submit(photo(1))
    with pytest.raises(StoreUnavailableError, match="Input/output error"):
        worker.blobs.write("a/b", io.BytesIO(b"x"))

    assert worker.link.client.zcard("sl:jobs") == 0
    assert not [path for path in Path(worker.settings.blob_url).rglob("*") if path.is_file() and path.name != "b"]
