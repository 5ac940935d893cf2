"""What a worker process is put together of."""

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
class Parts:
    """What the pipelines of a process work with. `decoders`, `predictor` and `upkeep` are its threads."""

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
    ring: Callable[[str], None]
    renew: Callable[[str, int], bool]  # whether the slice of a target, and the version it is for, may go on
    draining: Callable[[], bool]
