"""Retry or fail images whose processing failed for a reason that may lie outside the image (storage, model server)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from serving.errors import RowsRejectedError
from workers.errors import ImageMissingError, StoreUnavailableError
from workers.jobs import result
from workers.jobs.claimed_image import ClaimedImage
from workers.pipeline.context import PipelineContext
from workers.pipeline.in_flight import InFlight

log = structlog.get_logger(__name__)

_MOST_FAULTS = 3  # the retry budget of an image: the failure with this number is its result


class Failures:
    """Hand images back, or fail them once their retry budget is used up.

    Each method returns whether an image was handed back, and so waits again. Each raises StoreUnavailableError if Redis
    is down.
    """

    def __init__(self, parts: PipelineContext, holding: InFlight, target: str) -> None:
        self._parts = parts
        self._holding = holding
        self._target = target

    def unreadable(self, delivery: ClaimedImage, error: StoreUnavailableError) -> bool:
        """Retry or fail an image that the blob store did not return.

        The image fails at its last retry if the blob store works otherwise. If it does not, this is an outage, which
        does not count against the image.
        """
        fault = True
        if delivery.faults + 1 >= _MOST_FAULTS:
            try:
                self._parts.blobs.check()
            except StoreUnavailableError:
                fault = False
            else:
                self._holding.done(delivery, result.failed(delivery, ImageMissingError(str(error))))
                return False
        log.warning("image waits", job=delivery.job, index=delivery.index, error=str(error))
        self._wait_with([delivery], fault=fault)
        return True

    def rejected_alike(self, rejected: Mapping[ClaimedImage, RowsRejectedError]) -> bool:
        """Retry or fail the images of a batch of which the model rejected every row.

        The cause is then probably the model and not an image, so the images fail only once their retry budget is used
        up.
        """
        first = next(iter(rejected.values()))
        log.warning("the model rejects every row", target=self._target, images=len(rejected), error=str(first))
        again: list[ClaimedImage] = []
        for one, error in rejected.items():
            if one.faults + 1 < _MOST_FAULTS:
                again.append(one)
            else:
                self._holding.done(one, result.failed(one, error))
        if again:
            self._wait_with(again, fault=True)
        return bool(again)

    def _wait_with(self, deliveries: Sequence[ClaimedImage], *, fault: bool) -> None:
        """Hand images back and open the breaker, longer with each fault, so that the retry budget lasts a while."""
        self._holding.hand_back(deliveries, fault=fault)
        self._parts.queue.pause(self._target, 2.0 ** min(one.faults for one in deliveries))
