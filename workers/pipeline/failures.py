"""What becomes of images that could not be processed through no fault of theirs, as far as one can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from serving.errors import RowsRejectedError
from workers.errors import ImageMissingError, StoreUnavailableError
from workers.jobs import result
from workers.jobs.claimed_image import Delivery
from workers.pipeline.context import Parts
from workers.pipeline.in_flight import Holding

log = structlog.get_logger(__name__)

_MOST_FAULTS = 3  # deliveries in which the model rejected every row alike before that is the image's result


class Setbacks:
    """Hands images back, or fails them once their retry budget is used up. Each method says whether any wait again."""

    def __init__(self, parts: Parts, holding: Holding, target: str) -> None:
        self._parts = parts
        self._holding = holding
        self._target = target

    def unreadable(self, delivery: Delivery, error: StoreUnavailableError) -> bool:
        """The blob store did not give an image: an outage, unless the rest of it can be read time after time."""
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

    def rejected_alike(self, rejected: Mapping[Delivery, RowsRejectedError]) -> bool:
        """If every row fails alike it is the model: the images wait, and are the model's failures only after that."""
        first = next(iter(rejected.values()))
        log.warning("the model rejects every row", target=self._target, images=len(rejected), error=str(first))
        again: list[Delivery] = []
        for one, error in rejected.items():
            if one.faults + 1 < _MOST_FAULTS:
                again.append(one)
            else:
                self._holding.done(one, result.failed(one, error))
        if again:
            self._wait_with(again, fault=True)
        return bool(again)

    def _wait_with(self, deliveries: Sequence[Delivery], *, fault: bool) -> None:
        """Hand images back and open the breaker, longer each time, so that their retry budget lasts a while."""
        self._holding.hand_back(deliveries, fault=fault)
        self._parts.queue.pause(self._target, 2.0 ** min(one.faults for one in deliveries))
