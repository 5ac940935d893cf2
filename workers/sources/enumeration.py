"""The duty that lists the images of a named source, which may take minutes. See docs/decisions/0013."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping

import structlog

from workers.errors import JobError, NoImagesError, OutboundBlockedError
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.jobs.job import Quota
from workers.jobs.lanes import lane_of
from workers.jobs.options import JobOptions
from workers.queue.duty_leases import DutyLease
from workers.queue.work_queue import window, window_images
from workers.settings import Settings
from workers.sources.origins.named import NamedSource
from workers.sources.origins.origin import Notes, Part
from workers.store.capacity import quotas, too_many
from workers.store.manifests import Written, write_manifest

log = structlog.get_logger(__name__)


class Enumeration:
    """Turns named sources into manifests.

    If it raises LeaseLostError or StoreUnavailableError, the duty is done again.
    """

    def __init__(self, link: RedisLink, blobs: BlobStore, settings: Settings) -> None:
        self._link = link
        self._blobs = blobs
        self._settings = settings

    def run(self, job: str, stored: Mapping[str, str], lease: DutyLease) -> bool:
        """List the images of a job and add them to it; return whether workers have to be woken for them.

        `stored` is the job's hash. An error of the source ends the job.
        """
        try:
            return self._add_images(job, stored, lease)
        except (JobError, OutboundBlockedError) as error:
            log.info("job cannot be listed", job=job, code=error.code, error=str(error))
            problem = {"code": error.code, "detail": str(error), "retryable": error.retryable}
            self._link.run("jobs/listing_failed", lease.duty, lease.lease, job, json.dumps(problem))
            return False

    def _add_images(self, job: str, stored: Mapping[str, str], lease: DutyLease) -> bool:
        options, source = JobOptions.from_json(stored["options"]), json.loads(stored["source"])
        # Every run writes its own manifest: a run that lost its lease must not change a manifest that is in use.
        manifest = f"jobs/{job}/manifest-{secrets.token_hex(4)}.jsonl"
        named = NamedSource.from_json(json.dumps(source["named"]))
        written, notes = self._write(manifest, named, options, lease)
        rows, quota = written.total * options.rows_guess, Quota(*source["quota"])
        listed = {
            "id": job,
            "duty": lease.duty,
            "lease": lease.lease,
            "lane": lane_of(options, written.total),
            "total": str(written.total),
            "manifest": manifest,
            "offset": str(written.offset),
            "quotas": quotas(self._settings, rows, 0, stored["owner"], quota),
            **({"notes": notes.fields} if notes.fields else {}),
        }
        fields = [field for source in written.first for field in source.fields]
        verdict, *details = self._link.run("jobs/images_listed", json.dumps(listed), *fields)
        if verdict == "full":
            field, _, added, allowed = details
            if int(added) > int(allowed):
                raise too_many(field, int(added), int(allowed))
            log.info("job waits for room in the queue", job=job, images=written.total)
        return bool(verdict == "ok")

    def _write(self, manifest: str, named: NamedSource, options: JobOptions, lease: DutyLease) -> tuple[Written, Notes]:
        selection, none_match = named.selection, "No image matches `include` and `exclude`: change them."
        with named.opened(self._settings) as origin:
            parts = selection.chosen(_renewing(origin.parts(), lease), lambda part: part.name)
            try:
                written = write_manifest(
                    self._blobs,
                    manifest,
                    (part.source for part in parts),
                    window=window_images(window(self._settings), options.rows_guess),
                    max_images=self._settings.max_job_images,
                    empty=origin.empty if selection.takes_all else none_match,
                )
            except NoImagesError as error:
                raise origin.notes.no_images(error) from error
            return written, origin.notes


def _renewing(parts: Iterator[Part], lease: DutyLease) -> Iterator[Part]:
    for part in parts:
        lease.renew()
        yield part
