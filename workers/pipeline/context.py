"""The context of a worker process: the services that its pipelines share."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from serving.client import ModelClient
from workers.duties import Duties
from workers.errors import StoreUnavailableError
from workers.health import note_worker
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.pipeline.fetcher import Fetcher
from workers.pipeline.in_flight import Leases
from workers.pipeline.models import Models
from workers.pipeline.predicting import Predictor
from workers.pipeline.result_cache import ResultCache
from workers.queue.time_limits import SpareThreads, TimeLimits
from workers.queue.work_queue import WorkQueue
from workers.settings import Settings
from workers.store.catalog import Catalog
from workers.store.job_store import JobStore
from workers.telemetry.metrics import RPC_ERRORS
from workers.telemetry.tracing import open_tracer

_ATTEND_EVERY: Final = 5.0  # seconds
_PREDICT_THREADS: Final = 4  # the tasks of a threads pool share the process; each makes one Predict call at a time


class PipelineContext:
    """The services and threads that the pipelines of a process share.

    `wake` sends a wake-up for a target. `may_continue` says whether a pipeline (target, version) may go on, and
    `draining` whether the process is stopping. `limits` has what the threads of the process may hang in.
    """

    def __init__(
        self,
        settings: Settings,
        link: RedisLink,
        limits: TimeLimits,
        *,
        wake: Callable[[str], None],
        may_continue: Callable[[str, int], bool],
        draining: Callable[[], bool],
    ) -> None:
        self.settings = settings
        self.limits = limits
        self._link = link
        self._attended: dict[tuple[str, bool], float] = {}
        self.wake, self.may_continue, self.draining = wake, may_continue, draining
        self.decode_threads = ThreadPoolExecutor(settings.decode_threads, "decode")
        self.predict_threads = ThreadPoolExecutor(_PREDICT_THREADS, "predict")
        self.upkeep_thread = SpareThreads("duty", limits)
        self.long_duties_thread = SpareThreads("long-duty", limits)
        self.tracer = open_tracer(settings, "shelfline-worker")
        self.blobs = BlobStore.of(settings)
        self.queue = WorkQueue(link, settings, f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}")
        self.store = JobStore(link, self.blobs, settings)
        self.cache = ResultCache(link, self.blobs, settings.cache_seconds)
        self.duties = Duties(
            link,
            self.blobs,
            settings,
            wake,
            limits=limits,
            long_duties_thread=self.long_duties_thread,
            stopping=draining,
        )
        self.leases = Leases(self.queue, settings.lease_seconds)
        self.fetcher = Fetcher(settings, self.queue, self.blobs, self.leases, limits, wake, draining)
        self._client = ModelClient(settings.model_server, on_error=RPC_ERRORS.add)
        self.models = Models(self._client, Catalog(link), settings.contracts)
        self.predictor = Predictor(self._client, settings.predict_timeout_seconds, self.tracer)

    def attend(self, target: str, *, consuming: bool) -> None:
        """Note that this worker is alive and, if `consuming`, that it works for a target: it waits for the model.

        It does so at most every five seconds, and never raises: the note is only for `/readyz`.
        """
        if time.monotonic() - self._attended.get((target, consuming), -_ATTEND_EVERY) < _ATTEND_EVERY:
            return
        self._attended[target, consuming] = time.monotonic()
        with suppress(StoreUnavailableError):
            note_worker(self._link, target if consuming else "")

    def close(self) -> None:
        """End the threads and the connections to model server and traces. No pipeline may be running any more."""
        for threads in (self.decode_threads, self.predict_threads):
            threads.shutdown()
        self.upkeep_thread.shutdown()
        self.long_duties_thread.shutdown()
        self.fetcher.close()
        self.leases.stop()
        self._client.close()
        self.tracer.close()
