"""Retry or fail images whose processing failed for a reason that may lie outside the image (storage, model server)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from serving.errors import RowsRejectedError
from workers.errors import ImageMissingError, ImageTimeoutError, StoreUnavailableError
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.result import failed
from workers.pipeline.context import PipelineContext
from workers.pipeline.in_flight import InFlight
from workers.queue.work_queue import MAX_STARTS
from workers.telemetry.metrics import OVERDUE

log = structlog.get_logger(__name__)

_MAX_FAULTS = 3  # the retry budget of an image: the failure with this number is its result


class Failures:
    """Hand images back, or fail them once their retry budget is used up.

    Each method returns whether an image was handed back, and so waits again. Each raises StoreUnavailableError if Redis
    is down.
    """

    def __init__(self, context: PipelineContext, in_flight: InFlight, target: str) -> None:
        self._context = context
        self._in_flight = in_flight
        self._target = target

    def unreadable(self, image: ClaimedImage, error: StoreUnavailableError) -> bool:
        """Retry or fail an image that the blob store did not return.

        The image fails at its last retry if the blob store works otherwise. If it does not, this is an outage, which
        does not count against the image.
        """
        fault = image.faults + 1 < _MAX_FAULTS or not self._is_outage()
        if fault and image.faults + 1 >= _MAX_FAULTS:
            self._in_flight.done(failed(image, ImageMissingError(str(error))))
            return False
        log.warning("image waits", job=image.job, index=image.index, error=str(error))
        self._hand_back([image], fault=fault)
        return True

    def overdue(self, image: ClaimedImage, *, reading: bool) -> None:
        """Retry or fail an image that took too long to prepare; `reading` says that it was not read in that time.

        It counts as one that killed its worker: it is handed back as such, and fails the third time. If the whole blob
        store does not answer, this is an outage, which does not count against the image.
        """
        OVERDUE.add("read" if reading else "decode")
        seconds, doing = self._context.settings.image_seconds, "read" if reading else "decode"
        log.warning("image takes too long", job=image.job, index=image.index, to=doing, seconds=seconds)
        if reading and self._is_outage():
            self._hand_back([image], fault=False)
        elif image.starts + 1 >= MAX_STARTS:
            text = (
                f"To {doing} the image took longer than {seconds:g} s, after {MAX_STARTS - 1} attempts that did not "
                "end either: send an intact file, or raise SHELFLINE_IMAGE_SECONDS."
            )
            self._in_flight.done(failed(image, ImageTimeoutError(text)))
        else:
            self._in_flight.hand_back([image], fault=False, as_death=True)

    def _is_outage(self) -> bool:
        try:
            self._context.blobs.check()
        except StoreUnavailableError:
            return True
        return False

    def rejected_alike(self, rejected: Mapping[ClaimedImage, RowsRejectedError]) -> bool:
        """Retry or fail the images of a batch of which the model rejected every row.

        The cause is then probably the model and not an image, so the images fail only once their retry budget is used
        up.
        """
        first = next(iter(rejected.values()))
        log.warning("the model rejects every row", target=self._target, images=len(rejected), error=str(first))
        retried = [image for image in rejected if image.faults + 1 < _MAX_FAULTS]
        for image, error in rejected.items():
            if image not in retried:
                self._in_flight.done(failed(image, error))
        if retried:
            self._hand_back(retried, fault=True)
        return bool(retried)

    def _hand_back(self, images: Sequence[ClaimedImage], *, fault: bool) -> None:
        """Hand images back and open the breaker, longer with each fault, so that the retry budget lasts a while."""
        self._in_flight.hand_back(images, fault=fault)
        self._context.queue.pause(self._target, 2.0 ** min(image.faults for image in images))
