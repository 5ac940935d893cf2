"""The pipeline: claim, prepare, predict and settle images at the same time, so that the model never waits for work."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from typing import Any

import structlog

from serving.client import ServedModel
from serving.errors import RowsRejectedError, VersionGoneError
from workers.errors import ImageDecodeError, ImageError, StoreUnavailableError, WorkerCrashedError
from workers.jobs import result
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.job import Outcome
from workers.jobs.options import Lane
from workers.pipeline.claimer import LOOK_EVERY, Claimer
from workers.pipeline.context import PipelineContext
from workers.pipeline.failures import Failures
from workers.pipeline.image_rows import Row, Work
from workers.pipeline.in_flight import InFlight
from workers.pipeline.predicting import Answer
from workers.pipeline.result_cache import Hit
from workers.pipeline.row_buffer import RowBuffer
from workers.queue.work_queue import MOST_STARTS
from workers.sources.decoding import Prepared, Tiling, prepare
from workers.sources.references import fetch
from workers.telemetry.metrics import STAGE_SECONDS

log = structlog.get_logger(__name__)

_LATE_PART = 0.25  # share of a Predict's duration that the model may wait for late interactive images
_FIRST_GUESS = 0.1  # assumed seconds of a Predict, until one was timed
_CRASHED = f"The worker died {MOST_STARTS} times while it processed this image: the file is probably malformed."
_UNEXPECTED = "The image could not be processed; the worker's log says why."


class Pipeline:
    """Process the images in the lanes of one target for a time slice. Not thread-safe."""

    def __init__(self, parts: PipelineContext, target: str, served: ServedModel) -> None:
        self._parts = parts
        self._target = target
        self._served = served
        self._batch_rows = min(parts.settings.batch_rows, served.contract.max_batch_rows)
        self._claiming = Claimer(parts, target, self._batch_rows)
        self._holding = InFlight(parts.queue, parts.store, parts.leases)
        self._setbacks = Failures(parts, self._holding, target)
        self._preparing: dict[Future[Prepared | Hit], ClaimedImage] = {}
        self._digests: dict[ClaimedImage, str] = {}  # sha256 of images whose result is to be cached
        self._ready: RowBuffer[Row] = RowBuffer(self._batch_rows)
        self._predicting: Future[Answer] | None = None
        self._batch: list[Row] = []
        self._sent_at, self._predict_seconds = 0.0, _FIRST_GUESS
        self._late_until: float | None = None  # until when the next batch waits for late interactive images
        self._suspects: deque[ClaimedImage] = deque()  # being processed when a worker died: each runs alone
        self._alone: ClaimedImage | None = None  # the suspect that is being processed
        self._parked = False  # whether the last claim brought only images by URL, and the fetcher had no free thread

    def run(self) -> bool:
        """Process images until none is left, the slice is over or the process is stopping; return whether work is left.

        Images that were not settled are handed back, also after an error. Raises ModelUnavailableError if the model
        server is down, ContractError if a contract cannot be used, StoreUnavailableError if Redis is down.
        """
        handed_back = False
        try:
            self._claim(self._ready.counts())
            while self._holding and not self._parts.draining():
                self._send()
                self._collect()
                if not self._holding:
                    self._claim(self._ready.counts())
            if self._predicting is not None:  # the process is stopping: settle the batch in flight
                wait([self._predicting])
                self._collect()
        finally:
            handed_back = self._hand_back_rest()
        return (self._claiming.work_left and not self._parked) or handed_back

    def _claim(self, ready: dict[Lane, int]) -> None:
        """Claim images for the room that is left beside the `ready` rows and those of images being prepared."""
        if self._suspects or self._alone:
            return
        preparing: Counter[Lane] = Counter()
        for one in self._preparing.values():
            preparing[one.lane] += one.rows
        in_hand = {lane: count + preparing[lane] for lane, count in ready.items()}
        claimed = self._claiming.claim(in_hand, self._served.version, busy=bool(self._holding))
        deliveries, self._parked = self._parts.fetcher.divert(self._target, claimed)
        if not deliveries:
            return
        self._holding.take(deliveries)
        for one in deliveries:
            if one.starts >= MOST_STARTS:
                self._holding.done(one, result.failed(one, WorkerCrashedError(_CRASHED)))
            elif one.starts:
                self._suspects.append(one)
        self._start([one for one in deliveries if not one.starts])
        self._settle()

    def _start(self, deliveries: Sequence[ClaimedImage]) -> None:
        for one in self._holding.start(deliveries) if deliveries else ():
            self._preparing[self._parts.decoders.submit(self._prepare, one)] = one

    def _prepare(self, delivery: ClaimedImage) -> Prepared | Hit:
        settings = self._parts.settings
        with STAGE_SECONDS.timing("fetch"):
            content = fetch(delivery.ref, self._parts.blobs, settings)
        options = delivery.options
        if options.cache:
            digest = hashlib.sha256(content).hexdigest()
            if hit := self._parts.cache.look_up(digest, self._served, options):
                return hit
            self._digests[delivery] = digest
        tiling = None if options.tiles == "off" else Tiling(options.grid, options.overlap, settings.tile_scale)
        with STAGE_SECONDS.timing("decode"):
            return prepare(content, self._served.contract, settings.max_image_pixels, tiling)

    def _send(self) -> None:
        """Send the next batch if the model is free: a full one, or all ready rows if no image is being prepared."""
        if self._predicting is not None or self._parts.draining():
            return
        if self._suspects and not (self._ready or self._preparing or self._alone):
            suspect = self._suspects[0]
            self._start([suspect])
            self._suspects.popleft()
            self._alone = suspect if self._preparing else None  # None: it is no longer this worker's
        elif self._may_send() and not self._waits_for_late():
            self._late_until = None
            self._batch = self._ready.take_batch()
            self._sent_at = time.monotonic()
            ask = partial(self._parts.calls.answer, self._served, self._batch, self._parts.draining)
            self._predicting = self._parts.predictor.submit(ask)
            self._claim(self._ready.counts())  # the next rows are claimed and prepared while the model works

    def _may_send(self) -> bool:
        urgent = self._ready.count("interactive") and not self._interactive_on_its_way()
        return bool(len(self._ready) >= self._batch_rows or urgent or (self._ready and not self._preparing))

    def _interactive_on_its_way(self) -> bool:
        return any(one.lane == "interactive" for one in self._preparing.values())

    def _waits_for_late(self) -> bool:
        """Claim late interactive images, and return whether the batch waits until they are prepared.

        It waits for at most a quarter of the last Predict's duration; images that are ready later join the next batch.
        Nothing is claimed unless such images wait, because a claim is synced to the disk twice and the model would be
        idle meanwhile.
        """
        if self._late_until is None:
            room = self._ready.count("interactive") < self._batch_rows
            if room and not self._alone and self._parts.queue.waits(self._target, "interactive"):
                self._claim(self._ready.counts())
            self._late_until = time.monotonic() + _LATE_PART * self._predict_seconds
        return (
            self._ready.count("interactive") < self._batch_rows
            and self._interactive_on_its_way()
            and time.monotonic() < self._late_until
        )

    def _collect(self) -> None:
        """Wait for a prepared image or the model's answer, take all that is done, and settle finished images."""
        futures: list[Future[Any]] = [*self._preparing]
        if self._predicting is not None:
            futures.append(self._predicting)
        wait(futures, timeout=self._patience(), return_when=FIRST_COMPLETED)
        for future in [one for one in self._preparing if one.done()]:
            self._prepared(future, self._preparing.pop(future))
        if self._predicting is not None and self._predicting.done():
            answer, batch = self._predicting, self._batch
            self._predicting, self._batch = None, []
            self._predict_seconds = time.monotonic() - self._sent_at
            self._answered(answer, batch)
        elif self._predicting is not None and self._claiming.may_look:
            self._claim(self._ready.counts())
        self._settle()

    def _patience(self) -> float:
        """Return the seconds that `_collect` waits at most before it looks for late interactive images."""
        left = self._late_until - time.monotonic() if self._late_until is not None else 0.0
        return left if left > 0 else LOOK_EVERY

    def _prepared(self, future: Future[Prepared | Hit], delivery: ClaimedImage) -> None:
        try:
            prepared = future.result()
            if isinstance(prepared, Hit):
                self._holding.done(delivery, result.cached(delivery, prepared.result))
                return
            for row in Work(delivery, prepared).rows():
                self._ready.add(row)
        except ImageError as error:
            self._holding.done(delivery, result.failed(delivery, error))
        except StoreUnavailableError as error:
            if self._setbacks.unreadable(delivery, error):
                self._claiming.close(work_left=False)  # no wake-up now: the sweep sends one once the breaker is closed
        except Exception:  # an unexpected error of a library must harm only this image
            log.exception("image failed", job=delivery.job, index=delivery.index)
            self._holding.done(delivery, result.failed(delivery, ImageDecodeError(_UNEXPECTED)))

    def _answered(self, answer: Future[Answer], batch: list[Row]) -> None:
        served = self._served
        try:
            found = answer.result()
        except VersionGoneError:
            self._ready.put_back(batch)
            self._change_version()
            return
        self._send()  # the model is free: it works on the next batch while the results of this one are made
        answers = [(row, one) for row, one in zip(batch, found, strict=True) if not row.work.over]
        rejected = {row.work: one for row, one in answers if isinstance(one, RowsRejectedError)}
        for work in rejected:
            work.over = True
        if rejected:
            self._ready.drop(lambda row: row.work.over)
        if rejected and all(isinstance(one, RowsRejectedError) for one in found):
            if self._setbacks.rejected_alike({work.delivery: error for work, error in rejected.items()}):
                self._claiming.close(work_left=False)  # no wake-up now, as above
            return
        for work, error in rejected.items():
            self._holding.done(work.delivery, result.failed(work.delivery, error))
        for row, one in answers:
            if not isinstance(one, RowsRejectedError) and (outcome := row.work.answer(row.number, one, served)):
                self._done(row.work.delivery, outcome)

    def _done(self, delivery: ClaimedImage, outcome: Outcome) -> None:
        self._holding.done(delivery, outcome)
        if digest := self._digests.get(delivery):
            self._parts.decoders.submit(self._parts.cache.put, digest, self._served, delivery.options, outcome)

    def _change_version(self) -> None:
        """Replace the pinned version, which was unloaded, by the target's current one.

        If that takes the same pixels, all prepared rows are sent to it. Otherwise all images are handed back, to be
        prepared again. Raises VersionGoneError if the model server still describes the missing version.
        """
        old, new = self._served, self._parts.models.current(self._target, fresh=True)
        if new.version == old.version:
            raise VersionGoneError(f"The model server describes version {old.version} and does not find it.")
        if new.contract.takes_same_pixels(old.contract):
            self._served = new
            for work in dict.fromkeys(row.work for row in self._ready.take_all()):
                for row in work.rows():  # all rows of an image must be answered by the same version
                    self._ready.add(row)
        else:
            self._claiming.close(work_left=True)
            self._hand_back_rest()

    def _settle(self) -> None:
        settled, duty_due = self._holding.settle()
        for one in settled if self._digests else ():
            self._digests.pop(one, None)
        if self._alone is not None and self._alone not in self._holding:
            self._alone = None
        if duty_due:
            self._parts.upkeep.submit(self._parts.duties.run_due)

    def _hand_back_rest(self) -> bool:
        """Put all images in flight back into their lanes; return whether there were any."""
        suspects = list(self._suspects)
        self._preparing.clear()
        self._ready.take_all()
        self._suspects.clear()
        self._alone = None
        return self._holding.hand_back_all(suspects)
