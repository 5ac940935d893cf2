"""Counts calls, whichever way they came, and turns what they raise into a status."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from serving.server.errors import StatusError
from serving.server.metrics import Metrics
from serving.server.versions.models import Models

_log = logging.getLogger(__name__)


class Calls:
    """What is told of calls of the models. Models that never were count as one, without a name."""

    def __init__(self, models: Models, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics

    @contextmanager
    def counted(self, model: str, api: str, entrypoint: str) -> Iterator[None]:
        """Count a call and how long it took, with the status that it ends with."""
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

    @contextmanager
    def running(self, model: str) -> Iterator[None]:
        """Count how long a graph took that did not raise."""
        began = time.monotonic()
        yield
        self._metrics.runtime(model, "Predict", time.monotonic() - began)


def as_status(error: Exception) -> StatusError:
    """The status of a call that raised this; what is not foreseen is INTERNAL, and never a traceback."""
    if isinstance(error, StatusError):
        return error
    if isinstance(error, MemoryError):
        return StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, "There is not enough memory for this call")
    return StatusError(grpc.StatusCode.INTERNAL, f"The model server failed: {type(error).__name__}")


def logged_status(error: Exception) -> StatusError:
    """`as_status`, with the traceback of what is not foreseen in the log."""
    if not isinstance(error, StatusError):
        _log.error("a call broke", exc_info=error)
    return as_status(error)
