"""The work queue: Redis Streams hold the work. See the design, "Work queue"."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from workers.io.redis_link import RedisLink, translated
from workers.jobs.claimed_image import Delivery
from workers.jobs.options import JobOptions, Lane
from workers.settings import Settings
from workers.telemetry.metrics import HAND_BACKS

MOST_STARTS = 3  # an image that was being processed at so many deaths of its worker is what kills it
WINDOW_BATCHES = 4  # so many batches' images of a job wait in a lane at most


def window(settings: Settings) -> int:
    """How many rows of one job's unclaimed images may wait in a lane."""
    return WINDOW_BATCHES * settings.batch_rows


def window_images(rows: int, each: float) -> int:
    """How many images make so many rows, at least one."""
    return max(1, math.ceil(rows / each))


@dataclass(frozen=True)
class Claim:
    """What one claim brought: deliveries, whether a duty is due now, whether unclaimed work may be left."""

    deliveries: list[Delivery] = field(default_factory=list)
    duty_due: bool = False
    more: bool = False


class WorkQueue:
    """One consumer's view of the queue. Every method raises StoreUnavailableError where Redis is down."""

    def __init__(self, link: RedisLink, settings: Settings, consumer: str) -> None:
        self._link = link
        self._window = window(settings)
        self._lease_ms = int(settings.lease_seconds * 1000)
        self.consumer = consumer

    def claim(self, target: str, most: int, *, interactive: int | None = None, kept: int = 0) -> Claim:
        """Take waiting images of a target that make `most` rows, whatever their jobs, interactive lane first.

        Of the interactive lane up to `interactive` rows are taken, even if these are more than `most`. Up to `kept` are
        taken of the bulk lane before that. The last image taken may make more rows than there is room for.
        """
        late = most if interactive is None else interactive
        due = False
        while True:
            answer = json.loads(self._link.run("lanes/claim", target, self.consumer, late, most, kept, self._window))
            due = due or answer["due"]
            if answer["items"] or not answer["more"]:  # else it met nothing but images that nobody waits for
                return Claim([_delivery(item) for item in answer["items"]], due, answer["more"])

    def waits(self, target: str, lane: Lane) -> bool:
        """Whether an image of a lane waits that nobody has claimed; unlike a claim it writes nothing to the disk."""
        return bool(self._link.run("lanes/has_unclaimed", target, lane))

    def take_over(self, target: str, most: int, held: Iterable[tuple[str, str]]) -> list[Delivery]:
        """Take images that make `most` rows, whose worker gave no sign of life for a lease.

        One that was started before comes alone. The last image taken may make more rows than there is room for.
        """
        mine = [f"{stream} {entry}" for stream, entry in held]
        return [
            _delivery(item)
            for item in json.loads(
                self._link.run("lanes/takeover", target, self.consumer, self._lease_ms, most, *mine),
            )
        ]

    def start(self, deliveries: Sequence[Delivery]) -> set[tuple[str, str]]:
        """Count that the processing of these images begins: the third death of a worker meanwhile is the image's.

        Returns those that are no longer this consumer's, or whose result nobody waits for any more.
        """
        flat = [part for one in deliveries for part in (*one.held, one.job, one.index, one.attempt, one.starts)]
        return _held(self._link.run("lanes/start", self.consumer, *flat))

    def renew(self, held: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Extend the lease of what is still this consumer's; returns what is not."""
        return _held(self._link.run("lanes/renew", self.consumer, *(part for one in held for part in one)))

    def pause(self, target: str, seconds: float) -> None:
        """Open the breaker: for so long nobody claims images of the target."""
        with translated():
            self._link.client.set(breaker_key(target), "1", px=int(seconds * 1000))

    def hand_back(self, deliveries: Sequence[Delivery], *, started: bool = True, fault: bool = False) -> None:
        """Put images back at the end of their lane, for whoever comes next.

        `fault` counts against the image's retry budget; an outage does not.
        """
        if deliveries:
            HAND_BACKS.add(by=len(deliveries))
            flat = [part for one in deliveries for part in (*one.held, int(started), int(fault), "")]
            self._link.run("lanes/handback", self.consumer, *flat)

    def hand_on(self, delivery: Delivery, ref: str) -> bool:
        """Put an image that was not started back into its lane with another reference; says whether it is there."""
        return bool(self._link.run("lanes/handback", self.consumer, *delivery.held, 0, 0, ref))

    def is_gone(self, delivery: Delivery) -> bool:
        """Whether the image's job was deleted."""
        with translated():
            return not self._link.client.exists(f"sl:job:{delivery.job}")


def breaker_key(target: str) -> str:
    """What is there while the breaker is open."""
    return f"sl:breaker:{target}"


def _held(answer: Iterable[str]) -> set[tuple[str, str]]:
    """What scripts name as "stream entry"."""
    return {(stream, entry) for stream, _, entry in (one.partition(" ") for one in answer)}


def _delivery(item: dict[str, object]) -> Delivery:
    options = JobOptions.from_json(str(item.pop("options")))
    return Delivery(options=options, **item)  # type: ignore[arg-type]  # written by lib/lanes.lua
