"""Duties: everything outside the settle script that must happen to a job, as leased records in the set `due`.

A duty is done by whoever leases it; one whose doer died is leased again. So each is idempotent, and its record goes
in the transaction that does its last step.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from workers.blobs import BlobStore
from workers.errors import StoreUnavailableError
from workers.jobs import Job, JobState, rows_each
from workers.queue import window, window_images
from workers.redis_link import RedisLink, translated
from workers.segments import Segments
from workers.settings import Settings
from workers.sources import read_window
from workers.store import REMEMBERED_SECONDS

log = structlog.get_logger(__name__)


class Duties:
    """Does what is due. `ring` wakes workers for a model whose lane was filled."""

    def __init__(self, link: RedisLink, blobs: BlobStore, settings: Settings, ring: Callable[[str], None]) -> None:
        self._link = link
        self._blobs = blobs
        self._window = window(settings)
        self._lease_ms = int(settings.lease_seconds * 1000)
        self._segments = Segments(link, blobs)
        self._retention_ms = int(settings.retention_seconds * 1000)
        self._ring = ring
        self._handlers: dict[str, Callable[[str, str, str], None]] = {
            "topup": self._top_up,
            "finish": self._finish,
            "seal": self._seal,
            "expire": self._expire,
            "retire": self._retire,
            "draft": self._give_up_draft,
            "purge": self._purge,
        }

    def run_due(self, most: int = 100) -> int:
        """Do up to `most` due duties; returns how many were tried. One that fails stays, and is tried again later."""
        for done in range(most):
            leased = self._link.run("lease_duty", self._lease_ms)
            if leased is None:
                return done
            duty, lease = leased
            kind, _, what = duty.partition(":")
            try:
                self._handlers[kind](duty, lease, what)
            except StoreUnavailableError as error:
                log.warning("duty put off", duty=duty, error=str(error))
            except Exception:
                log.exception("duty failed", duty=duty)
        return most

    def _top_up(self, duty: str, lease: str, job: str) -> None:
        with translated():
            model, fed, offset, waiting, *weight = self._link.client.hmget(
                f"sl:job:{job}", "model", "fed", "fed_offset", "waiting", "guess", "rows", "rowed"
            )
        if fed is None:
            self._link.run("end_duty", duty, lease)
            return
        images = max(0, window_images(self._window, rows_each(*weight)) - int(waiting))
        sources, behind = read_window(self._blobs, job, int(offset), images)
        flat = [part for source in sources for part in source.fields]
        if not self._link.run("topup", duty, lease, job, fed, self._window, behind, *flat):
            log.error("the manifest ends before its job", job=job, images=fed)
            return
        self._ring(model)

    def _seal(self, duty: str, lease: str, what: str) -> None:
        job, _, number = what.partition(":")
        self._segments.seal(job, int(number))
        self._link.run("end_duty", duty, lease)

    def _finish(self, duty: str, lease: str, job_id: str) -> None:
        with translated():
            stored = self._link.client.hgetall(f"sl:job:{job_id}")
        if stored and stored["state"] == JobState.FINISHING:
            self._segments.close(Job.from_hash(job_id, stored))
        self._link.run("finish", duty, lease, job_id, self._retention_ms)

    def _expire(self, duty: str, lease: str, job: str) -> None:
        self._link.run("cancel", job, JobState.EXPIRED.value)
        self._link.run("end_duty", duty, lease)

    def _retire(self, duty: str, lease: str, job: str) -> None:
        self._link.run("delete", job, REMEMBERED_SECONDS * 1000, "any")
        self._link.run("end_duty", duty, lease)

    def _give_up_draft(self, duty: str, lease: str, path: str) -> None:
        self._link.run("give_up_draft", duty, lease, path)

    def _purge(self, duty: str, lease: str, path: str) -> None:
        self._blobs.delete_tree(path)
        self._link.run("end_duty", duty, lease)
