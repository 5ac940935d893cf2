"""Accept jobs: store the images, write the manifest, create the job, send the wake-up. Only then is a job accepted."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TypeVar

import structlog

from workers.errors import ImageError, JobError, JobStateError, ManifestLostError, NoImagesError
from workers.io.blobs import BlobStore
from workers.io.guarded_http import webhook_guard
from workers.io.locations import check_output
from workers.io.redis_link import RedisLink
from workers.jobs.job import NO_QUOTA, UNKNOWN_REQUEST, ImageSource, Job, Quota, Request, manifest_path, new_id
from workers.jobs.options import JobOptions
from workers.jobs.output import Output
from workers.jobs.submission import PLAIN, NewJob, Submission
from workers.queue.wakeups import WakeUps
from workers.queue.work_queue import window, window_images
from workers.settings import Settings
from workers.sources.origins.named import NamedSource
from workers.sources.origins.origin import Notes, Origin, Part
from workers.sources.origins.simple import Files, Items
from workers.sources.uploads import Upload
from workers.store.catalog import Catalog
from workers.store.idempotency import IdempotencyKeys, Reservation
from workers.store.job_store import JobStore
from workers.store.manifests import read_all, write_manifest

log = structlog.get_logger(__name__)

_Step = TypeVar("_Step")


class Intake:
    """Makes jobs of origins: uploads, items, archives, manifests, named sources; and of failed images.

    Every method raises StoreUnavailableError and QueueFullError; with an idempotency key also IdempotencyInFlightError
    and IdempotencyMismatchError. If the key was used before for the same request, the method returns the job of that
    request and stores nothing.
    """

    def __init__(
        self, link: RedisLink, store: JobStore, blobs: BlobStore, wakeups: WakeUps, settings: Settings
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._wakeups = wakeups
        self._settings = settings
        self._idempotency_keys = IdempotencyKeys(link)
        self._catalog = Catalog(link)

    def submit(self, origin: Origin | NamedSource, options: JobOptions, submission: Submission = PLAIN) -> Job:
        """Make a job of the images of an origin. Those of a named source are listed later, by a duty.

        Raises UnknownModelError, OutputNotAllowedError, OutputUnusableError, and OutboundBlockedError for a webhook
        whose URL must not be requested. For a named source it raises what NamedSource.check raises; what the duty
        finds wrong later ends the job. For any other origin it raises NoImagesError, TooManyImagesError,
        DuplicateIdError, and what the origin's `parts` raises.
        """
        self._catalog.check(options.model, options.model_version, self._settings.served_models)
        if submission.webhook:
            webhook_guard(self._settings).check(submission.webhook.url)
        if isinstance(origin, NamedSource):
            origin.check(self._settings)
        with self._reserved(submission) as reservation:
            if reservation:
                identity = self._renewing(reservation, origin.identity())
                reservation.check(submission.fingerprint(options, identity))
                if reservation.job:
                    return self._store.get(reservation.job)
            if isinstance(origin, NamedSource):
                return self._make_unlisted(origin, options, submission, reservation)
            known_bytes = origin.known_bytes() if isinstance(origin, Files | Items) else 0
            job = self._new(options, submission, known_bytes=known_bytes)
            return self._make(job, origin.parts(), origin.empty, reservation, origin.notes)

    def retry(self, job_id: str, quota: Quota = NO_QUOTA, request: Request = UNKNOWN_REQUEST) -> Job:
        """Make a new job of the failed images of a job, for the same owner; called again, return the same new job.

        Raises JobNotFoundError; JobStateError if the job has not ended or no image failed; OutputNotAllowedError and
        OutputUnusableError if the job's output is not allowed any more.
        """
        old = self._store.get(job_id)
        if old.retried_as:
            return self._store.get(old.retried_as)
        if not old.state.terminal:
            raise JobStateError(f"The job is {old.state.value}: retry its failed images after it has ended.")
        if not old.failed:
            raise JobStateError(f"No image of the job failed (it is {old.state.value}): there is nothing to retry.")
        webhook, base_url = self._store.webhook_of(old.id)
        output = Output.from_json(old.output) if old.output else None
        submission = Submission(old.owner, None, "", old.metadata, quota, webhook, output, base_url, request)
        job = self._new(old.options, submission, retry_of=old.id)
        failed = (self._part_of(source) for source in self._failed_images(old))
        return self._make(job, failed, "No image of the job failed.", None, Notes())

    def _failed_images(self, job: Job) -> Iterator[ImageSource]:
        offset = 0
        lines = self._store.results(job.id)
        while results := list(itertools.islice(lines, 1000)):
            try:
                sources, offset = read_all(self._blobs, job.manifest, offset, len(results))
            except ManifestLostError as error:
                raise JobStateError(f"{error} Submit the failed images again.") from error
            for source, result in zip(sources, results, strict=True):
                if json.loads(result)["state"] == "failed":
                    yield source

    def _part_of(self, source: ImageSource) -> Part:
        """Return the source part of a failed image. Stored bytes are copied, since jobs are deleted independently."""
        kind, _, path = source.ref.partition(":")
        content = None
        if kind == "blob":
            # An image that cannot be read keeps its reference: the worker fails it again, with the same message.
            with suppress(ImageError):
                content = io.BytesIO(self._blobs.read(path, self._settings.max_image_bytes))
        return Part(source.name, content, source.ref, source.custom_id)

    @contextmanager
    def _reserved(self, submission: Submission) -> Iterator[Reservation | None]:
        if not submission.idempotency_key:
            yield None
            return
        reservation = self._idempotency_keys.reserve(submission.owner, submission.idempotency_key)
        try:
            yield reservation
        except BaseException:
            self._idempotency_keys.release(reservation)
            raise

    def _new(
        self,
        options: JobOptions,
        submission: Submission,
        *,
        retry_of: str = "",
        upload: bool = True,
        known_bytes: int = 0,
    ) -> NewJob:
        """Return a job that may be created, and note where its bytes will lie. Without `upload` it has none."""
        job = NewJob(
            new_id("job"),
            options,
            submission,
            upload=new_id("upload") if upload else "",
            retry_of=retry_of,
            rules=self._rules(options, submission),
        )
        self._store.draft(job, known_bytes)
        return job

    def _rules(self, options: JobOptions, submission: Submission) -> list[str]:
        """Return fields of the job's hash that scripts, and the duty that ends the job, need."""
        rules: list[str] = []
        if options.max_failure_rate is not None:
            min_done = str(self._settings.failure_least)
            rules += ["failure_rate", str(options.max_failure_rate), "failure_least", min_done]
        if submission.output:
            check_output(submission.output, self._settings)
            rules += ["output", submission.output.to_json()]
        return rules

    def _renewing(self, reservation: Reservation | None, steps: Iterable[_Step]) -> Iterator[_Step]:
        """Yield the steps of accepting a job, and keep its idempotency key reserved meanwhile."""
        for step in steps:
            if reservation:
                self._idempotency_keys.renew(reservation)
            yield step

    def _make_unlisted(
        self, source: NamedSource, options: JobOptions, submission: Submission, reservation: Reservation | None
    ) -> Job:
        """Create a job whose images a duty lists."""
        quota = [submission.quota.max_waiting_images, submission.quota.max_blob_bytes]
        stored = json.dumps({"named": json.loads(source.to_json()), "quota": quota})
        job = self._create(replace(self._new(options, submission, upload=False), source=stored), [], 0, reservation)
        self._wakeups.wake_for_duties()
        return job

    def _make(
        self, job: NewJob, parts: Iterator[Part], empty: str, reservation: Reservation | None, notes: Notes
    ) -> Job:
        """Store the images and the manifest of a job, then create the job."""
        upload = Upload(self._blobs, job.upload)
        try:
            written = write_manifest(
                self._blobs,
                manifest_path(job.id),
                map(upload.add, self._renewing(reservation, parts)),
                window=window_images(window(self._settings), job.options.rows_guess),
                max_images=self._settings.max_job_images,
                empty=empty,
                durable=False,
            )
            upload.sync(manifest_path(job.id))  # all of it together, since the disk takes as long for one file
        except BaseException as error:
            self._store.give_up(job)
            if isinstance(error, NoImagesError):
                raise notes.no_images(error) from error
            raise
        rules = [*job.rules, *notes.fields]
        listed = replace(job, total=written.total, bytes=upload.bytes, rules=rules)
        return self._create(listed, written.first, written.offset, reservation)

    def _create(self, job: NewJob, first: Sequence[ImageSource], offset: int, reservation: Reservation | None) -> Job:
        try:
            created, wake_up = self._store.create(job, first, offset, reservation)
        except JobError:  # the job was refused: delete what was stored for it
            self._store.give_up(job)
            raise
        if created.id == job.id:  # a new job, not the one of an earlier request
            log.info("job accepted", job=job.id, model=job.options.target, lane=created.lane, images=created.total)
        if wake_up:
            self._wakeups.send(job.options.target)
        return created
