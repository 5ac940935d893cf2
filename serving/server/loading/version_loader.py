"""Load a version: check the memory, load the SavedModel, run the warm-up records, add batching."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import grpc

from serving.server.batching.scheduler import BatchedModel, BatchScheduler
from serving.server.errors import LoadError
from serving.server.loading.memory import shortage
from serving.server.loading.saved_model import LoadedModel, SessionSettings
from serving.server.loading.warmup import warm_up
from serving.server.metrics import Metrics
from serving.server.versions.servable import Servable


class VersionLoader:
    """Loads versions of all models one at a time, so that each load sees how much memory is left.

    `warm_up_iterations` is how often each warm-up record is run; with 0, records are not even read.
    """

    def __init__(
        self,
        metrics: Metrics,
        scheduler: BatchScheduler | None,
        *,
        session: SessionSettings = SessionSettings(),  # noqa: B008 - immutable
        warm_up_iterations: int = 1,
    ) -> None:
        self._metrics = metrics
        self._scheduler = scheduler
        self._session = session
        self._warm_up_iterations = warm_up_iterations
        self._one_at_a_time = threading.Lock()

    def __call__(self, folder: Path) -> Servable:
        """Load the version in a folder and return it ready for calls. Raises LoadError if it cannot be served."""
        with self._one_at_a_time:
            began = time.monotonic()
            servable: Servable | None = None
            try:
                servable = self._load(folder)
            finally:
                self._metrics.load(str(folder), time.monotonic() - began, succeeded=servable is not None)
        return servable

    def _load(self, folder: Path) -> Servable:
        loaded = self._loaded(folder)
        # The warm-up records go through batching as the calls of clients do: a record that is larger than a batch
        # fails, as it does in TF Serving.
        servable = loaded if self._scheduler is None else BatchedModel(loaded, self._scheduler)
        began = time.monotonic()
        try:
            records = warm_up(servable, folder, self._warm_up_iterations) if self._warm_up_iterations else 0
        except BaseException:
            loaded.close()
            raise
        if records:
            self._metrics.warmed_up(str(folder), time.monotonic() - began)
        return servable

    def _loaded(self, folder: Path) -> LoadedModel:
        try:
            if not any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
                raise LoadError(
                    f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {folder}. "
                    "Check that the directory exists and that you have the right permissions for accessing it.",
                    grpc.StatusCode.NOT_FOUND.value[0],
                )
            too_large = shortage(folder)
            if too_large:
                raise LoadError(too_large, grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
            return LoadedModel(folder, self._session)
        except OSError as error:
            raise LoadError(f"{folder} cannot be read: {error.strerror or error}") from error
        except MemoryError as error:
            raise LoadError("there is not enough memory for it", grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]) from error
