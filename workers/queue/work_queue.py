"""The work queue: Redis Streams hold the waiting and the claimed images.

See docs/decisions/0002-work-queue-details.md.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from workers.io.redis_link import RedisLink, translated
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.options import JobOptions, Lane
from workers.settings import Settings
from workers.telemetry.metrics import HAND_BACKS

MAX_STARTS = 3  # an image that was being processed at this many deaths of its worker fails as their cause
_GONE_FORGOTTEN_MS = 60_000
WINDOW_BATCHES = 4  # at most so many batches of one job wait in a lane


def window(settings: Settings) -> int:
    """Return how many rows of one job may wait unclaimed in a lane."""
    return WINDOW_BATCHES * settings.batch_rows


def window_images(rows: int, each: float) -> int:
    """Return how many images make `rows` rows, at `each` rows per image; at least one image."""
    return max(1, math.ceil(rows / each))


@dataclass(frozen=True)
class Claim:
    """The claimed images of one claim, whether a duty is due now, and whether `more` unclaimed images may be left."""

    images: list[ClaimedImage]
    duty_due: bool
    more: bool


class WorkQueue:
    """The queue as one consumer uses it. Every method raises StoreUnavailableError if Redis is down."""

    def __init__(self, link: RedisLink, settings: Settings, consumer: str) -> None:
        self._link = link
        self._window = window(settings)
        self._lease_ms = int(settings.lease_seconds * 1000)
        self.consumer = consumer

    def claim(self, target: str, room: int, *, interactive: int | None = None, kept_for_bulk: int = 0) -> Claim:
        """Claim waiting images of a target, of any job: about `room` rows in all.

        First come up to `kept_for_bulk` rows of the bulk lane, then up to `interactive` rows of the interactive lane
        (None: `room`), even if these exceed `room`. The bulk lane fills the rest. An image may make several rows, so
        the last image of each step may exceed its limit.
        """
        if interactive is None:
            interactive = room
        due = False
        while True:
            answer = json.loads(
                self._link.run("lanes/claim", target, self.consumer, interactive, room, kept_for_bulk, self._window)
            )
            due = due or answer["due"]
            if answer["items"] or not answer["more"]:  # otherwise it found only images whose result is not needed
                return Claim([_claimed_image(item) for item in answer["items"]], due, answer["more"])

    def has_unclaimed(self, target: str, lane: Lane) -> bool:
        """Return whether a lane has unclaimed images. Unlike a claim, this writes nothing to the disk."""
        return bool(self._link.run("lanes/has_unclaimed", target, lane))

    def take_over(self, target: str, room: int, keys: Iterable[tuple[str, str]]) -> list[ClaimedImage]:
        """Claim images whose worker has not renewed their lease, about `room` rows.

        An image that was started before is returned alone, since it may be what killed its worker. The last image may
        exceed `room`. `keys` are the entries of this process, which are never taken over.
        """
        mine = [f"{stream} {entry}" for stream, entry in keys]
        answer = self._link.run("lanes/takeover", target, self.consumer, self._lease_ms, room, *mine)
        return [_claimed_image(item) for item in json.loads(answer)]

    def start(self, images: Sequence[ClaimedImage]) -> set[tuple[str, str]]:
        """Count that the processing of these images begins. An image fails if three workers die while they process it.

        Returns stream and entry id of those that are no longer this consumer's, or whose result is not needed.
        """
        flat = [
            field for image in images for field in (*image.key, image.job, image.index, image.attempt, image.starts)
        ]
        return _keys(self._link.run("lanes/start", self.consumer, *flat))

    def renew(self, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Renew the leases of these entries; return those that are no longer this consumer's."""
        return _keys(self._link.run("lanes/renew", self.consumer, *itertools.chain(*keys)))

    def pause(self, target: str, seconds: float) -> None:
        """Open the breaker: no worker claims images of the target for so many seconds."""
        with translated():
            self._link.client.set(breaker_key(target), "1", px=int(seconds * 1000))

    def version_gone(self, target: str) -> float:
        """Note that the model server does not have the version of a target; return for how many seconds it has not.

        They count from the first call, if a call came in every minute since and none of `version_found`.
        """
        return int(self._link.run("lanes/version_gone", target, _GONE_FORGOTTEN_MS)) / 1000

    def version_found(self, target: str) -> None:
        """Note that the model server has the version of a target."""
        with translated():
            self._link.client.delete(f"sl:version-gone:{target}")

    def hand_back(self, images: Sequence[ClaimedImage], *, started: bool = True, fault: bool = False) -> None:
        """Put images back at the end of their lane, for any worker to claim.

        With `started` their start count is lowered again: a hand-back is not a death of a worker. With `fault` the
        failure counts against the image's retry budget, which an outage must not.
        """
        if images:
            HAND_BACKS.add(by=len(images))
            flat = [field for image in images for field in (*image.key, int(started), int(fault), "")]
            self._link.run("lanes/handback", self.consumer, *flat)

    def hand_back_with_ref(self, image: ClaimedImage, ref: str) -> bool:
        """Put an image that was not started back into its lane, with another reference.

        Returns False if that was not done: it is no longer this consumer's, or its result is not needed.
        """
        return bool(self._link.run("lanes/handback", self.consumer, *image.key, 0, 0, ref))

    def is_gone(self, image: ClaimedImage) -> bool:
        """Return whether the image's job was deleted."""
        with translated():
            return not self._link.client.exists(f"sl:job:{image.job}")


def breaker_key(target: str) -> str:
    """Return the Redis key that exists while the breaker of a target is open."""
    return f"sl:breaker:{target}"


def _keys(answer: Iterable[str]) -> set[tuple[str, str]]:
    """Parse the texts "stream entry" of a script's answer."""
    return {(stream, entry) for stream, _, entry in (text.partition(" ") for text in answer)}


def _claimed_image(item: dict[str, object]) -> ClaimedImage:
    options = JobOptions.from_json(str(item.pop("options")))
    return ClaimedImage(options=options, **item)  # type: ignore[arg-type]  # written by lib/lanes.lua
