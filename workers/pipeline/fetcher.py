"""Fetch images by URL apart from the pipeline, so that no batch waits for a slow host. See docs/decisions/0005."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from workers.errors import (
    FetchBlockedError,
    FetchFailedError,
    ImageError,
    ImageTooLargeError,
    OutboundBlockedError,
    OutboundFailedError,
    StoreUnavailableError,
)
from workers.io.blobs import BlobStore
from workers.io.guarded_http import Guard, Limits, send
from workers.io.urls import parse_http_url
from workers.jobs.claimed_image import ClaimedImage
from workers.queue.leases import Leases
from workers.queue.work_queue import WorkQueue
from workers.settings import Settings
from workers.sources.references import failed_ref, fetched_path, is_remote
from workers.telemetry.metrics import STAGE_SECONDS

log = structlog.get_logger(__name__)

_OK = 200
_FOR_NOW = {408, 425, 429}  # client errors that may be over later
_BULK_PART = 0.75  # share of the threads that bulk images may use; the rest is kept for the interactive lane
_PAUSE_SECONDS = 2.0  # breaker of the target after a fetched image could not be stored
_UNEXPECTED = "The image could not be fetched; the worker's log says why."


class Fetcher:
    """Fetch images by URL in threads, and put them back into their lane as blobs, or as failed.

    It outlives the pipelines of its process. Several threads may use it at once.
    """

    def __init__(
        self,
        settings: Settings,
        queue: WorkQueue,
        blobs: BlobStore,
        leases: Leases,
        wake: Callable[[str], None],
        draining: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._blobs = blobs
        self._leases = leases
        self._wake = wake
        self._draining = draining
        self._guard: Guard | None = None
        self._threads = ThreadPoolExecutor(settings.fetch_threads, "fetch")
        self._lock = threading.Lock()
        self._busy: Counter[str] = Counter()  # fetches in progress by host

    def close(self) -> None:
        """Wait for the fetches in progress."""
        self._threads.shutdown()

    def divert(self, target: str, claimed: Sequence[ClaimedImage]) -> tuple[list[ClaimedImage], bool]:
        """Fetch the images by URL in the background; return the others, and whether the claim was in vain.

        An image for which no thread is free is handed back. A claim was in vain if it brought such images, and none
        that can be processed now. Raises StoreUnavailableError if Redis is down.
        """
        local = [one for one in claimed if not is_remote(one.ref)]
        remote = [one for one in claimed if is_remote(one.ref)]
        places = [(one, self._place(one)) for one in remote]
        self._leases.hold([one for one, host in places if host])
        for one, host in places:
            if host:
                self._threads.submit(self._run, target, one, host)
        refused = [one for one, host in places if not host]
        self._queue.hand_back(refused, started=False)
        return local, bool(refused) and not local

    def _place(self, delivery: ClaimedImage) -> str | None:
        """Reserve a thread for an image; return the host of its URL, or None if no thread is free for it."""
        try:
            host = parse_http_url(delivery.ref.removeprefix("url:")).address
        except OutboundBlockedError:
            host = "?"  # the fetch will fail at once
        most = self._settings.fetch_threads
        if not delivery.stream.endswith(":interactive"):
            most = max(1, int(most * _BULK_PART))
        with self._lock:
            if self._busy.total() >= most or self._busy[host] >= self._settings.fetch_threads_per_host:
                return None
            self._busy[host] += 1
        return host

    def _run(self, target: str, delivery: ClaimedImage, host: str) -> None:
        try:
            try:
                ref = self._fetched(target, delivery)
            finally:
                with self._lock:
                    self._busy[host] -= 1
                    self._busy += Counter()  # drop hosts whose count is 0
            self._hand_on(delivery, ref)
            self._wake(target)
        except StoreUnavailableError as error:  # the image is taken over after a lease
            log.warning("image waits", job=delivery.job, index=delivery.index, error=str(error))
        finally:
            self._leases.release([delivery])

    def _fetched(self, target: str, delivery: ClaimedImage) -> str:
        """Fetch and store an image; return its new reference, `blob:` or `failed:`, or the old one to retry it."""
        if self._draining():
            return delivery.ref
        path = fetched_path(delivery.job, delivery.index)
        try:
            with STAGE_SECONDS.timing("download"):
                content = self._get(delivery.ref.removeprefix("url:"))
            self._blobs.write(path, io.BytesIO(content))
        except ImageError as error:
            return failed_ref(error)
        except StoreUnavailableError as error:
            log.warning("fetched image not stored", job=delivery.job, index=delivery.index, error=str(error))
            self._queue.pause(target, _PAUSE_SECONDS)
            return delivery.ref
        except Exception:  # an unexpected error of a library must harm only this image
            log.exception("fetch failed", job=delivery.job, index=delivery.index)
            return failed_ref(FetchFailedError(_UNEXPECTED))
        return f"blob:{path}"

    def _hand_on(self, delivery: ClaimedImage, ref: str) -> None:
        if not self._queue.hand_on(delivery, ref) and self._queue.is_gone(delivery):
            # The job was deleted meanwhile. If that was before the bytes were written, they were not deleted with it.
            self._blobs.delete_tree(fetched_path(delivery.job, delivery.index))

    def _get(self, url: str) -> bytes:
        settings = self._settings
        if self._guard is None:
            self._guard = Guard(settings.fetch_ports, settings.fetch_private_hosts)
        limits = Limits(settings.fetch_seconds, settings.max_image_bytes, settings.fetch_redirects)
        try:
            answer = send("GET", url, guard=self._guard, limits=limits)
        except OutboundBlockedError as error:
            raise FetchBlockedError(str(error)) from error
        except OutboundFailedError as error:
            raise FetchFailedError(str(error)) from error
        host = parse_http_url(answer.url).host
        if answer.status != _OK:
            final = answer.status // 100 == 4 and answer.status not in _FOR_NOW
            raise FetchFailedError(f"The host {host} answered {answer.status}, not {_OK}.", retryable=not final)
        if not answer.complete:
            raise ImageTooLargeError(f"The image has more than {limits.bytes} bytes: make it smaller.")
        return answer.body
