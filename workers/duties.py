"""Duties: what must happen to a job outside the settle script, as leased records in the sorted set `sl:due`.

The process that leases a duty does it. If that process dies, another one leases the duty again. So every duty is
idempotent, and its record is removed together with its last step or after it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext

import structlog

from workers.errors import ManifestLostError, StoreUnavailableError
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink, translated
from workers.jobs.job import Job, JobState, manifest_path
from workers.jobs.options import rows_each
from workers.jobs.output import Output
from workers.queue.duty_leases import DutyLease, LeaseLostError
from workers.queue.time_limits import SpareThreads, TimeLimits
from workers.queue.work_queue import window, window_images
from workers.results.output_writer import OutputError, OutputWriter
from workers.settings import Settings
from workers.sources.enumeration import Enumeration
from workers.store.catalog import Catalog
from workers.store.job_store import REMEMBERED_JOBS
from workers.store.manifests import read_all
from workers.store.result_segments import Segments

log = structlog.get_logger(__name__)

MAX_DUTIES = 100  # per run

_SILENT = frozenset({"purge", "finish"})  # duties that may work for long without a sign of life
_PATIENCE = 10  # for these

_Handler = Callable[[DutyLease, str], None]  # given the lease, and what the duty is for: a job or a path


class Duties:
    """Do due duties.

    `wake` wakes workers for a model whose lane got images. `long_duties_thread` does long duties (listing images,
    writing output), so that other duties do not wait for them; without it the caller's thread does them. A long duty
    ends early when `stopping` returns True. `limits` notices a duty that hangs in the blob store or in a folder.
    """

    def __init__(
        self,
        link: RedisLink,
        blobs: BlobStore,
        settings: Settings,
        wake: Callable[[str], None],
        *,
        limits: TimeLimits | None = None,
        long_duties_thread: SpareThreads | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._link = link
        self._blobs = blobs
        self._window = window(settings)
        self._lease_ms = int(settings.lease_seconds * 1000)
        self._segments = Segments(link, blobs)
        self._retention_ms = int(settings.retention_seconds * 1000)
        self._wake = wake
        self._limits = limits
        self._limit_seconds = max(settings.image_seconds, settings.lease_seconds)
        self._long_duties_thread = long_duties_thread
        self._stopping = stopping
        self._enumeration = Enumeration(link, blobs, settings)
        self._writer = OutputWriter(self._segments, Catalog(link), blobs, settings)
        self._output_seconds = settings.output_seconds
        self._handlers: dict[str, _Handler] = {
            "topup": self._top_up,
            "finish": self._finish,
            "seal": self._seal,
            "expire": self._expire,
            "retire": self._retire,
            "draft": self._give_up_draft,
            "purge": self._purge,
        }

    def run_due(self, max_duties: int = MAX_DUTIES) -> int:
        """Do up to `max_duties` due duties; return how many were tried.

        A duty that fails is tried again after its lease.
        """
        for tried in range(max_duties):
            leased = self._link.run("duties/lease_duty", self._lease_ms)
            if leased is None:
                return tried
            duty, value = leased
            lease = DutyLease(self._link, duty, value, self._lease_ms, self._stopping)
            kind = lease.duty.partition(":")[0]
            if kind == "enumerate":
                self._do_long(self._enumerate, lease)
            else:
                self._do("duty", self._handlers[kind], lease)
        return max_duties

    def _do_long(self, handler: _Handler, lease: DutyLease) -> None:
        """Do a duty that may take longer than a lease, in another thread if there is one."""
        if self._long_duties_thread:
            self._long_duties_thread.submit(self._do, "long-duty", handler, lease)
        else:
            self._do("long-duty", handler, lease)

    def _do(self, thread: str, handler: _Handler, lease: DutyLease) -> None:
        kind, _, of = lease.duty.partition(":")
        seconds = self._limit_seconds * (_PATIENCE if kind in _SILENT else 1)
        limited = self._limits.limited(thread, lease.duty, seconds) if self._limits else nullcontext()
        try:
            with limited as activity:
                lease.on_renewal = activity.renew if activity else lease.on_renewal
                handler(lease, of)
        except StoreUnavailableError as error:
            log.warning("duty put off", duty=lease.duty, error=str(error))
        except LeaseLostError:
            log.info("duty left to others", duty=lease.duty)
        except Exception:
            log.exception("duty failed", duty=lease.duty)

    def _enumerate(self, lease: DutyLease, job_id: str) -> None:
        lease.renew()
        stored = self._stored(job_id)
        if not stored:  # the job was deleted: have what was written for it deleted as well
            document = {"id": job_id, "duty": lease.duty, "lease": lease.lease}
            self._link.run("jobs/images_listed", json.dumps(document))
        elif stored["state"] != JobState.ENUMERATING:
            lease.end()
        elif self._enumeration.run(job_id, stored, lease):
            self._wake(stored["model"])

    def _top_up(self, lease: DutyLease, job_id: str) -> None:
        with translated():
            names = ("model", "fed", "fed_offset", "total", "waiting", "manifest", "guess", "rows", "rowed")
            model, fed, offset, total, waiting, manifest, *row_counts = self._link.client.hmget(
                f"sl:job:{job_id}", *names
            )
        if fed is None:
            lease.end()
            return
        images = max(0, window_images(self._window, rows_each(*row_counts)) - int(waiting))
        try:
            images = min(images, int(total) - int(fed))
            sources, end = read_all(self._blobs, manifest or manifest_path(job_id), int(offset), images)
        except ManifestLostError as error:
            self._blobs.check()  # if the store is down, this is an outage, and the duty is done later
            log.error("the list of a job's images is lost", job=job_id, error=str(error))  # noqa: TRY400
            detail = f"{error} The images from number {fed} on were given up: submit them again."
            why = json.dumps({"code": error.code, "detail": detail, "retryable": error.retryable})
            self._link.run("jobs/manifest_lost", lease.duty, lease.lease, job_id, why)
            return
        flat = [field for source in sources for field in source.fields]
        if self._link.run("lanes/topup", lease.duty, lease.lease, job_id, fed, self._window, end, *flat):
            self._wake(model)

    def _seal(self, lease: DutyLease, segment: str) -> None:
        job_id, _, number = segment.partition(":")
        self._segments.seal(job_id, int(number))
        lease.end()

    def _finish(self, lease: DutyLease, job_id: str) -> None:
        stored = self._stored(job_id)
        if stored and stored["state"] == JobState.FINISHING:
            job = Job.from_hash(job_id, stored)
            self._segments.close(job)
            if job.output and job.total:
                self._do_long(self._write_output, lease)
                return
        self._end_job(lease, job_id)

    def _write_output(self, lease: DutyLease, job_id: str) -> None:
        lease.renew()
        stored = self._stored(job_id)
        if stored and stored["state"] == JobState.FINISHING:
            job, problem, now = Job.from_hash(job_id, stored), "", int(self._link.now() * 1000)
            try:
                self._writer.write(job, Output.from_json(job.output), lease)
            except OutputError as error:
                log.warning("output not written", job=job_id, error=str(error))
                problem = json.dumps({"code": "output_failed", "detail": str(error), "retryable": True})
            since = self._link.run("results/output_attempt", job_id, problem, now)
            if problem and since and now - int(since) < self._output_seconds * 1000:
                return  # tried again after the lease; after `output_seconds` the job ends without its output
        self._end_job(lease, job_id)

    def _expire(self, lease: DutyLease, job_id: str) -> None:
        self._link.run("jobs/cancel", job_id, JobState.EXPIRED.value)
        lease.end()

    def _retire(self, lease: DutyLease, job_id: str) -> None:
        self._link.run("jobs/delete", job_id, REMEMBERED_JOBS, "any")
        lease.end()

    def _give_up_draft(self, lease: DutyLease, path: str) -> None:
        self._link.run("duties/give_up_draft", lease.duty, lease.lease, path)

    def _purge(self, lease: DutyLease, path: str) -> None:
        self._blobs.delete_tree(path)
        lease.end()

    def _stored(self, job_id: str) -> dict[str, str]:
        with translated():
            stored: dict[str, str] = self._link.client.hgetall(f"sl:job:{job_id}")
        return stored

    def _end_job(self, lease: DutyLease, job_id: str) -> None:
        self._link.run("results/end_job", lease.duty, lease.lease, job_id, self._retention_ms)
