"""The API on a backend that lives in memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.app import create_app
from api.client.client import ShelflineClient
from serving.contract import Contract
from workers.errors import (
    FolderNotAllowedError,
    FolderNotFoundError,
    ItemNotFoundError,
    JobNotFoundError,
    NoImagesError,
    UnknownModelError,
)
from workers.jobs.index_set import IndexSet
from workers.jobs.job import Estimate, Job, JobState, NewJob, new_id
from workers.jobs.options import JobOptions, Lane
from workers.jobs.submission import PLAIN, Submission
from workers.settings import Settings
from workers.sources.origins.archive import Archive
from workers.sources.origins.manifest_file import Manifest
from workers.sources.origins.named import NamedSource
from workers.sources.origins.origin import Origin
from workers.sources.origins.simple import Files, Item, Items
from workers.sources.selection import Selection
from workers.store.api_keys import ApiKey
from workers.store.capacity import Capacity
from workers.store.catalog import Published
from workers.telemetry.spans import Tracer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse


@dataclass
class MemoryStore:
    """A job store in memory; `error`, where set, is raised by every method."""

    jobs: dict[str, Job] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    error: Exception | None = None
    error_after: int | None = None  # results before `error` comes in the middle of a stream
    waits: list[float] = field(default_factory=list)
    followers: list[threading.Event] = field(default_factory=list)

    def get(self, job_id: str) -> Job:
        """The job."""
        if self.error and self.error_after is None:
            raise self.error
        if job_id not in self.jobs:
            raise JobNotFoundError(f"There is no job {job_id!r}.")
        return self.jobs[job_id]

    def wait(self, job_id: str, timeout: float) -> Job:
        """The job once it is terminal, or after the timeout."""
        self.waits.append(timeout)
        with self.changed:
            self.changed.wait_for(lambda: self.get(job_id).state.terminal, timeout)
        return self.get(job_id)

    def wait_for_one(self, job: Job, timeout: float) -> tuple[Job, str | None]:
        """The same, with the first result."""
        if timeout <= 0 and not job.state.terminal:
            return job, None
        job = self.wait(job.id, timeout)
        return job, self.lines[job.id][0] if job.state.terminal else None

    def wait_for_result(self, job_id: str, timeout: float) -> str | None:
        """The result of a job of one image once it is terminal; None after the timeout."""
        job = self.wait(job_id, timeout)
        return self.lines[job_id][0] if job.state.terminal else None

    def results(self, job_id: str, start: int = 0, end: int | None = None) -> Iterator[str]:
        """The stored lines."""
        self.get(job_id)
        for number, line in enumerate(self.lines[job_id][start:end]):
            if self.error and number == self.error_after:
                raise self.error
            yield line

    def delete(self, job_id: str) -> None:
        """Forget a job."""
        del self.jobs[self.get(job_id).id]

    def cancel(self, job_id: str) -> Job:
        """End a job."""
        self.jobs[job_id] = replace(self.get(job_id), state=JobState.CANCELED)
        return self.jobs[job_id]

    def finished_end(self, job_id: str, start: int, end: int) -> int:
        """As many as there are lines."""
        self.get(job_id)
        return max(start, min(end, len(self.lines[job_id])))

    def finished(self, job_id: str, asked: IndexSet) -> IndexSet:
        """Likewise."""
        return IndexSet.of((first, min(behind, len(self.lines[job_id]))) for first, behind in asked.ranges)

    @contextmanager
    def following(self, job_id: str) -> Iterator[threading.Event]:
        """An event that is set when the job ends."""
        self.get(job_id)
        ended = threading.Event()
        self.followers.append(ended)
        yield ended

    def finish(self, job_id: str, lines: Iterable[dict[str, Any]]) -> None:
        """End a job with these results."""
        self.lines[job_id] = [json.dumps(line) for line in lines]
        failed = sum(json.loads(line)["state"] == "failed" for line in self.lines[job_id])
        with self.changed:
            job = self.jobs[job_id]
            state = JobState.SUCCEEDED if not failed else JobState.PARTIAL
            self.jobs[job_id] = replace(
                job, state=state, queued=0, succeeded=job.total - failed, failed=failed, finished_at=1_700_000_002.5
            )
            self.changed.notify_all()
        for follower in self.followers:
            follower.set()


@dataclass
class MemoryIntake:
    """An intake that keeps what was uploaded."""

    store: MemoryStore
    root: Path
    uploads: list[tuple[str, bytes]] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    where: str = ""
    selection: Selection = field(default_factory=Selection)
    error: Exception | None = None
    terms: Submission = PLAIN
    outcome: dict[str, Any] | None = None  # ends each job at once

    def submit(self, origin: Origin | NamedSource, options: JobOptions, terms: Submission) -> Job:
        """A job of what an origin gives, which is kept; of one image where its number is not known yet."""
        self.terms = terms
        if isinstance(origin, NamedSource):
            self.where, self.selection = origin.where, origin.selection
            return self._create(self._listed(origin.where) if origin.kind == "folder" else 1, options)
        if isinstance(origin, Items):
            self.items = list(origin._items)
            return self._create(len(self.items), options)
        if isinstance(origin, Files):
            self.uploads = [(name, content.read()) for name, content in origin._files]
            return self._create(len(self.uploads), options)
        assert isinstance(origin, Archive | Manifest)
        self.uploads = [(type(origin).__name__.lower(), origin._content.read())]
        return self._create(1, options)

    def _listed(self, folder: str) -> int:
        if not Path(folder).is_relative_to(self.root):
            raise FolderNotAllowedError("not under a root")
        if not Path(folder).is_dir():
            raise FolderNotFoundError("no such folder")
        return len(list(Path(folder).iterdir()))

    def _create(self, total: int, options: JobOptions) -> Job:
        if self.error:
            raise self.error
        if options.model not in {"default", "other-1.0"}:
            raise UnknownModelError(f"no model {options.model}")
        if not total:
            raise NoImagesError("no images")
        new = NewJob(new_id("job"), options, total, 60.0)
        job = Job(new.id, options, JobState.QUEUED, new.lane, total, total, 0, 0, 0, 0, 1_700_000_000.25)
        job = replace(job, metadata=self.terms.metadata)
        self.store.jobs[job.id] = job
        self.store.lines[job.id] = []
        if self.outcome:
            self.store.finish(job.id, [self.outcome])
        return job


@dataclass
class MemoryHealth:
    """Checks that say what they are told to."""

    found: dict[str, str] = field(
        default_factory=lambda: dict.fromkeys(("redis", "blob_store", "model", "worker"), "ok")
    )

    def checks(self) -> dict[str, str]:
        """What it was told."""
        return self.found


@dataclass
class MemoryCatalog:
    """Models that were published."""

    published: dict[str, Published] = field(default_factory=dict)

    def look_up(self, model: str) -> Published | None:
        """What was published."""
        return self.published.get(model)

    def contracts(self, model: str, versions: Iterable[int]) -> list[Contract]:
        """Those of the versions that were published."""
        found = self.published.get(model)
        return [Contract.from_json(found.contract)] if found and found.version in set(versions) else []


@dataclass
class MemoryLoad(Capacity):
    """An estimate that is always the same."""

    found: Estimate = field(default_factory=lambda: Estimate(3, 12.34))
    waits: dict[tuple[str, str], float] = field(default_factory=dict)

    def estimate(self, job: Job) -> Estimate:
        """What it was told."""
        return self.found if job.state.waits else Estimate(None, 0.0)

    def wait_seconds(self, target: str, lane: Lane) -> float | None:
        """What it was told, for the interactive lane of one version."""
        return self.waits.get((target, lane))


@dataclass
class MemoryOriginals:
    """Images by job and index."""

    store: MemoryStore
    contents: dict[tuple[str, int], bytes] = field(default_factory=dict)

    def read(self, job_id: str, index: int) -> bytes:
        """The bytes."""
        if index >= self.store.get(job_id).total:
            raise ItemNotFoundError("no such image")
        if (job_id, index) not in self.contents:
            raise ItemNotFoundError("gone")
        return self.contents[job_id, index]


@dataclass
class MemoryKeys:
    """Keys by their secrets; None were made."""

    known: dict[str, ApiKey] = field(default_factory=dict)
    error: Exception | None = None

    def required(self) -> bool:
        """Whether a key was made."""
        if self.error:
            raise self.error
        return bool(self.known)

    def find(self, secret: str) -> ApiKey | None:
        """The key."""
        return self.known.get(secret)


@dataclass
class MemoryBackend:
    """What `workers.backend.Backend` has."""

    store: MemoryStore
    intake: MemoryIntake
    health: MemoryHealth
    catalog: MemoryCatalog
    capacity: MemoryLoad
    originals: MemoryOriginals
    keys: MemoryKeys = field(default_factory=MemoryKeys)
    rates: None = None
    endpoints: None = None
    deliveries: None = None
    metrics: None = None
    tracer: Tracer = field(default_factory=Tracer)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder that jobs may read."""
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def settings(root: Path) -> Settings:
    """Settings with small limits."""
    return Settings(
        folder_roots=(root,),
        max_upload_bytes=5_000_000,
        max_job_images=20,
        max_json_bytes=10_000,
        max_wait_seconds=5.0,
        more_models=("other-1.0",),
    )


@pytest.fixture
def backend(root: Path) -> MemoryBackend:
    """A backend in memory."""
    store = MemoryStore()
    return MemoryBackend(
        store,
        MemoryIntake(store, root),
        MemoryHealth(),
        MemoryCatalog(),
        MemoryLoad(),
        MemoryOriginals(store),
    )


@pytest.fixture
def app(settings: Settings, backend: MemoryBackend) -> Flask:
    """The application; its errors are answered, not raised."""
    return create_app(settings, backend)  # type: ignore[arg-type]


@pytest.fixture
def http(app: Flask) -> FlaskClient:
    """A test client of the application."""
    return app.test_client()


@pytest.fixture
def client(app: Flask) -> Iterator[ShelflineClient]:
    """A client of the application, without a network between them; chunked bodies end as gunicorn ends them."""

    def terminated(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        return app(environ | {"wsgi.input_terminated": True}, start)

    with ShelflineClient("http://127.0.0.1:5000/", transport=httpx.WSGITransport(terminated)) as made:
        yield made
