"""Load a version: check the memory, load the SavedModel, run the warm-up records, add batching."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import grpc

from serving.server.batching.scheduler import BatchedModel, BatchScheduler
from serving.server.errors import LoadError
from serving.server.loading.memory import shortage
from serving.server.loading.saved_model import LoadedModel
from serving.server.loading.warmup import warm_up
from serving.server.metrics import Metrics
from serving.server.versions.servable import Servable


class VersionLoader:
    """Loads versions of all models one at a time, so that each load sees how much memory is left."""

    def __init__(self, metrics: Metrics, scheduler: BatchScheduler | None) -> None:
        self._metrics = metrics
        self._scheduler = scheduler
        self._one_at_a_time = threading.Lock()

    def __call__(self, folder: Path) -> Servable:
        """Load the version in a folder and return it ready for calls. Raises LoadError if it cannot be served."""
        with self._one_at_a_time:
            began = time.monotonic()
            loaded: LoadedModel | None = None
            try:
                loaded = _load(folder)
            finally:
                self._metrics.load(str(folder), time.monotonic() - began, succeeded=loaded is not None)
        return loaded if self._scheduler is None else BatchedModel(loaded, self._scheduler)


def _load(folder: Path) -> LoadedModel:
    try:
        too_large = shortage(folder)
        if too_large:
            raise LoadError(too_large, grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
        loaded = LoadedModel(folder)
    except OSError as error:
        raise LoadError(f"{folder} cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise LoadError("there is not enough memory for it", grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]) from error
    try:
        warm_up(loaded, folder)
    except BaseException:
        loaded.close()
        raise
    return loaded
