"""Leases: renewed, expired, and taken over."""

from __future__ import annotations

import dataclasses
import io
import time
from collections.abc import Sequence

import pytest
import structlog

from tests.integration.workers.queue.conftest import Bench, outcome, taken_over
from tests.support.machine import SLOWNESS
from tests.support.polling import wait_until
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.options import JobOptions
from workers.jobs.result import Outcome
from workers.pipeline.in_flight import InFlight, Leases
from workers.queue.work_queue import WorkQueue
from workers.sources.origins.simple import Files


def test_a_dead_workers_images_are_taken_over_after_the_lease(bench: Bench) -> None:
    """Nothing is taken before the lease is over, all of it after; what another took cannot be handed back."""
    job = bench.submit(5)
    old = bench.queue.claim("default", 8).images
    assert bench.other_queue.take_over("default", 8, []) == []
    taken = taken_over(bench, 8)
    assert [image.index for image in taken] == [0, 1, 2, 3, 4]
    bench.queue.hand_back(old)
    assert bench.check(job.id).running == 5
    bench.settle(taken)
    bench.settle(old)
    assert bench.check(job.id).succeeded == 5


def test_a_renewed_lease_is_not_taken_over(bench: Bench) -> None:
    """As long as a worker renews, its images stay its own; what was taken meanwhile is named as lost."""
    bench.submit(2)
    held = [image.key for image in bench.queue.claim("default", 8).images]
    end = time.monotonic() + 3 * bench.settings.lease_seconds
    while time.monotonic() < end:
        assert bench.queue.renew(held) == set()
        assert bench.other_queue.take_over("default", 8, []) == []
    wait_until(lambda: bench.other_queue.take_over("default", 8, []))
    assert bench.queue.renew(held) == set(held)


def test_an_image_that_was_started_is_taken_over_alone(bench: Bench) -> None:
    """Started images come one at a time, the others together; three starts are told."""
    bench.submit(4)
    got = bench.queue.claim("default", 8).images
    bench.queue.start(got[:2])
    bench.queue.start([dataclasses.replace(got[0], starts=2)])
    rounds: list[list[tuple[int, int]]] = []

    def look() -> bool:
        taken = bench.other_queue.take_over("default", 8, [])
        if taken:
            rounds.append([(image.index, image.starts) for image in taken])
        return sum(len(images) for images in rounds) == 4

    wait_until(look)
    assert sorted(rounds) == [[(0, 3)], [(1, 1)], [(2, 0), (3, 0)]]


def test_what_the_caller_holds_itself_is_not_taken_over(bench: Bench) -> None:
    """A worker that was paused does not take its own images from itself."""
    bench.submit(1)
    (mine,) = bench.queue.claim("default", 8).images
    wait_until(lambda: bench.queue.take_over("default", 8, []))
    end = time.monotonic() + 2 * bench.settings.lease_seconds
    while time.monotonic() < end:
        assert bench.queue.take_over("default", 8, [mine.key]) == []


def test_a_restarted_redis_gives_everyone_one_lease(bench: Bench) -> None:
    """Right after a restart of Redis all leases look old, and nothing may be taken: the uptime tells."""
    slow = WorkQueue(bench.link, bench.settings.model_copy(update={"lease_seconds": 3600.0}), "slow")
    bench.submit(1)
    (image,) = bench.queue.claim("default", 8).images
    bench.link.client.xclaim(image.stream, "workers", "one", 0, [image.entry], idle=7_200_000)
    assert slow.take_over("default", 8, []) == []


def test_renewal_outlives_a_redis_that_refuses(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal that is no lost connection does not end the renewals: the image is not taken over afterwards."""
    settings = bench.settings.model_copy(update={"lease_seconds": 3.0 * SLOWNESS})
    mine, other = (WorkQueue(bench.link, settings, name) for name in ("mine", "other"))
    refusals: list[Exception] = []
    renew = mine.renew

    def renew_or_remember(held: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        try:
            return renew(held)
        except Exception as error:
            refusals.append(error)
            raise

    monkeypatch.setattr(mine, "renew", renew_or_remember)
    bench.submit(1)
    leases = Leases(mine, settings.lease_seconds)
    leases.add(mine.claim("default", 1).images)
    bench.link.client.config_set("min-replicas-to-write", 1)
    try:
        wait_until(lambda: refusals, what="a renewal that is refused")
    finally:
        bench.link.client.config_set("min-replicas-to-write", 0)
    end = time.monotonic() + 2 * settings.lease_seconds
    while time.monotonic() < end:
        assert other.take_over("default", 8, []) == []
    leases.stop()


class Renewals:
    """The queue of a worker, which counts the renewals that Redis has answered."""

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue
        self.count = 0

    def renew(self, held: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        lost = self._queue.renew(held)
        self.count += 1
        return lost

    def start(self, images: Sequence[ClaimedImage]) -> set[tuple[str, str]]:
        return self._queue.start(images)

    def wait_for(self, more: int) -> None:
        """Wait until that many renewals began and ended from now on."""
        at = self.count + 1 + more  # the one that runs now may have begun before
        wait_until(lambda: self.count >= at, 60, "the renewals")


class SlowStore:
    """A store whose settle takes several renewals, before and after the script."""

    def __init__(self, bench: Bench, renewals: Renewals) -> None:
        self._bench = bench
        self._renewals = renewals

    def settle(self, outcomes: Sequence[Outcome], seconds: float) -> bool:
        self._renewals.wait_for(4)  # a third of a lease each: longer than a lease
        assert self._bench.other_queue.take_over("default", 8, []) == []
        due = self._bench.store.settle(outcomes, seconds)
        self._renewals.wait_for(1)
        return due


def test_a_settle_that_takes_longer_than_a_lease(bench: Bench) -> None:
    """The leases are renewed until the script ends. No other worker takes the images over, and the log names none.

    A renewal that comes between the script and its answer finds no entry any more: that is the end of the lease.
    """
    renewals = Renewals(bench.queue)
    leases = Leases(renewals, bench.settings.lease_seconds)  # type: ignore[arg-type]  # all of a queue that it needs
    in_flight = InFlight(renewals, SlowStore(bench, renewals), leases)  # type: ignore[arg-type]
    job = bench.submit(2)
    with structlog.testing.capture_logs() as logs:
        in_flight.add(bench.queue.claim("default", 8).images)
        for image in list(in_flight._images.values()):
            in_flight.done(outcome(image, "{}"))
        in_flight.settle()
        assert (bool(in_flight), leases.keys) == (False, [])
        leases.stop()
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == []
    assert bench.check(job.id).succeeded == 2


def test_the_start_of_a_canceled_image_is_no_take_over(bench: Bench) -> None:
    """The script that gives it up ends its lease; a renewal meanwhile does not say that another worker has it."""
    renewals = Renewals(bench.queue)
    leases = Leases(renewals, bench.settings.lease_seconds)  # type: ignore[arg-type]
    in_flight = InFlight(renewals, bench.store, leases)  # type: ignore[arg-type]
    job = bench.submit(2)
    start = renewals.start

    def start_slowly(images: Sequence[ClaimedImage]) -> set[tuple[str, str]]:
        lost = start(images)
        renewals.wait_for(1)
        return lost

    renewals.start = start_slowly  # type: ignore[method-assign]
    with structlog.testing.capture_logs() as logs:
        images = bench.queue.claim("default", 8).images
        in_flight.add(images)
        bench.store.cancel(job.id)
        assert in_flight.start(images) == []
        leases.stop()
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == []


def test_what_is_taken_over_is_counted_in_rows(bench: Bench) -> None:
    """An image in tiles makes many rows. A claim ends with the image that fills the room; its rows may exceed it."""
    files = [(f"{number}.jpg", io.BytesIO(b"x")) for number in range(6)]
    bench.intake.submit(Files(files), JobOptions("default", tiles="2x3"))
    assert [image.rows for image in bench.queue.claim("default", 42).images] == [7] * 5
    taken = taken_over(bench, 16)
    assert len(taken) == 3
