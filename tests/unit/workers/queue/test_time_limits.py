"""Time limits of what a thread may hang in."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.polling import wait_until
from workers.queue import time_limits
from workers.queue.time_limits import Activity, SpareThreads, TimeLimits

NEVER = 1e6  # seconds


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limits, "_LOOK_SECONDS", 0.01)


@pytest.fixture
def overdue() -> list[str]:
    """What the limits under test called, in order."""
    return []


@pytest.fixture
def limits(overdue: list[str]) -> Iterator[TimeLimits]:
    made = TimeLimits(lambda: overdue.append("overdue"), beat=lambda: overdue.append("beat"), grace=0.0)
    yield made
    made.stop()


def test_what_ends_in_time_is_no_matter(limits: TimeLimits, overdue: list[str]) -> None:
    """The process beats and goes on."""
    with limits.limited("image", "a", NEVER):
        wait_until(lambda: overdue.count("beat") > 2)
    assert "overdue" not in overdue
    assert not limits.exceeded


def test_what_hangs_is_noticed_once_and_the_process_falls_silent(limits: TimeLimits, overdue: list[str]) -> None:
    """After the grace: so that the main process kills it, if it has not ended by then."""
    with limits.limited("image", "a", 0.0), limits.limited("image", "b", 0.0):
        wait_until(lambda: limits.exceeded)
        wait_until(lambda: "overdue" in overdue)
        said = len(overdue)
        limits._thread.join(0.1)
    assert overdue.count("overdue") == 1
    assert len(overdue) == said


def test_pauses_and_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that a thread waits for others does not count, and a sign of life begins anew."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    activity = Activity("image", "a", 10.0)
    now[0] = 8.0
    with activity.paused():
        now[0] = 108.0
        assert activity.seconds == 8.0
    now[0] = 111.0
    assert (activity.seconds, activity.overdue) == (11.0, True)
    activity.renew()
    assert (activity.seconds, activity.overdue) == (0.0, False)


def test_a_slow_task_does_not_keep_others_of_its_kind(limits: TimeLimits, monkeypatch: pytest.MonkeyPatch) -> None:
    """They run beside it once it is slow; until then they wait for it, in order."""
    monkeypatch.setattr(time_limits, "_SLOW_SECONDS", 0.05)
    threads, go, began = SpareThreads("duty", limits), threading.Event(), threading.Event()

    def hang() -> None:
        with limits.limited("duty", "a", NEVER):
            began.set()
            go.wait(60)

    hung = threads.submit(hang)
    began.wait(60)
    behind = threads.submit(time.monotonic)
    wait_until(lambda: limits.is_slow("duty"))
    assert threads.submit(lambda: "beside").result(60) == "beside"
    assert not behind.done()
    assert not hung.done()
    go.set()
    behind.result(60)
    threads.shutdown()
