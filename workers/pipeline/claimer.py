"""What a pipeline takes from its lanes, and when it takes nothing more."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from workers.jobs.claimed_image import Delivery
from workers.jobs.options import Lane
from workers.pipeline.context import Parts
from workers.pipeline.row_buffer import kept_for_bulk
from workers.sources.references import is_remote
from workers.telemetry.metrics import STAGE_SECONDS, TAKEOVERS

log = structlog.get_logger(__name__)

LOOK_EVERY: Final = 0.025  # seconds between looks for late interactive images while the model works
_TAKEOVER_EVERY: Final = 1.0  # seconds between looks for images whose worker died


class Claiming:
    """Claims for one target until the time slice is over. `work_left` says whether others find work after that."""

    def __init__(self, parts: Parts, target: str, batch_rows: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._target = target
        self._batch_rows = batch_rows
        self._clock = clock
        self._ends_at = clock() + parts.settings.slice_seconds
        self._next_takeover = 0.0
        self._looked_at = 0.0
        self._last = False  # this slice, since somebody else waits
        self._closed = False
        self.work_left = False

    def close(self, *, work_left: bool) -> None:
        """Take nothing more."""
        self._closed = True
        self.work_left = work_left

    @property
    def may_look(self) -> bool:
        """Whether a look for late images is due, while the model works."""
        return not self._closed and self._clock() - self._looked_at >= LOOK_EVERY

    def claim(self, in_hand: Mapping[Lane, int], version: int, *, busy: bool) -> list[Delivery]:
        """Images to be prepared, given how many of each lane are in hand, ready or on their way to it.

        There is room for two batches of bulk: one for the next Predict, one to be prepared meanwhile. Interactive
        images come on top of that, up to a batch, since they go in front. What was started before comes alone.

        Once the slice is over another follows, unless somebody else waits for this worker. Then only interactive images
        are still taken, for as long again at most and only where the model is `busy` with what is left: they would
        wait for that and for the next slice's beginning.
        """
        if self._closed:
            return []
        if not self._last and self._clock() >= self._ends_at:
            self._last = not self._parts.renew(self._target, version)
            self._ends_at = self._clock() + (0 if self._last else self._parts.settings.slice_seconds)
        over_for = self._clock() - self._ends_at if self._last else -1.0
        if self._parts.draining() or (over_for >= 0 and not busy) or over_for >= self._parts.settings.slice_seconds:
            self.close(work_left=True)
            return []
        self._looked_at = self._clock()
        rows, most = self._batch_rows, 2 * self._batch_rows - sum(in_hand.values())
        room = most if most >= rows and over_for < 0 else 0
        taken = self._take_over(room) if room else []
        room = max(0, room - sum(one.rows for one in taken))
        interactive = max(room, rows - in_hand["interactive"])
        if any(one.starts for one in taken) or interactive <= 0:
            self.work_left = self.work_left or bool(taken)
            return taken
        kept = max(0, 2 * kept_for_bulk(rows) - in_hand["bulk"])
        with STAGE_SECONDS.timing("claim"):
            claim = self._parts.queue.claim(self._target, room, interactive=interactive, kept=min(kept, room))
        if claim.duty_due:
            self._parts.upkeep.submit(self._parts.duties.run_due)
        if room:
            if claim.more and not self.work_left and not all(is_remote(one.ref) for one in claim.deliveries):
                self._parts.ring(self._target)  # further processes may help
            self.work_left = claim.more
        return taken + claim.deliveries

    def _take_over(self, most: int) -> list[Delivery]:
        if self._clock() < self._next_takeover:
            return []
        taken = self._parts.queue.take_over(self._target, most, self._parts.leases.held)
        if taken:  # then there may be more
            TAKEOVERS.add(by=len(taken))
            log.warning("took over images of a worker that gave no sign of life", images=len(taken))
        else:
            self._next_takeover = self._clock() + _TAKEOVER_EVERY
        return taken
