"""Send batches of rows to the model: with retries, bisection of rejected batches, timing, traces and a log line."""

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
from serving.errors import (
    ModelOutOfMemoryError,
    ModelUnavailableError,
    RowsRejectedError,
    ShelflineError,
    VersionGoneError,
)
from workers.jobs.claimed_image import ClaimedImage
from workers.pipeline.row_limits import RowLimit, RowLimits
from workers.pipeline.rows import Row
from workers.telemetry.metrics import BATCH_ROWS, NOT_FINITE, STAGE_SECONDS
from workers.telemetry.spans import Span, Tracer

log = structlog.get_logger(__name__)

RowAnswer = Detections | RowsRejectedError
AnyRow = TypeVar("AnyRow")
Returned = TypeVar("Returned")

RETRY_SECONDS: Final = 1.5  # after that the images are handed back, for any worker to claim
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5  # seconds


class Predictor:
    """Send batches of rows to the model. Thread-safe."""

    def __init__(self, client: ModelClient, timeout: float, tracer: Tracer) -> None:
        self._client = client
        self._limits = RowLimits()
        self._timeout = timeout
        self._tracer = tracer

    def predict(self, served: ServedModel, batch: Sequence[Row], give_up: Callable[[], bool]) -> list[RowAnswer]:
        """Return the detections of each row of a batch, or the error of a row that the model rejected.

        The call is retried while the model server is unavailable, unless `give_up` returns True. A rejected batch is
        bisected down to the rows that cause the rejection. If the model server has not enough memory for it, it is sent
        in smaller calls, and so are the next batches for a while.

        Raises ModelUnavailableError if the model server stays unavailable after retries, VersionGoneError if the
        version is not served any more, ContractError if the answer does not fit the contract.
        """
        batch_id, began = secrets.token_hex(4), time.monotonic()
        images = [image.claimed for image in dict.fromkeys(row.image for row in batch)]
        self._trace_waits(images)
        with structlog.contextvars.bound_contextvars(batch=batch_id):
            call = partial(self._call, served, batch_id)
            limit = self._limits.of(served.name, served.version)
            within_memory = partial(predict_within_memory, call, batch, limit, least=served.fixed_rows or 1)
            answers = retry_unavailable(within_memory, give_up)
            log.info(
                "batch",
                model=served.name,
                version=served.version,
                rows=len(batch),
                images=len(images),
                rejected=sum(isinstance(answer, RowsRejectedError) for answer in answers),
                seconds=round(time.monotonic() - began, 3),
                jobs=_distinct(image.job for image in images),
                requests=_distinct(image.request_id for image in images),
            )
            _report_not_finite(served, answers)
        return answers

    def _call(self, served: ServedModel, batch_id: str, rows: Sequence[Row]) -> list[Detections]:
        """Make one Predict call, with a span in each trace that has an image among the rows."""
        BATCH_ROWS.observe(len(rows), served.name)
        pixels = np.stack([row.pixels for row in rows])
        spans = self._begin_spans(served, batch_id, rows)
        # The server's span becomes a child of the first one, since a span has only one parent.
        metadata = [("traceparent", spans[0].traceparent)] if spans else []
        why = ""
        try:
            with STAGE_SECONDS.timing("predict"):
                return self._client.detect(served, pixels, timeout=self._timeout, metadata=metadata)
        except ShelflineError as error:
            why = str(error)
            raise
        finally:
            for span in spans:
                span.end(why)

    def _begin_spans(self, served: ServedModel, batch_id: str, rows: Sequence[Row]) -> list[Span]:
        """Start a span in each trace that has an image among the rows; all but the first are linked to the first."""
        spans: list[Span] = []
        attributes: dict[str, str | int | float] = {
            "shelfline.batch": batch_id,
            "shelfline.rows": len(rows),
            "shelfline.model": served.name,
            "shelfline.version": served.version,
        }
        for parent, job in dict.fromkeys((row.image.claimed.trace, row.image.claimed.job) for row in rows):
            if parent:
                links = [span.traceparent for span in spans[:1]]
                of_job = {**attributes, "shelfline.job": job}
                spans.append(self._tracer.start("predict", parent, "client", links=links, attributes=of_job))
        return [span for span in spans if span.traceparent]

    def _trace_waits(self, images: Sequence[ClaimedImage]) -> None:
        """Record a span per trace: how long its oldest image took from entering the lane until it went to the model."""
        since: dict[str, float] = {}
        for image in images:
            if image.trace:
                since[image.trace] = min(image.waits_since, since.get(image.trace, image.waits_since))
        for parent, began in since.items():
            self._tracer.start("queue", parent, began=began).end()


def _report_not_finite(served: ServedModel, answers: Iterable[RowAnswer]) -> None:
    """Count and log the detections that were left out because the model answered NaN or infinity for them."""
    dropped = sum(answer.not_finite for answer in answers if isinstance(answer, Detections))
    if dropped:
        NOT_FINITE.add(served.name, str(served.version), by=dropped)
        log.warning(
            "model answered NaN or infinity: these detections are left out, check its weights and its input's scale",
            model=served.name,
            version=served.version,
            detections=dropped,
        )


def retry_unavailable(
    call: Callable[[], Returned],
    give_up: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Returned:
    """Return the answer of `call`, retried while the model server is unavailable.

    Retries end when `give_up` returns True, or `RETRY_SECONDS` after the first try. A call that took long to fail is
    not retried: its deadline passed, and the server may still be working on it. Raises what the last `call` raises.
    """
    ends_at = clock() + RETRY_SECONDS
    pauses = backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
    while True:
        try:
            return call()
        except VersionGoneError:  # a retry would not help: a new contract is needed
            raise
        except ModelUnavailableError:
            pause = next(pauses)
            if give_up() or clock() + pause >= ends_at:
                raise
        sleep(pause)


def backoff(first: float, longest: float, chance: Callable[[], float] = random.random) -> Iterator[float]:
    """Yield pauses in seconds: they double up to `longest`, and each is reduced at random by up to a half.

    The randomness keeps workers that were refused at the same time from retrying at the same time.
    """
    pause = first
    while True:
        yield pause * (0.5 + 0.5 * chance())
        pause = min(2 * pause, longest)


def bisect_rows(predict: Callable[[Sequence[AnyRow]], list[Detections]], rows: Sequence[AnyRow]) -> list[RowAnswer]:
    """Call `predict` on all rows. If it rejects them, bisect them down to the rows that cause the rejection.

    One such row among B costs at most 2 log2(B) further calls. Any error but RowsRejectedError is raised at once; so is
    ModelOutOfMemoryError, which is about the number of rows. The answers before it are lost, and computed again when
    the images are claimed again.
    """
    try:
        return list(predict(rows))
    except ModelOutOfMemoryError:
        raise
    except RowsRejectedError as error:
        if len(rows) == 1:
            return [error]
    half = len(rows) // 2
    return bisect_rows(predict, rows[:half]) + bisect_rows(predict, rows[half:])


def predict_within_memory(
    predict: Callable[[Sequence[AnyRow]], list[Detections]],
    rows: Sequence[AnyRow],
    limit: RowLimit,
    *,
    least: int = 1,
) -> list[RowAnswer]:
    """Call `predict` on all rows in calls of at most `limit` rows; rejected rows are found as in `bisect_rows`.

    If the model server has not enough memory for a call, the limit becomes half its rows. A call of `least` rows is not
    halved: its rows have the error as their answer. That is one row, or as many as each call of the model has, since
    fewer of them would take as much memory. Raises any error but RowsRejectedError.
    """
    answers: list[RowAnswer] = []
    while len(answers) < len(rows):
        part = rows[len(answers) : len(answers) + limit.rows]
        try:
            answers += bisect_rows(predict, part)
        except ModelOutOfMemoryError as error:
            if len(part) <= least:
                answers += [error] * len(part)
                continue
            limit.lower(len(part) // 2)
            log.warning("model server is out of memory: it gets smaller calls", rows=len(part) // 2, error=str(error))
    return answers


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))
