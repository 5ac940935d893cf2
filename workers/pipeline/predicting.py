"""The Predict calls of a worker process, with retries, bisection of rejected batches, timing, traces and a log line."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, TypeVar

import numpy as np
import structlog

from serving.boxes.detections import Detections
from serving.client import ModelClient, ServedModel
from serving.errors import ModelUnavailableError, RowsRejectedError, ShelflineError, VersionGoneError
from workers.jobs.claimed_image import ClaimedImage
from workers.pipeline.image_rows import Row
from workers.telemetry.metrics import BATCH_ROWS, STAGE_SECONDS
from workers.telemetry.spans import Span, Tracer

Returned = TypeVar("Returned")

PATIENCE: Final = 1.5  # seconds from the first try; after that the images are handed back, for any worker to claim

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5  # seconds


def backoff(first: float, longest: float, chance: Callable[[], float] = random.random) -> Iterator[float]:
    """Yield pauses in seconds: they double up to `longest`, and each is reduced at random by up to a half.

    The randomness keeps workers that were refused at the same time from retrying at the same time.
    """
    pause = first
    while True:
        yield pause * (0.5 + 0.5 * chance())
        pause = min(2 * pause, longest)


def patiently(
    call: Callable[[], Returned],
    give_up: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Returned:
    """Return the answer of `call`, retried while the model server is unavailable.

    Retries end when `give_up` returns True or after `PATIENCE` seconds. A call that took long to fail is not
    retried: its deadline passed, and the server may still be working on it. Raises what the last `call` raises.
    """
    ends_at = clock() + PATIENCE
    for pause in backoff(_FIRST_PAUSE, _LONGEST_PAUSE):
        try:
            return call()
        except VersionGoneError:  # a retry would not help: a new contract is needed
            raise
        except ModelUnavailableError:
            if give_up() or clock() + pause >= ends_at:
                raise
        sleep(pause)
    raise AssertionError("the pauses never end")


AnyRow = TypeVar("AnyRow")


def predict_isolated(
    predict: Callable[[Sequence[AnyRow]], list[Detections]], rows: Sequence[AnyRow]
) -> list[Detections | RowsRejectedError]:
    """Call `predict` on all rows. If it rejects them, bisect them down to the rows that cause the rejection.

    One such row among B costs at most 2 log2(B) further calls. Any error but RowsRejectedError is raised at once;
    the answers before it are lost, and computed again when the images are claimed again.
    """
    try:
        return list(predict(rows))
    except RowsRejectedError as error:
        if len(rows) == 1:
            return [error]
    half = len(rows) // 2
    return predict_isolated(predict, rows[:half]) + predict_isolated(predict, rows[half:])


log = structlog.get_logger(__name__)

Answer = list[Detections | RowsRejectedError]


class ModelCalls:
    """Send batches of rows to the model. Thread-safe."""

    def __init__(self, client: ModelClient, timeout: float, tracer: Tracer) -> None:
        self._client = client
        self._timeout = timeout
        self._tracer = tracer

    def answer(self, served: ServedModel, batch: Sequence[Row], give_up: Callable[[], bool]) -> Answer:
        """Return the detections of each row of a batch, or the error of a row that the model rejected.

        Raises ModelUnavailableError if the model server stays unavailable after retries, VersionGoneError if the
        version is not served any more, ContractError if the answer does not fit the contract.
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
        # The server's span becomes a child of the first one, since a span has only one parent.
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
        """Start a span in each trace that has an image among the rows; all but the first are linked to the first."""
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

    def _trace_waits(self, images: Sequence[ClaimedImage]) -> None:
        """Record a span per trace: how long its oldest image took from entering the lane until it went to the model."""
        since: dict[str, float] = {}
        for one in images:
            if one.trace:
                since[one.trace] = min(one.waits_since, since.get(one.trace, one.waits_since))
        for parent, began in since.items():
            self._tracer.start("queue", parent, began=began).end()


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))
