"""The Predict calls of a worker process: tried again, isolated, timed, traced, logged with a line a batch."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import structlog

from serving.client import ModelClient, ServedModel
from serving.detections import Detections
from serving.errors import RowsRejectedError, ShelflineError
from workers.isolation import predict_isolated
from workers.jobs.claimed_image import Delivery
from workers.retrying import patiently
from workers.telemetry.metrics import BATCH_ROWS, STAGE_SECONDS
from workers.telemetry.spans import Span, Tracer
from workers.work import Row

log = structlog.get_logger(__name__)

Answer = list[Detections | RowsRejectedError]


class ModelCalls:
    """Asks the model about batches. Threads share it."""

    def __init__(self, client: ModelClient, timeout: float, tracer: Tracer) -> None:
        self._client = client
        self._timeout = timeout
        self._tracer = tracer

    def answer(self, served: ServedModel, batch: Sequence[Row], give_up: Callable[[], bool]) -> Answer:
        """What the model says to each row of a batch.

        Raises ModelUnavailableError, VersionGoneError, ContractError, after some tries where these may help.
        """
        name, began = secrets.token_hex(4), time.monotonic()
        images = [work.delivery for work in dict.fromkeys(row.work for row in batch)]
        self._trace_waits(images)
        with structlog.contextvars.bound_contextvars(batch=name):
            found = patiently(partial(predict_isolated, partial(self._call, served, name), batch), give_up)
            log.info(
                "batch",
                model=served.name,
                version=served.version,
                rows=len(batch),
                images=len(images),
                rejected=sum(isinstance(one, RowsRejectedError) for one in found),
                seconds=round(time.monotonic() - began, 3),
                jobs=_distinct(one.job for one in images),
                requests=_distinct(one.request_id for one in images),
            )
        return found

    def _call(self, served: ServedModel, name: str, rows: Sequence[Row]) -> list[Detections]:
        BATCH_ROWS.observe(len(rows), served.name)
        pixels = np.stack([row.pixels for row in rows])
        spans = self._begin(served, name, rows)
        # The server's part belongs to the first; a call cannot be below several.
        passed_on = [("traceparent", spans[0].traceparent)] if spans else []
        why = ""
        try:
            with STAGE_SECONDS.timing("predict"):
                return self._client.detect(served, pixels, timeout=self._timeout, metadata=passed_on)
        except ShelflineError as error:
            why = str(error)
            raise
        finally:
            for span in spans:
                span.end(why)

    def _begin(self, served: ServedModel, name: str, rows: Sequence[Row]) -> list[Span]:
        """A span in each trace that has an image among the rows; the others are linked to the first."""
        spans: list[Span] = []
        attributes: dict[str, str | int | float] = {
            "shelfline.batch": name,
            "shelfline.rows": len(rows),
            "shelfline.model": served.name,
            "shelfline.version": served.version,
        }
        for parent, job in dict.fromkeys((row.work.delivery.trace, row.work.delivery.job) for row in rows):
            if parent:
                links = [span.traceparent for span in spans[:1]]
                of_job = {**attributes, "shelfline.job": job}
                spans.append(self._tracer.start("predict", parent, "client", links=links, attributes=of_job))
        return [span for span in spans if span.traceparent]

    def _trace_waits(self, images: Sequence[Delivery]) -> None:
        """How long each trace's oldest image was on its way from the lane to the model."""
        since: dict[str, float] = {}
        for one in images:
            if one.trace:
                since[one.trace] = min(one.waits_since, since.get(one.trace, one.waits_since))
        for parent, began in since.items():
            self._tracer.start("queue", parent, began=began).end()


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))
