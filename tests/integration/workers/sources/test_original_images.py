from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.integration.workers.conftest import photo
from workers.errors import ArchiveEntryError, ItemNotFoundError, JobGoneError, JobNotFoundError
from workers.jobs.job import manifest_path
from workers.jobs.options import JobOptions
from workers.sources.original_images import OriginalImages, image_type
from workers.sources.origins.named import NamedSource
from workers.sources.references import failed_ref

if TYPE_CHECKING:
    from tests.integration.workers.conftest import Worker


@pytest.fixture
def originals(worker: Worker) -> OriginalImages:
    return OriginalImages(worker.store, worker.blobs, worker.settings)


def test_an_upload_comes_back_as_it_was_sent(worker: Worker, originals: OriginalImages) -> None:
    """Byte for byte, whichever image of a job it is, before and after its result."""
    contents = [photo(seed) for seed in range(5)]
    job = worker.submit(*contents)
    before = [originals.read(job.id, index) for index in range(5)]

    worker.detect()

    assert contents == before == [originals.read(job.id, index) for index in range(5)]


def test_an_image_far_down_a_long_list(worker: Worker, originals: OriginalImages, tmp_path: Path) -> None:
    """The list is read in pieces: the image behind the first, and the last, are the right ones."""
    for number in range(2003):
        (tmp_path / f"{number:04}.png").write_bytes(b"%d" % number)
    job = worker.intake.submit(NamedSource("folder", str(tmp_path)), JobOptions("default"))
    with pytest.raises(ItemNotFoundError, match="not listed yet"):
        originals.read(job.id, 0)
    worker.listed()

    assert [originals.read(job.id, index) for index in (0, 999, 1000, 1001, 2002)] == [
        b"0",
        b"999",
        b"1000",
        b"1001",
        b"2002",
    ]


def test_images_that_are_not_there(worker: Worker, originals: OriginalImages, tmp_path: Path) -> None:
    """Each reason has its own error: no such job, a deleted job, no such image, bytes that are gone."""
    (tmp_path / "a.png").write_bytes(photo(1))
    job = worker.intake.submit(NamedSource("folder", str(tmp_path)), JobOptions("default"))
    worker.listed()
    with pytest.raises(JobNotFoundError):
        originals.read("job_" + "0" * 32, 0)
    for index in (-1, 1):
        with pytest.raises(ItemNotFoundError, match="images 0 to 0"):
            originals.read(job.id, index)
    (tmp_path / "a.png").unlink()
    with pytest.raises(ItemNotFoundError):
        originals.read(job.id, 0)
    worker.detect()
    worker.store.delete(job.id)
    with pytest.raises(JobGoneError):
        originals.read(job.id, 0)


def test_images_that_were_never_kept(worker: Worker, originals: OriginalImages) -> None:
    """What was refused is not there, nor is what was not fetched (yet): nobody fetches it to look."""
    job = worker.submit(photo(1))
    manifest = Path(worker.settings.blob_url) / manifest_path(job.id)
    manifest.write_text(json.dumps(["a.png", "url:https://shop.example/a.png", ""]) + "\n")
    with pytest.raises(ItemNotFoundError, match="no longer"):
        originals.read(job.id, 0)
    manifest.write_text(json.dumps(["a.png", failed_ref(ArchiveEntryError("a link")), ""]) + "\n")
    with pytest.raises(match="not stored"):
        originals.read(job.id, 0)
    manifest.write_text("")
    with pytest.raises(match="list"):
        originals.read(job.id, 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"])
def test_pictures_are_known_by_their_bytes(kind: str) -> None:
    """What browsers show has its type."""
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, kind)

    assert image_type(out.getvalue()) == f"image/{kind.lower()}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>",
        b"<!doctype html>",
        b"II*\0",
        b"RIFF....WAVE",
    ],
)
def test_what_a_browser_might_run_has_no_type(content: bytes) -> None:
    """Nor has what it does not show."""
    assert image_type(content) is None
