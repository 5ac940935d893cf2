"""The job store: jobs, their counts and their results."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import structlog

from workers.errors import (
    IdempotencyInFlightError,
    JobGoneError,
    JobNotFoundError,
    JobStateError,
    StoreUnavailableError,
)
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink, hash_of, translated
from workers.jobs.index_set import IndexSet
from workers.jobs.job import ImageSource, Job, JobState, is_id
from workers.jobs.lanes import DETECT_QUEUE, WAKE_UP_SECONDS
from workers.jobs.result import Outcome
from workers.jobs.submission import NewJob
from workers.jobs.webhook import Webhook
from workers.settings import Settings
from workers.store.capacity import Capacity, quotas
from workers.store.idempotency import Reservation
from workers.store.job_listener import JobListener
from workers.store.result_segments import Segments

log = structlog.get_logger(__name__)

# So many deleted jobs, those that were created last, answer JobGoneError and not JobNotFoundError: 12 MB (measured).
REMEMBERED_JOBS = 100_000


def unknown_job(job_id: str) -> JobNotFoundError:
    """Return the error of a missing job. It is the same for another owner's job, so that ids cannot be probed."""
    return JobNotFoundError(f"There is no job {job_id!r}: check the id; jobs are kept for a limited time.")


class JobStore:
    """Jobs by id. Every method raises StoreUnavailableError if Redis is down."""

    def __init__(self, link: RedisLink, blobs: BlobStore, settings: Settings) -> None:
        self._link = link
        self._settings = settings
        self._blobs = blobs
        self._segments = Segments(link, blobs)
        self._capacity = Capacity(link)
        self._listener = JobListener(link)

    def close(self) -> None:
        """End the subscription for finished jobs."""
        self._listener.close()

    def create(
        self, job: NewJob, first: Sequence[ImageSource], offset: int, reservation: Reservation | None = None
    ) -> tuple[Job, bool]:
        """Create a job. Its manifest is stored already, or its images are listed by a duty.

        `first` are the images of the first window, and `offset` is where it ends in the manifest, in bytes. Returns the
        job, and whether a wake-up is to be sent. A retry that was asked for before returns the job of the first time.

        Raises QueueFullError or TooManyImagesError if the job exceeds a quota, JobNotFoundError if the job to retry was
        deleted, JobGoneError if the job of the first time was deleted, IdempotencyInFlightError if another request
        with the idempotency key was faster, StoreUnavailableError if the upload was given up or Redis is down.
        """
        submission, settings, rows = job.submission, self._settings, job.total * job.options.rows_guess
        document = {
            "id": job.id,
            "options": job.options.to_json(),
            "model": job.options.target,
            "lane": job.lane,
            "total": job.total,
            "upload": job.upload,
            "bytes": job.bytes,
            "owner": submission.owner,
            "retry_of": job.retry_of,
            "metadata": json.dumps(dict(submission.metadata)),
            "guess": job.options.rows_guess,
            "webhook": submission.webhook.stored(submission.owner) if submission.webhook else "",
            "base_url": settings.public_url or submission.base_url,
            "request_id": submission.request.id,
            "trace": submission.request.trace,
            "deadline_ms": int((submission.deadline_seconds or settings.deadline_seconds) * 1000),
            "offset": offset,
            "queue": DETECT_QUEUE,
            "wake_up_ms": WAKE_UP_SECONDS * 1000,
            "quotas": quotas(settings, rows, job.bytes, submission.owner, submission.quota),
            "source": job.source,
            **({"rules": list(job.rules)} if job.rules else {}),
            "reservation": reservation.key if reservation else "",
            "token": reservation.token if reservation else "",
            "fingerprint": reservation.fingerprint if reservation else "",
            "replay_ms": int(settings.retention_seconds * 1000),
        }
        fields = [field for source in first for field in source.fields]
        # Numbers are sent as text, since Lua would write them as floats.
        texts = {key: str(value) if isinstance(value, int) else value for key, value in document.items()}
        verdict, *details = self._link.run("jobs/create", json.dumps(texts), *fields)
        if verdict == "full":
            raise self._capacity.refusal(job.options.target, *details)
        if verdict == "parent_gone":
            raise JobNotFoundError(f"There is no job {job.retry_of!r} any more: it was deleted meanwhile.")
        if verdict == "not_reserved":
            raise IdempotencyInFlightError(
                "Another request with this Idempotency-Key was faster: send this one again to get its job."
            )
        if verdict == "upload_gone":
            raise StoreUnavailableError("The upload took too long and was given up: send it again.")
        job_id, stored, wake_up, queue_numbers = details
        if not stored:  # the job of the first time was deleted meanwhile
            raise self._missing(job_id)
        return Job.from_hash(job_id, hash_of(stored), queue_numbers), bool(wake_up)

    def draft(self, job: NewJob, known_bytes: int = 0) -> None:
        """Have the job's blobs deleted in time if the job is never created. Call this before the first blob is written.

        `known_bytes` is how many bytes the job's images are known to have. Raises QueueFullError or TooManyImagesError
        if a quota leaves no room for them, or for a single image; StoreUnavailableError if Redis may evict what it
        accepts.
        """
        self._link.check_keeps()
        one_image = quotas(self._settings, 1, max(known_bytes, 1), job.submission.owner, job.submission.quota)
        grace_ms = int(self._settings.upload_grace_seconds * 1000)
        verdict, *details = self._link.run("jobs/draft", json.dumps(one_image), grace_ms, *job.paths)
        if verdict == "full":
            raise self._capacity.refusal(job.options.target, *details)

    def give_up(self, job: NewJob) -> None:
        """Delete the job's blobs, because the job will not be created. Does not raise: a duty deletes what stays."""
        try:
            for path in job.paths:
                self._blobs.delete_tree(path)
            self._link.run("jobs/forget_draft", *job.paths)
        except StoreUnavailableError as error:  # they are deleted later, as `draft` arranged
            log.warning("refused upload stays for now", job=job.id, error=str(error))

    def get(self, job_id: str) -> Job:
        """Return the job, read atomically. Raises JobNotFoundError if it is missing, JobGoneError if it was deleted."""
        stored: dict[str, str] = {}
        if is_id("job", job_id):  # other keys of a job start with the same text, and are no hashes of jobs
            with translated():
                stored = self._link.client.hgetall(f"sl:job:{job_id}")
        if not stored:
            raise self._missing(job_id)
        return Job.from_hash(job_id, stored)

    def webhook_of(self, job_id: str) -> tuple[Webhook | None, str]:
        """Return the webhook that was submitted with a job, or None, and the base URL of links in webhooks."""
        with translated():
            base_url = self._link.client.hget(f"sl:job:{job_id}", "base_url") or ""
            stored = self._link.client.hgetall(f"sl:job:{job_id}:hook:0")
        if not stored or stored["endpoint"]:  # a registered endpoint was not submitted with the job
            return None, base_url
        return Webhook.from_hash(stored), base_url

    def wait(self, job_id: str, timeout: float) -> Job:
        """Return the job once it is terminal, or as it is after `timeout` seconds.

        Raises JobNotFoundError if it is missing, JobGoneError if it was deleted.
        """
        with self._listener.waiting_for(job_id) as finished:
            job = self.get(job_id)
            if not job.state.terminal and timeout > 0:
                finished.wait(timeout)
                job = self.get(job_id)
        return job

    def wait_for_one(self, job: Job, timeout: float) -> tuple[Job, str | None]:
        """Wait as `wait` does for a job of one image; return it with its result (JSON), None if it is not terminal.

        Job and result are read together. Raises JobNotFoundError if it is missing, JobGoneError if it was deleted.
        """
        if timeout <= 0 and not job.state.terminal:
            return job, None
        with self._listener.waiting_for(job.id) as finished:
            job, result = self._read_one(job.id)
            if not job.state.terminal and timeout > 0:
                finished.wait(timeout)
                job, result = self._read_one(job.id)
        return job, result

    def wait_for_result(self, job_id: str, timeout: float) -> str | None:
        """Return the result (JSON) of the first image once it is settled.

        Returns None if the job ends without it, or it is not settled after `timeout` seconds. Raises JobNotFoundError
        if the job is missing, JobGoneError if it was deleted.
        """
        deadline = time.monotonic() + timeout
        with self._listener.waiting_for(job_id, changes=True) as changed:
            while True:
                changed.clear()
                with translated(), self._link.client.pipeline() as together:
                    together.hget(f"sl:job:{job_id}", "state")
                    together.hget(f"sl:job:{job_id}:seg:0", "0")
                    state, result = together.execute()
                if state is None:
                    raise self._missing(job_id)
                left = deadline - time.monotonic()
                if result is not None or JobState(state).terminal or left <= 0:
                    return None if result is None else str(result)
                changed.wait(left)

    def _read_one(self, job_id: str) -> tuple[Job, str | None]:
        with translated(), self._link.client.pipeline() as together:
            together.hgetall(f"sl:job:{job_id}")
            together.hget(f"sl:job:{job_id}:seg:0", "0")
            stored, result = together.execute()
        if not stored:
            raise self._missing(job_id)
        job = Job.from_hash(job_id, stored)
        return job, result if job.state.terminal else None

    def following(self, job_id: str) -> AbstractContextManager[threading.Event]:
        """Yield an event that is set whenever the job changes. Read the job after entering, to miss no change."""
        return self._listener.waiting_for(job_id, changes=True)

    def results(self, job_id: str, start: int = 0, end: int | None = None) -> Iterator[str]:
        """Return the results of [`start`, `end`) up to the first image that has none, one JSON object per result.

        Raises JobNotFoundError or JobGoneError at once if there is no such job, and JobGoneError during the iteration
        if it is deleted meanwhile.
        """
        total = self.get(job_id).total
        return self._segments.read(job_id, start, total if end is None else min(end, total), total)

    def finished(self, job_id: str, indexes: IndexSet) -> IndexSet:
        """Return which of these images have their result. Raises JobGoneError if the job was deleted."""
        return self._segments.finished(job_id, indexes)

    def finished_end(self, job_id: str, start: int, end: int) -> int:
        """Return the end (exclusive) of the unbroken run of results that starts at `start`, at most `end`.

        Returns `start` if that image has no result. Raises JobGoneError if the job was deleted.
        """
        ranges = self._segments.finished(job_id, IndexSet.of([(start, end)]), first=True).ranges
        return ranges[0][1] if ranges and ranges[0][0] == start else start

    def settle(self, outcomes: Sequence[Outcome], busy_seconds: float) -> bool:
        """Store results, once each, with the counts and what follows from them. Return whether a duty is due now.

        All outcomes are of one model. `busy_seconds` is how long the worker spent on them; estimates are computed from
        it.
        """
        flat: list[object] = [int(busy_seconds * 1000), int(self._settings.retention_seconds * 1000)]
        for outcome in outcomes:
            image, version = outcome.image, "" if outcome.version is None else outcome.version
            flat += [*image.key, image.job, image.index, image.attempt]
            flat += [outcome.state, version, outcome.result, outcome.rows]
        return bool(self._link.run("results/settle", *flat)[1])

    def cancel(self, job_id: str) -> Job:
        """Cancel the unfinished images. Those that are being processed may still get their result.

        Does nothing if the job is being canceled or is canceled. Raises JobStateError if it ended otherwise,
        JobNotFoundError if it is missing, JobGoneError if it was deleted.
        """
        state = self._link.run("jobs/cancel", job_id, "canceled") if is_id("job", job_id) else None
        if state is None:
            raise self._missing(job_id)
        job = self.get(job_id)
        if job.state.terminal and job.state != "canceled":
            raise JobStateError(f"The job is {job.state.value}: there is nothing left to cancel.")
        return job

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with all that belongs to it. Does nothing if it was deleted before.

        Raises JobNotFoundError if it is missing, JobStateError if it has not ended.
        """
        state = None
        if is_id("job", job_id):
            state = self._link.run("jobs/delete", job_id, REMEMBERED_JOBS, "over")
        if state is None:
            missing = self._missing(job_id)
            if isinstance(missing, JobGoneError):
                return
            raise missing
        if state in {"enumerating", "queued", "running", "canceling", "finishing"}:
            raise JobStateError(f"The job is {state}: cancel it, and delete it after it has ended.")

    def _missing(self, job_id: str) -> JobNotFoundError | JobGoneError:
        if is_id("job", job_id):
            first = f"[{job_id} ".encode()
            with translated():
                gone = self._link.client.zrangebylex("sl:gone", first, first + b"\xff", 0, 1)
            if gone:
                owner = gone[0].partition(" ")[2]
                return JobGoneError(f"The job {job_id} was deleted, with its results.", owner)
        return unknown_job(job_id)
