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
from workers.pipeline.in_flight import Leases
from workers.queue.time_limits import TimeLimits
from workers.queue.work_queue import WorkQueue
from workers.settings import Settings
from workers.sources.references import failed_ref, fetched_path
from workers.telemetry.metrics import STAGE_SECONDS

log = structlog.get_logger(__name__)

_OK = 200
_TEMPORARY = {408, 425, 429}  # client errors that may be over later
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
        limits: TimeLimits,
        wake: Callable[[str], None],
        draining: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._blobs = blobs
        self._leases = leases
        self._limits = limits
        self._wake = wake
        self._draining = draining
        self._guard: Guard | None = None  # made at first use, since it reads the certificates
        self._threads = ThreadPoolExecutor(settings.fetch_threads, "fetch")
        self._lock = threading.Lock()
        self._busy: Counter[str] = Counter()  # fetches in progress by host

    def close(self) -> None:
        """Wait for the fetches in progress."""
        self._threads.shutdown()

    def fetch(self, target: str, images: Sequence[ClaimedImage]) -> bool:
        """Fetch images by URL in the background; return whether some were handed back, since no thread is free.

        Raises StoreUnavailableError if Redis is down.
        """
        hosts = {image: self._reserve_thread(image) for image in images}
        refused = [image for image, host in hosts.items() if not host]
        self._leases.add(image for image, host in hosts.items() if host)
        for image, host in hosts.items():
            if host:
                self._threads.submit(self._run, target, image, host)
        self._queue.hand_back(refused, started=False)
        return bool(refused)

    def _reserve_thread(self, image: ClaimedImage) -> str | None:
        """Reserve a thread for an image; return the host of its URL, or None if no thread is free for it."""
        try:
            host = parse_http_url(image.ref.removeprefix("url:")).address
        except OutboundBlockedError:
            host = "?"  # the fetch will fail at once
        threads = self._settings.fetch_threads
        if image.lane == "bulk":
            threads = max(1, int(threads * _BULK_PART))
        with self._lock:
            if self._busy.total() >= threads or self._busy[host] >= self._settings.fetch_threads_per_host:
                return None
            self._busy[host] += 1
        return host

    def _run(self, target: str, image: ClaimedImage, host: str) -> None:
        seconds = self._settings.fetch_seconds + self._settings.image_seconds  # to fetch it, and to store it
        try:
            try:
                with self._limits.limited("fetch", f"{image.job}/{image.index}", seconds):
                    ref = self._fetch_and_store(target, image)
            finally:
                with self._lock:
                    self._busy[host] -= 1
                    self._busy += Counter()  # drop hosts whose count is 0
            with self._leases.ending([image.key]):
                self._hand_back(image, ref)
                self._leases.remove([image.key])
            self._wake(target)
        except StoreUnavailableError as error:  # the image is taken over after a lease
            log.warning("image waits", job=image.job, index=image.index, error=str(error))
        finally:
            self._leases.remove([image.key])

    def _fetch_and_store(self, target: str, image: ClaimedImage) -> str:
        """Fetch and store an image; return its new reference, `blob:` or `failed:`, or the old one to retry it."""
        if self._draining():
            return image.ref
        path = fetched_path(image.job, image.index)
        try:
            with STAGE_SECONDS.timing("download"):
                content = self._get(image.ref.removeprefix("url:"))
            self._blobs.write(path, io.BytesIO(content))
        except ImageError as error:
            return failed_ref(error)
        except StoreUnavailableError as error:
            log.warning("fetched image not stored", job=image.job, index=image.index, error=str(error))
            self._queue.pause(target, _PAUSE_SECONDS)
            return image.ref
        except Exception:  # an unexpected error of a library must harm only this image
            log.exception("fetch failed", job=image.job, index=image.index)
            return failed_ref(FetchFailedError(_UNEXPECTED))
        return f"blob:{path}"

    def _hand_back(self, image: ClaimedImage, ref: str) -> None:
        if not self._queue.hand_back_with_ref(image, ref) and self._queue.is_gone(image):
            # The job was deleted meanwhile. If that was before the bytes were written, they were not deleted with it.
            self._blobs.delete_tree(fetched_path(image.job, image.index))

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
            final = answer.status // 100 == 4 and answer.status not in _TEMPORARY
            raise FetchFailedError(f"The host {host} answered {answer.status}, not {_OK}.", retryable=not final)
        if not answer.complete:
            raise ImageTooLargeError(f"The image has more than {limits.bytes} bytes: make it smaller.")
        return answer.body
