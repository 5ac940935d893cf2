"""The claimer: how many images a pipeline claims from its lanes, and when it stops claiming."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import structlog

from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.options import Lane
from workers.pipeline.context import PipelineContext
from workers.pipeline.rows import kept_for_bulk
from workers.sources.references import is_remote
from workers.telemetry.metrics import STAGE_SECONDS, TAKEOVERS

log = structlog.get_logger(__name__)

LOOK_EVERY: Final = 0.025  # seconds between claims of late interactive images while the model works
_TAKEOVER_EVERY: Final = 1.0  # seconds between attempts to take over images of dead workers


class Claimer:
    """Claim images of one target until the time slice is over.

    `work_left` then says whether unclaimed images may be left.
    """

    def __init__(self, context: PipelineContext, target: str, batch_rows: int) -> None:
        self._context = context
        self._target = target
        self._batch_rows = batch_rows
        self._ends_at = time.monotonic() + context.settings.slice_seconds
        self._next_takeover = 0.0
        self._looked_at = 0.0
        self._last_slice = False  # because other work waits
        self._closed = False
        self._slice_over = False  # why it is closed, if it is
        self.work_left = False

    def close(self, *, work_left: bool) -> None:
        """Stop claiming; `work_left` says whether unclaimed images may be left."""
        self._closed = True
        self.work_left = work_left

    def begin_slice(self) -> None:
        """Claim for another time slice if the last one is over, though other work waits: it cannot be taken anyway."""
        if not self._closed or self._slice_over:
            self._closed = self._slice_over = self._last_slice = False
            self._ends_at = time.monotonic() + self._context.settings.slice_seconds

    @property
    def may_look(self) -> bool:
        """Whether the next claim of late interactive images is due, while the model works."""
        return not self._closed and time.monotonic() - self._looked_at >= LOOK_EVERY

    def claim(self, rows_ahead: Mapping[Lane, int], version: int, *, busy: bool) -> list[ClaimedImage]:
        """Claim images to prepare. `rows_ahead` is the number of rows of each lane that are ready or being prepared.

        There is room for two batches of rows: one for the next Predict, one that is prepared meanwhile. Up to a batch
        of interactive rows may exceed that, since they go first. Images that were started before are claimed one at a
        time, and nothing is claimed beside them.

        When the slice is over, another follows unless other work waits for this worker. In that case only interactive
        images are still claimed, for at most one more slice and only while the model is `busy` with the rest.
        Otherwise they would have to wait for that rest and for the start of the next slice.

        Raises StoreUnavailableError if Redis is down.
        """
        if self._closed:
            return []
        slice_seconds = self._context.settings.slice_seconds
        if not self._last_slice and time.monotonic() >= self._ends_at:
            self._last_slice = not self._context.may_continue(self._target, version)
            self._ends_at = time.monotonic() + (0 if self._last_slice else slice_seconds)
        over_for = time.monotonic() - self._ends_at if self._last_slice else -1.0
        if self._context.draining() or (over_for >= 0 and not busy) or over_for >= slice_seconds:
            self.close(work_left=True)
            self._slice_over = True
            return []
        self._looked_at = time.monotonic()
        batch, room = self._batch_rows, 2 * self._batch_rows - sum(rows_ahead.values())
        if room < batch or over_for >= 0:
            room = 0
        taken = self._take_over(room) if room else []
        room = max(0, room - sum(image.rows for image in taken))
        interactive = max(room, batch - rows_ahead["interactive"])
        if any(image.starts for image in taken) or interactive <= 0:
            self.work_left = self.work_left or bool(taken)
            return taken
        for_bulk = min(room, max(0, 2 * kept_for_bulk(batch) - rows_ahead["bulk"]))
        with STAGE_SECONDS.timing("claim"):
            claim = self._context.queue.claim(self._target, room, interactive=interactive, kept_for_bulk=for_bulk)
        if claim.duty_due:
            self._context.upkeep_thread.submit(self._context.duties.run_due)
        if room:
            if claim.more and not self.work_left and not all(is_remote(image.ref) for image in claim.images):
                self._context.wake(self._target)  # wake further processes to share the work
            self.work_left = claim.more
        return taken + claim.images

    def _take_over(self, room: int) -> list[ClaimedImage]:
        if time.monotonic() < self._next_takeover:
            return []
        taken = self._context.queue.take_over(self._target, room, self._context.leases.keys)
        if taken:  # there may be more, so the next claim tries again at once
            TAKEOVERS.add(by=len(taken))
            log.warning("took over images of a worker that gave no sign of life", images=len(taken))
        else:
            self._next_takeover = time.monotonic() + _TAKEOVER_EVERY
        return taken
