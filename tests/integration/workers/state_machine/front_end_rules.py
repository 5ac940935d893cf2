"""The steps of a front end: submit, cancel, delete, retry."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from serving.errors import ShelflineError
from tests.integration.workers.conftest import NoWakeUps
from tests.integration.workers.state_machine.model_jobs import name_of
from tests.integration.workers.state_machine.paired_link import PairedLink
from workers.duties import Duties
from workers.io.blobs import BlobStore
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.job import JobState
from workers.jobs.options import JobOptions
from workers.jobs.submission import Submission
from workers.queue.work_queue import WorkQueue
from workers.settings import Settings
from workers.sources.intake import Intake
from workers.sources.origins.named import NamedSource
from workers.sources.origins.simple import Files
from workers.store.idempotency import IdempotencyKeys, Reservation
from workers.store.job_store import JobStore

LEASE = 1000  # seconds, as all times here: nothing runs out by itself
TICK = 400
GRACE, DEADLINE, RETENTION = 3000.0, 2000.0, 20_000.0
CONSUMERS = ("one", "two", "three")
PLAIN = JobOptions("default")
URGENT = JobOptions("default", priority="interactive")
HOPELESS = JobOptions("default", max_failure_rate=0.5)
PINNED = JobOptions("default", model_version=2)
TARGETS = st.sampled_from([PLAIN.target, PLAIN.target, PLAIN.target, PINNED.target])
PICK = st.integers(0, 1 << 16)


class FrontEndRules(RuleBasedStateMachine):
    """One front end. The claimed images of three workers are here too, and the reads of what they did."""

    def __init__(self, link: PairedLink, settings: Settings) -> None:
        super().__init__()
        self.link, self.settings = link, settings
        self.model = link.model
        self.folder = Path(settings.blob_url)
        self.blobs = BlobStore(settings.blob_url)
        self.store = JobStore(link, self.blobs, settings)
        self.intake = Intake(link, self.store, self.blobs, NoWakeUps(), settings)
        self.duties = Duties(link, self.blobs, settings, lambda _model: None)
        self.queues = {name: WorkQueue(link, settings, name) for name in CONSUMERS}
        self.hands: dict[str, list[ClaimedImage]] = {name: [] for name in CONSUMERS}
        self.past: list[tuple[str, ClaimedImage]] = []
        self.jobs: list[str] = []
        self.reserved: list[Reservation] = []
        self.results: dict[str, list[str]] = {}
        self.ends: dict[str, JobState] = {}
        self.written = 0

    @initialize()
    def begin(self) -> None:
        """Begin with one job that is larger than its window."""
        self.link.reset()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.submit(total=12, owner="", key="", body=b"x", deadline=None, options=PLAIN)

    # What a front end does

    def _submit(
        self, files: Iterable[tuple[str, io.BytesIO]], submission: Submission, options: JobOptions = PLAIN
    ) -> None:
        with suppress(ShelflineError):
            job = self.intake.submit(Files(files), options, submission)
            if job.id not in self.jobs:
                self.jobs.append(job.id)

    @rule(
        total=st.one_of(st.integers(1, 3), st.integers(9, 14)),
        owner=st.sampled_from(["", "ann", "bob"]),
        key=st.sampled_from(["", "", "", "k", "l"]),
        body=st.sampled_from([b"x", b"x", b"y"]),
        deadline=st.sampled_from([None, None, DEADLINE]),
        options=st.sampled_from([PLAIN, PLAIN, PLAIN, PINNED, URGENT]),
    )
    def submit(
        self, total: int, owner: str, key: str, body: bytes, deadline: float | None, options: JobOptions
    ) -> None:
        files = [(name_of(index), io.BytesIO(body)) for index in range(total)]
        self._submit(files, Submission(owner, deadline, key), options)

    @rule(
        total=st.sampled_from([0, 1, 9, 10, 10]),
        owner=st.sampled_from(["", "ann", "bob"]),
        key=st.sampled_from(["", "", "l"]),
        deadline=st.sampled_from([None, DEADLINE]),
    )
    def submit_folder(self, total: int, owner: str, key: str, deadline: float | None) -> None:
        """Submit a folder. A duty lists its images; without any the job ends as failed."""
        folder = self.folder.parent / f"photos-{total}"
        folder.mkdir(exist_ok=True)
        (folder / "readme.txt").touch()
        for index in range(total):
            (folder / name_of(index)).touch()
        with suppress(ShelflineError):
            job = self.intake.submit(NamedSource("folder", str(folder)), HOPELESS, Submission(owner, deadline, key))
            self.jobs += [job.id] if job.id not in self.jobs else []

    @rule(ticks=st.sampled_from([1, 8]), done=st.integers(0, 3))
    def submit_slowly(self, ticks: int, done: int) -> None:
        """Submit an upload during which time passes and duties are done, so that it may be given up."""

        def files() -> Iterator[tuple[str, io.BytesIO]]:
            yield name_of(0), io.BytesIO(b"x")
            self.link.pass_time(ticks * TICK * 1000)
            for _ in range(done):
                self.duties.run_due(1)
            yield name_of(1), io.BytesIO(b"x")

        self._submit(files(), Submission())

    @rule(key=st.sampled_from(["k", "l"]))
    def begin_request(self, key: str) -> None:
        """Begin a request with an idempotency key."""
        with suppress(ShelflineError):
            reservation = IdempotencyKeys(self.link).reserve("", key)
            if not reservation.job:
                self.reserved.append(reservation)

    @precondition(lambda self: self.reserved)
    @rule(dies=st.booleans())
    def end_request(self, *, dies: bool) -> None:
        """Let the request fail, or its front end die, so that its reservation expires."""
        reservation = self.reserved.pop(0)
        if dies:
            self.link.client.delete(reservation.key)
            del self.model.keys[reservation.key]
        else:
            IdempotencyKeys(self.link).release(reservation)

    @precondition(lambda self: self.jobs)
    @rule(pick=PICK, what=st.sampled_from(["cancel", "delete", "retry"]))
    def change(self, pick: int, what: str) -> None:
        job = self.jobs[pick % len(self.jobs)]
        with suppress(ShelflineError):
            if what == "retry":
                again = self.intake.retry(job).id
                self.jobs += [again] if again not in self.jobs else []
            else:
                getattr(self.store, what)(job)
