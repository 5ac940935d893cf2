"""The pipeline: claim, prepare, predict, decode and settle images, so that the model never waits for work.

The methods of `Pipeline` follow an image in this order. The steps of different images overlap: while the model works
on a batch, the images of the next one are claimed and prepared.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from serving.boxes.detections import Detections
from serving.client import ServedModel
from serving.errors import RowsRejectedError, VersionGoneError
from workers.errors import (
    ImageDecodeError,
    ImageError,
    ImageVersionGoneError,
    StoreUnavailableError,
    WorkerCrashedError,
)
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.result import Outcome, cached, failed
from workers.pipeline.claimer import LOOK_EVERY, Claimer
from workers.pipeline.context import PipelineContext
from workers.pipeline.failures import Failures
from workers.pipeline.in_flight import InFlight
from workers.pipeline.predicting import RowAnswer
from workers.pipeline.rows import ImageRows, Row, RowBuffer
from workers.queue.time_limits import Activity
from workers.queue.work_queue import MAX_STARTS
from workers.sources.decoding import Tiling, prepare
from workers.sources.memory.budget import waiting_in
from workers.sources.references import fetch, is_remote
from workers.telemetry.metrics import STAGE_SECONDS

log = structlog.get_logger(__name__)

_LATE_PART = 0.25  # share of a Predict's duration that the model may wait for late interactive images
_FIRST_GUESS = 0.1  # assumed seconds of a Predict, until one was timed
_PART_SECONDS = 1.0  # how long the model waits for images that would fill a batch
_QUIET_SECONDS = 1.0  # without progress, after which other work is done beside: it may wait for this process
_CRASHED = f"The worker died {MAX_STARTS} times while it processed this image: the file is probably malformed."
_UNEXPECTED = "The image could not be processed; the worker's log says why."


@dataclass(eq=False)
class _Preparation:
    """An image that is being prepared; `activity` is None until a thread does so, and `reading` until it is read."""

    image: ClaimedImage
    activity: Activity | None = None
    reading: bool = True

    @property
    def overdue(self) -> bool:
        return self.activity is not None and self.activity.overdue


class Pipeline:
    """Process the images in the lanes of one target for a time slice. Not thread-safe.

    `gone` is the error of images that ask for the target's version, if that is not served any more: it is their outcome
    unless their job takes another version, and `served` is that one.
    """

    def __init__(
        self, context: PipelineContext, target: str, served: ServedModel, gone: ImageVersionGoneError | None = None
    ) -> None:
        self._context = context
        self._target = target
        self._served = served
        self._gone = gone
        self._batch_rows = min(context.settings.batch_rows, served.contract.max_batch_rows)
        self._claimer = Claimer(context, target, self._batch_rows)
        self._in_flight = InFlight(context.queue, context.store, context.leases)
        self._failures = Failures(context, self._in_flight, target)
        self._preparing: dict[Future[ImageRows | Outcome], _Preparation] = {}
        self._ready = RowBuffer(self._batch_rows)
        self._predicting: Future[list[RowAnswer]] | None = None
        self._batch: list[Row] = []  # the rows that the model works on
        self._sent_at, self._predict_seconds = 0.0, _FIRST_GUESS
        self._late_until: float | None = None  # until when the next batch waits for late interactive images
        self._part_since: float | None = None  # since when the model waits for images that would fill a batch
        self._progress_at = time.monotonic()  # when an image was begun or prepared, or the model answered
        self._suspects: deque[ClaimedImage] = deque()  # being processed when a worker died: each runs alone
        self._running_suspect: ClaimedImage | None = None  # the suspect that is being processed
        self._in_vain = False  # whether the last claim brought only images by URL, and the fetcher refused some of them

    def run(self) -> bool:
        """Process images until none is left, the slice is over or the process is stopping; return whether work is left.

        Images that were not settled are handed back, also after an error. Raises ModelUnavailableError if the model
        server is down, ContractError if a contract cannot be used, StoreUnavailableError if Redis is down.
        """
        handed_back = False
        try:
            self._claim()
            while self._in_flight and not self._context.draining():
                self._predict()
                self._wait()
                self._collect()
                if not self._in_flight:
                    self._claim()
            if self._in_flight or self._predicting is not None:  # the process is stopping: settle the batch in flight
                if self._predicting is not None:
                    wait([self._predicting])
                self._collect()
        finally:
            handed_back = self._hand_back_rest()
        return (self._claimer.work_left and not self._in_vain) or handed_back

    def _wait(self) -> None:
        """Wait until an image is prepared or the model has answered, or it is time to look for interactive images."""
        futures: list[Future[Any]] = [*self._preparing]
        if self._predicting is not None:
            futures.append(self._predicting)
        self._context.attend(self._target, consuming=self._predicting is not None)
        left = self._late_until - time.monotonic() if self._late_until is not None else 0.0
        wait(futures, timeout=left if left > 0 else LOOK_EVERY, return_when=FIRST_COMPLETED)

    def _collect(self) -> None:
        """Take the images that are prepared and the model's answers, and settle the images that are done."""
        done = [future for future in self._preparing if future.done()]
        for future in done:
            self._take_prepared(future)
        self._take_overdue()
        if done or (self._predicting is not None and self._predicting.done()):
            self._progress_at = time.monotonic()
        elif time.monotonic() - self._progress_at > _QUIET_SECONDS:
            self._go_on_beside()
        if self._predicting is not None and self._predicting.done():
            self._decode()
        elif self._predicting is not None and self._claimer.may_look:
            self._claim()
        self._settle()

    def _go_on_beside(self) -> None:
        """Do duties and claim images beside what makes no progress: an image that hangs, or a model that is slow.

        Images are claimed beside a suspect too, but no other suspect is begun. So an image that is there when its
        worker dies has that death counted once: the next time it runs alone itself.
        """
        self._progress_at = time.monotonic()
        self._context.upkeep_thread.submit(self._context.duties.run_due)
        if self._predicting is None:
            self._claimer.begin_slice()
            self._claim(beside_suspects=True)

    # 1. Claim.

    def _claim(self, *, beside_suspects: bool = False) -> None:
        """Claim images for the room that is left beside the ready rows and those of images being prepared."""
        if (self._suspects or self._running_suspect) and not beside_suspects:
            return
        rows_ahead = self._ready.counts()
        for preparation in self._preparing.values():
            rows_ahead[preparation.image.lane] += preparation.image.rows
        claimed = self._claimer.claim(rows_ahead, self._served.version, busy=bool(self._in_flight))
        if self._gone is not None:
            claimed = self._fail_gone(claimed, self._gone)
        images = [image for image in claimed if not is_remote(image.ref)]
        refused = self._context.fetcher.fetch(self._target, [image for image in claimed if is_remote(image.ref)])
        self._in_vain = refused and not images
        if not images:
            return
        self._in_flight.add(images)
        for image in images:
            if image.starts >= MAX_STARTS:
                self._in_flight.done(failed(image, WorkerCrashedError(_CRASHED)))
            elif image.starts:
                self._suspects.append(image)
        self._start([image for image in images if not image.starts])
        self._settle()

    def _fail_gone(self, claimed: Sequence[ClaimedImage], gone: ImageVersionGoneError) -> list[ClaimedImage]:
        """Fail the images whose job takes no other version than the one that is gone; return the others."""
        failing = [image for image in claimed if image.options.version_fallback is None]
        self._in_flight.add(failing)
        for image in failing:
            self._in_flight.done(failed(image, gone))
        self._settle()
        return [image for image in claimed if image.options.version_fallback is not None]

    # 2. Prepare.

    def _start(self, images: Sequence[ClaimedImage]) -> None:
        self._progress_at = time.monotonic()
        for image in self._in_flight.start(images):
            preparation = _Preparation(image)
            self._preparing[self._context.decode_threads.submit(self._prepare, preparation)] = preparation

    def _prepare(self, preparation: _Preparation) -> ImageRows | Outcome:
        """Fetch and decode an image, in a thread; return its rows, or its outcome if its result is in the cache.

        What libraries log meanwhile, or warn of, names the image. Its time limit leaves out the wait for memory.
        """
        image = preparation.image
        context, options, digest = self._context, image.options, ""
        with (
            context.limits.limited("image", f"{image.job}/{image.index}", context.settings.image_seconds) as activity,
            waiting_in(activity.paused),
            structlog.contextvars.bound_contextvars(job=image.job, index=image.index, image=image.name),
        ):
            preparation.activity = activity
            with STAGE_SECONDS.timing("fetch"):
                content = fetch(image.ref, context.blobs, context.settings)
            if options.cache:
                digest = hashlib.sha256(content).hexdigest()
                if result := context.cache.look_up(digest, self._served, options):
                    return cached(image, result)
            preparation.reading = False
            scale = context.settings.tile_scale
            tiling = None if options.tiles == "off" else Tiling(options.grid, options.overlap, scale)
            with STAGE_SECONDS.timing("decode"):
                prepared = prepare(content, self._served.contract, context.settings.max_image_pixels, tiling)
        return ImageRows(image, prepared, digest)

    def _take_prepared(self, future: Future[ImageRows | Outcome]) -> None:
        image = self._preparing.pop(future).image
        try:
            prepared = future.result()
        except ImageError as error:
            self._in_flight.done(failed(image, error))
        except StoreUnavailableError as error:
            if self._failures.unreadable(image, error):
                self._claimer.close(work_left=False)  # no wake-up now: the sweep sends one once the breaker is closed
        except Exception:  # an unexpected error of a library must harm only this image
            log.exception("image failed", job=image.job, index=image.index)
            self._in_flight.done(failed(image, ImageDecodeError(_UNEXPECTED)))
        else:
            if isinstance(prepared, ImageRows):
                self._ready.add(prepared.rows())
            else:
                self._in_flight.done(prepared)

    def _take_overdue(self) -> None:
        """Give up waiting for images that take too long; the threads that still work on them are left to themselves.

        The process is told to stop meanwhile, and is replaced.
        """
        overdue = [future for future, item in self._preparing.items() if item.overdue and not future.done()]
        if overdue:
            self._context.limits.look()  # before the next claim
        for future in overdue:
            preparation = self._preparing.pop(future)
            self._failures.overdue(preparation.image, reading=preparation.reading)

    # 3. Predict.

    def _predict(self) -> None:
        """Send the next batch if the model is free: a full one, or all ready rows if no image is being prepared."""
        if self._predicting is not None or self._context.draining():
            return
        if self._suspects and not (self._ready or self._preparing or self._running_suspect):
            suspect = self._suspects[0]
            self._start([suspect])
            self._suspects.popleft()
            self._running_suspect = suspect if self._preparing else None  # None: it is no longer this worker's
        elif self._may_predict() and not self._waits_for_late():
            self._late_until = None
            self._batch = self._ready.take_batch()
            self._sent_at = time.monotonic()
            predict = partial(self._context.predictor.predict, self._served, self._batch, self._context.draining)
            self._predicting = self._context.predict_threads.submit(predict)
            self._claim()  # the next rows are claimed and prepared while the model works

    def _may_predict(self) -> bool:
        """Return whether to send a batch: a full one, or what is ready if nothing that is prepared would fill it soon.

        What is ready waits for at most a second, since an image that is being prepared may never be.
        """
        urgent = self._ready.count("interactive") and not self._prepares_interactive()
        if len(self._ready) >= self._batch_rows or urgent or not (self._ready and self._preparing):
            self._part_since = None
            return bool(self._ready)
        if self._part_since is None:
            self._part_since = time.monotonic()
        if time.monotonic() - self._part_since < _PART_SECONDS:
            return False
        self._part_since = None
        return True

    def _prepares_interactive(self) -> bool:
        return any(preparation.image.lane == "interactive" for preparation in self._preparing.values())

    def _waits_for_late(self) -> bool:
        """Claim late interactive images, and return whether the batch waits until they are prepared.

        It waits for at most a quarter of the last Predict's duration; images that are ready later join the next batch.
        Nothing is claimed unless such images wait, because a claim is synced to the disk twice and the model would be
        idle meanwhile.
        """
        if self._late_until is None:
            room = self._ready.count("interactive") < self._batch_rows
            if room and not self._running_suspect and self._context.queue.has_unclaimed(self._target, "interactive"):
                self._claim()
            self._late_until = time.monotonic() + _LATE_PART * self._predict_seconds
        return (
            self._ready.count("interactive") < self._batch_rows
            and self._prepares_interactive()
            and time.monotonic() < self._late_until
        )

    # 4. Decode.

    def _decode(self) -> None:
        """Turn the model's answers into outcomes of images: those whose last row was answered, or a row rejected."""
        assert self._predicting is not None
        predicted, batch, served = self._predicting, self._batch, self._served
        self._predicting, self._batch = None, []
        self._predict_seconds = time.monotonic() - self._sent_at
        try:
            answers = predicted.result()
        except VersionGoneError:
            self._ready.put_back(batch)
            self._change_version()
            return
        self._predict()  # the model is free: it works on the next batch while the outcomes of this one are made
        answered = [(row, answer) for row, answer in zip(batch, answers, strict=True) if not row.image.over]
        rejected = {row.image: answer for row, answer in answered if isinstance(answer, RowsRejectedError)}
        for image in rejected:
            image.over = True
        if rejected:
            self._ready.drop_over()
        if rejected and all(isinstance(answer, RowsRejectedError) for answer in answers):
            if self._failures.rejected_alike({image.claimed: error for image, error in rejected.items()}):
                self._claimer.close(work_left=False)  # no wake-up now, as in `_take_prepared`
            return
        for image, error in rejected.items():
            self._in_flight.done(failed(image.claimed, error))
        for row, answer in answered:
            if not isinstance(answer, RowsRejectedError):
                self._add_answer(row, answer, served)

    def _add_answer(self, row: Row, detections: Detections, served: ServedModel) -> None:
        image = row.image
        if outcome := image.add_answer(row.number, detections, served):
            self._in_flight.done(outcome)
            if image.digest:
                self._context.decode_threads.submit(self._keep, image, served, outcome)

    def _keep(self, image: ImageRows, served: ServedModel, outcome: Outcome) -> None:
        """Keep a result in the cache, in a thread."""
        context, claimed = self._context, image.claimed
        with context.limits.limited("result", f"{claimed.job}/{claimed.index}", context.settings.image_seconds):
            context.cache.put(image.digest, served, claimed.options, outcome)

    def _change_version(self) -> None:
        """Replace the pinned version, which was unloaded, by the target's current one.

        If that takes the same pixels and batches as large, all prepared rows are sent to it. Otherwise all images are
        handed back, to be prepared again. Raises VersionGoneError if the model server still describes the missing
        version.
        """
        old, new = self._served, self._context.models.current(self._target, fresh=True)
        if new.version == old.version:
            raise VersionGoneError(f"The model server describes version {old.version}, but cannot predict with it.")
        if new.contract.takes_same_pixels(old.contract) and new.contract.max_batch_rows >= self._batch_rows:
            self._served = new
            for image in dict.fromkeys(row.image for row in self._ready.take_all()):
                self._ready.add(image.rows())  # all rows of an image must be answered by the same version
        else:
            self._claimer.close(work_left=True)
            self._hand_back_rest()

    # 5. Settle.

    def _settle(self) -> None:
        """Store the outcomes so far, and have duties done if one is due."""
        duty_due = self._in_flight.settle()
        if self._running_suspect is not None and self._running_suspect not in self._in_flight:
            self._running_suspect = None
        if duty_due:
            self._context.upkeep_thread.submit(self._context.duties.run_due)

    def _hand_back_rest(self) -> bool:
        """Put all images in flight back into their lanes; return whether there were any."""
        suspects = list(self._suspects)
        self._preparing.clear()
        self._ready.take_all()
        self._suspects.clear()
        self._running_suspect = None
        return self._in_flight.hand_back_all(suspects)
