"""Bounds that hold: of stored bytes, of webhooks, of what is remembered; and who may read what is stored."""

from __future__ import annotations

import io
import stat
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.workers.conftest import Worker
from workers.errors import JobGoneError, JobNotFoundError, QueueFullError, TooManyBytesError, WebhookStateError
from workers.io.blobs import BlobStore, check_blobs
from workers.io.redis_link import RedisLink
from workers.jobs.job import new_id
from workers.jobs.options import JobOptions
from workers.jobs.submission import Submission
from workers.jobs.webhook import Webhook
from workers.settings import Settings
from workers.sources.origins.archive import Archive
from workers.sources.origins.origin import Origin
from workers.sources.origins.simple import Files, Item, Items
from workers.store import job_store
from workers.webhooks.endpoints import MAX_ENDPOINTS, Endpoints

MANY_BYTES = 5000


def files(_settings: Settings) -> Origin:
    return Files([("a.png", io.BytesIO(bytes(MANY_BYTES)))])


def items(_settings: Settings) -> Origin:
    return Items([Item(image=bytes(MANY_BYTES))])


def archive(settings: Settings) -> Origin:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("a.png", bytes(MANY_BYTES))
    return Archive(content, settings)


def stored(settings: Settings) -> list[Path]:
    return [path for path in Path(settings.blob_url).rglob("*") if path.is_file()]


@pytest.mark.parametrize(("origin", "written"), [(files, 0), (items, 0), (archive, 2)])
@pytest.mark.parametrize("refusal", [TooManyBytesError, QueueFullError])
def test_what_is_refused_leaves_nothing(
    make_worker: Callable[..., Worker],
    monkeypatch: pytest.MonkeyPatch,
    origin: Callable[[Settings], Origin],
    written: int,
    refusal: type[Exception],
) -> None:
    """No worker is there to delete it. Where the length is told nothing is written; else the API deletes it."""
    worker = make_worker(max_blob_bytes=MANY_BYTES - 1 if refusal is TooManyBytesError else MANY_BYTES + 10)
    if refusal is QueueFullError:  # because of what is stored already
        worker.submit(bytes(100))
    before = stored(worker.settings)
    writes: list[str] = []
    write = BlobStore.write

    def recorded(store: BlobStore, path: str, *args: object, **options: object) -> int:
        writes.append(path)
        return write(store, path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(BlobStore, "write", recorded)
    with pytest.raises(refusal):
        worker.intake.submit(origin(worker.settings), JobOptions("default"))

    assert stored(worker.settings) == before
    assert len(writes) == written
    assert [duty for duty in worker.link.client.zrange("sl:due", 0, -1) if duty.startswith("draft:")] == []


def test_webhooks_registered_at_once(settings: Settings, link: RedisLink) -> None:
    """As many as are allowed, however many requests come at the same time."""
    endpoints, refused = Endpoints(link, settings), []
    together = threading.Barrier(MAX_ENDPOINTS + 10)

    def create() -> None:
        together.wait()
        try:
            endpoints.create("o", Webhook("https://example.com/"))
        except WebhookStateError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=create) for _ in range(MAX_ENDPOINTS + 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(endpoints.all("o")) == MAX_ENDPOINTS
    assert len(refused) == 10


@pytest.mark.parametrize("owner", ["", "o", "店 x"])
def test_deleted_jobs_are_remembered_in_one_key(worker: Worker, monkeypatch: pytest.MonkeyPatch, owner: str) -> None:
    """The last ones, with their owner; older ones are as if they had never been."""
    monkeypatch.setattr(job_store, "REMEMBERED_JOBS", 3)
    jobs = []
    for _ in range(5):
        job = worker.intake.submit(Files([("a.png", io.BytesIO(b"x"))]), JobOptions("default"), Submission(owner))
        worker.store.cancel(job.id)
        worker.runtime.do_duties()
        worker.store.delete(job.id)
        jobs.append(job.id)

    for job_id in jobs[2:]:
        with pytest.raises(JobGoneError) as gone:
            worker.store.get(job_id)
        assert gone.value.owner == owner
        worker.store.delete(job_id)
    for job_id in (*jobs[:2], new_id("job")):
        with pytest.raises(JobNotFoundError):
            worker.store.get(job_id)
    assert worker.link.client.keys("sl:gone*") == ["sl:gone"]


@pytest.mark.parametrize(
    ("root", "folder", "file"), [(None, 0o700, 0o600), (0o755, 0o755, 0o644), (0o750, 0o750, 0o640)]
)
def test_who_may_read_the_store(tmp_path: Path, root: int | None, folder: int, file: int) -> None:
    """This user alone if the store made its folder; else whoever may read the folder that was there."""
    url = str(tmp_path / "new" / "blobs")
    if root is not None:
        Path(url).mkdir(parents=True)
        Path(url).chmod(root)
    check_blobs(url)
    BlobStore(url, private=True).write("uploads/a/0", io.BytesIO(b"x"))

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (Path(url), *Path(url).rglob("*"))}
    assert modes["blobs"] == modes["uploads"] == modes["a"] == folder
    assert modes["0"] == file
