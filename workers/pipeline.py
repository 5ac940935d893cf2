"""The pipeline: claim, prepare, predict, settle, so that the model does not wait while there is work."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog

from serving.client import ServedModel
from serving.detections import Detections
from serving.errors import RowsRejectedError, VersionGoneError
from workers import results
from workers.errors import ImageDecodeError, ImageError, ImageMissingError, StoreUnavailableError, WorkerCrashedError
from workers.holding import Holding
from workers.images import Prepared, prepare
from workers.isolation import predict_isolated
from workers.parts import Parts
from workers.queue import MOST_STARTS, Delivery
from workers.sources import fetch

log = structlog.get_logger(__name__)

_TAKEOVER_EVERY = 1.0  # seconds between looks for images whose worker died
_MOST_FAULTS = 3  # deliveries in which the model rejected every row alike before that is the image's result
_CRASHED = f"The worker died {MOST_STARTS} times while it processed this image: the file is probably malformed."
_UNEXPECTED = "The image could not be processed; the worker's log says why."

Answer = list[Detections | RowsRejectedError]


@dataclass(frozen=True)
class Row:
    """An image that is ready for the model."""

    delivery: Delivery
    prepared: Prepared


class Pipeline:
    """Works off one model's lanes for a time slice. Not for use by several threads."""

    def __init__(self, parts: Parts, served: ServedModel) -> None:
        self._parts = parts
        self._served = served
        self._batch_rows = min(parts.settings.batch_rows, served.contract.max_batch_rows)
        self._ends_at = time.monotonic() + parts.settings.slice_seconds
        self._next_takeover = 0.0
        self._holding = Holding(parts.queue, parts.store, parts.leases)
        self._preparing: dict[Future[Prepared], Delivery] = {}
        self._ready: deque[Row] = deque()
        self._predicting: Future[Answer] | None = None
        self._batch: list[Row] = []
        self._suspects: deque[Delivery] = deque()  # being processed when a worker died: each runs alone
        self._alone: Delivery | None = None  # the suspect that is running
        self._closed = False  # nothing more is claimed
        self._work_left = False

    def run(self) -> bool:
        """Work until nothing is left, the slice is over, or the process shall stop; says whether work is left.

        Whatever happens, what was not settled is handed back. Raises ModelUnavailableError, StoreUnavailableError.
        """
        try:
            self._claim()
            while self._holding and not self._parts.draining():
                self._send()
                self._collect()
                if not self._holding:
                    self._claim()
            if self._predicting is not None:  # told to stop: the batch in flight is settled
                wait([self._predicting])
                self._collect()
        finally:
            self._hand_back_rest()
        return self._work_left

    def _claim(self) -> None:
        parts, model = self._parts, self._served.name
        room = 2 * self._batch_rows - len(self._preparing) - len(self._ready)
        if self._closed or self._suspects or self._alone or room < self._batch_rows:
            return
        if parts.draining() or time.monotonic() >= self._ends_at:
            self._closed = self._work_left = True
            return
        taken: list[Delivery] = []
        if time.monotonic() >= self._next_takeover:
            taken = parts.queue.take_over(model, room, parts.leases.held)
            if taken:  # then there may be more
                log.warning("took over images of a worker that gave no sign of life", images=len(taken))
            else:
                self._next_takeover = time.monotonic() + _TAKEOVER_EVERY
        if any(one.starts for one in taken):
            self._accept(taken)
            return
        claim = parts.queue.claim(model, room - len(taken)) if room > len(taken) else None
        self._accept(taken + (claim.deliveries if claim else []))
        if claim and claim.duty_due:
            parts.upkeep.submit(parts.duties.run_due)
        if claim and claim.more and not self._work_left:
            parts.ring(model)  # further processes may help
        self._work_left = bool(claim is None or claim.more)

    def _accept(self, deliveries: Sequence[Delivery]) -> None:
        self._holding.take(deliveries)
        for one in deliveries:
            if one.starts >= MOST_STARTS:
                self._holding.done(one, results.failed(one, WorkerCrashedError(_CRASHED)))
            elif one.starts:
                self._suspects.append(one)
        self._start([one for one in deliveries if not one.starts])
        self._settle()

    def _start(self, deliveries: Sequence[Delivery]) -> None:
        for one in self._holding.start(deliveries) if deliveries else ():
            self._preparing[self._parts.decoders.submit(self._prepare, one)] = one

    def _prepare(self, delivery: Delivery) -> Prepared:
        settings = self._parts.settings
        content = fetch(delivery.ref, self._parts.blobs, settings)
        return prepare(content, self._served.contract, settings.max_image_pixels)

    def _send(self) -> None:
        """Send the next batch if the model is free: a full one, or all there is once nothing more is on its way."""
        if self._predicting is not None or self._parts.draining():
            return
        if self._suspects and not (self._ready or self._preparing):
            suspect = self._suspects[0]
            self._start([suspect])
            self._suspects.popleft()
            self._alone = suspect if self._preparing else None  # or it is no longer this worker's
        elif len(self._ready) >= self._batch_rows or (self._ready and not self._preparing):
            self._batch = [self._ready.popleft() for _ in range(min(self._batch_rows, len(self._ready)))]
            self._predicting = self._parts.predictor.submit(predict_isolated, self._predict, self._batch)
            self._claim()  # the next rows are claimed and prepared while the model works

    def _predict(self, rows: Sequence[Row]) -> list[Detections]:
        images = np.stack([row.prepared.pixels for row in rows])
        return self._parts.client.detect(self._served, images, timeout=self._parts.settings.predict_timeout_seconds)

    def _collect(self) -> None:
        """Wait for the first thing to come back, and settle what is ready to be settled."""
        futures: list[Future[Any]] = [*self._preparing]
        if self._predicting is not None:
            futures.append(self._predicting)
        wait(futures, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in [one for one in self._preparing if one.done()]:
            delivery = self._preparing.pop(future)
            try:
                self._ready.append(Row(delivery, future.result()))
            except ImageError as error:
                self._holding.done(delivery, results.failed(delivery, error))
            except StoreUnavailableError as error:
                self._unreadable(delivery, error)
            except Exception:  # whatever an image makes a library do, it harms only itself
                log.exception("image failed", job=delivery.job, index=delivery.index)
                self._holding.done(delivery, results.failed(delivery, ImageDecodeError(_UNEXPECTED)))
        if self._predicting is not None and self._predicting.done():
            answer, batch = self._predicting, self._batch
            self._predicting, self._batch = None, []
            self._answered(answer, batch)
        self._settle()

    def _answered(self, answer: Future[Answer], batch: list[Row]) -> None:
        try:
            found = answer.result()
        except VersionGoneError:
            self._ready.extendleft(reversed(batch))
            self._change_version()
            return
        self._send()  # the model is free: the boxes of this batch are written down while it works on the next
        if all(isinstance(one, RowsRejectedError) for one in found):
            self._rejected_alike(batch, found)
            return
        for row, one in zip(batch, found, strict=True):
            if isinstance(one, RowsRejectedError):
                outcome = results.failed(row.delivery, one)
            else:
                outcome = results.succeeded(row.delivery, self._served, one, row.prepared.width, row.prepared.height)
            self._holding.done(row.delivery, outcome)
        log.info("batch", model=self._served.name, version=self._served.version, rows=len(batch))

    def _change_version(self) -> None:
        """The pinned version is gone: go on with the newest, if it takes the same pixels; else start afresh."""
        old, new = self._served, self._parts.models.current(self._served.name, fresh=True)
        if new.version == old.version:
            raise VersionGoneError(f"The model server describes version {old.version} and does not find it.")
        if new.contract.takes_same_pixels(old.contract):
            self._served = new
        else:
            self._hand_back_rest()
            self._closed = self._work_left = True

    def _unreadable(self, delivery: Delivery, error: StoreUnavailableError) -> None:
        """The blob store did not give an image: an outage, unless the rest of it can be read time after time."""
        fault = True
        if delivery.faults + 1 >= _MOST_FAULTS:
            try:
                self._parts.blobs.check()
            except StoreUnavailableError:
                fault = False
            else:
                self._holding.done(delivery, results.failed(delivery, ImageMissingError(str(error))))
                return
        log.warning("image waits", job=delivery.job, index=delivery.index, error=str(error))
        self._wait_with([delivery], fault=fault)

    def _wait_with(self, deliveries: Sequence[Delivery], *, fault: bool) -> None:
        """Hand images back and open the breaker, longer each time, so that their retry budget lasts a while."""
        self._holding.hand_back(deliveries, fault=fault)
        self._parts.queue.pause(self._served.name, 2.0 ** min(one.faults for one in deliveries))
        self._closed = True
        self._work_left = False  # no ring: the sweep rings once the breaker is closed

    def _rejected_alike(self, batch: Sequence[Row], found: Answer) -> None:
        """If every row fails alike it is the model: the images wait, and are the model's failures only after that."""
        again: list[Delivery] = []
        for row, error in zip(batch, found, strict=True):
            if row.delivery.faults + 1 < _MOST_FAULTS:
                again.append(row.delivery)
            else:
                assert isinstance(error, RowsRejectedError)
                self._holding.done(row.delivery, results.failed(row.delivery, error))
        log.warning("the model rejects every row", model=self._served.name, rows=len(batch), error=str(found[0]))
        if again:
            self._wait_with(again, fault=True)

    def _settle(self) -> None:
        settled, duty_due = self._holding.settle()
        if self._alone in settled:
            self._alone = None
        if duty_due:
            self._parts.upkeep.submit(self._parts.duties.run_due)

    def _hand_back_rest(self) -> None:
        suspects = list(self._suspects)
        self._preparing.clear()
        self._ready.clear()
        self._suspects.clear()
        self._alone = None
        self._work_left = self._holding.hand_back_all(suspects) or self._work_left
