"""The context of a worker process: the services that its pipelines share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from workers.duties import Duties
from workers.io.blobs import BlobStore
from workers.pipeline.fetcher import Fetcher
from workers.pipeline.in_flight import Leases
from workers.pipeline.models import Models
from workers.pipeline.predicting import Predictor
from workers.pipeline.result_cache import ResultCache
from workers.queue.work_queue import WorkQueue
from workers.settings import Settings
from workers.store.job_store import JobStore


@dataclass(frozen=True)
class PipelineContext:
    """The services that the pipelines of a process share."""

    settings: Settings
    queue: WorkQueue
    store: JobStore
    blobs: BlobStore
    cache: ResultCache
    duties: Duties
    leases: Leases
    fetcher: Fetcher
    models: Models
    predictor: Predictor
    decode_threads: ThreadPoolExecutor
    predict_threads: ThreadPoolExecutor
    upkeep_thread: ThreadPoolExecutor
    wake: Callable[[str], None]  # sends a wake-up for a target
    may_continue: Callable[[str, int], bool]  # whether a pipeline (target, version) may go on
    draining: Callable[[], bool]  # whether the process is stopping
