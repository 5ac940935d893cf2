"""The context of a worker process: the services that its pipelines share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from serving.client import ModelClient
from workers.duties import Duties
from workers.io.blobs import BlobStore
from workers.pipeline.fetcher import Fetcher
from workers.pipeline.models import Models
from workers.pipeline.predicting import ModelCalls
from workers.pipeline.result_cache import ResultCache
from workers.queue.leases import Leases
from workers.queue.work_queue import WorkQueue
from workers.settings import Settings
from workers.store.job_store import JobStore


@dataclass(frozen=True)
class PipelineContext:
    """The services that the pipelines of a process share. `decoders`, `predictor` and `upkeep` are thread pools."""

    settings: Settings
    queue: WorkQueue
    store: JobStore
    blobs: BlobStore
    cache: ResultCache
    duties: Duties
    leases: Leases
    fetcher: Fetcher
    models: Models
    client: ModelClient
    calls: ModelCalls
    decoders: ThreadPoolExecutor
    predictor: ThreadPoolExecutor
    upkeep: ThreadPoolExecutor
    wake: Callable[[str], None]  # sends a wake-up for a target
    renew: Callable[[str, int], bool]  # whether a target's pipeline may go on for another slice with this version
    draining: Callable[[], bool]  # whether the process is stopping
