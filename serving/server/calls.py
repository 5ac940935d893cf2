"""Count the calls of gRPC and REST, and convert their exceptions to a status."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from serving.server.errors import StatusError
from serving.server.metrics import Metrics
from serving.server.versions.models import Models

_log = logging.getLogger(__name__)


class Calls:
    """Records the metrics of calls. All calls of unknown models are counted under the name ''."""

    def __init__(self, models: Models, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics
        self._lock = threading.Lock()
        self._begun = self._under_way = 0

    @contextmanager
    def counted(self, model: str, api: str, entrypoint: str) -> Iterator[None]:
        """Count a call, its final status and, if that is OK, its duration."""
        began = time.monotonic()
        status = "OK"
        try:
            yield
        except Exception as error:
            status = as_status(error).code.name
            raise
        finally:
            known = model if self._models.find(model) else ""
            self._metrics.request(known, api, entrypoint, status, time.monotonic() - began)

    def examples(self, model: str, count: int) -> None:
        """Count the tf.Examples of a call."""
        self._metrics.examples(model, count)

    @contextmanager
    def running(self, model: str, api: str = "Predict") -> Iterator[None]:
        """Record the duration of a graph run; a run that raises is not recorded."""
        began = time.monotonic()
        with self._lock:
            self._begun += 1
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
        self._metrics.runtime(model, api, time.monotonic() - began)

    def runs(self) -> tuple[int, int]:
        """Return how many graph runs have begun, and how many are under way."""
        with self._lock:
            return self._begun, self._under_way


def as_status(error: Exception) -> StatusError:
    """Convert an exception to a status. An unexpected exception becomes INTERNAL, without its traceback."""
    if isinstance(error, StatusError):
        return error
    if isinstance(error, MemoryError):
        return StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, "OOM when allocating the tensors of this call")
    return StatusError(grpc.StatusCode.INTERNAL, f"The model server failed: {type(error).__name__}")


def logged_status(error: Exception) -> StatusError:
    """Convert an exception to a status and log the traceback of an unexpected exception."""
    if not isinstance(error, StatusError):
        _log.error("a call broke", exc_info=error)
    return as_status(error)
