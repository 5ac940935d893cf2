"""The thread that renews leases, on a queue that answers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
import structlog

from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.options import JobOptions
from workers.pipeline.in_flight import Leases


class Queue:
    """Says of every entry that it is no longer the caller's, once it may."""

    def __init__(self) -> None:
        self.renewal_began, self.may_answer = threading.Event(), threading.Event()

    def renew(self, held: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        self.renewal_began.set()
        assert self.may_answer.wait(10)
        return set(held)


def claimed(entry: str) -> ClaimedImage:
    return ClaimedImage("stream", entry, "job", 0, "0", 0, 0, "a.jpg", "blob:a", "", 1, JobOptions("default"))


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def leases(queue: Queue) -> Iterator[Leases]:
    leases = Leases(queue, 0.03)  # type: ignore[arg-type]  # all of a queue that it needs
    yield leases
    queue.may_answer.set()
    leases.stop()


@pytest.mark.parametrize("settled", [True, False])
def test_what_was_settled_meanwhile_is_not_lost(queue: Queue, leases: Leases, *, settled: bool) -> None:
    """It is gone as well, but nobody took it over, and the log must not say so."""
    with structlog.testing.capture_logs() as logs:
        mine = claimed("1-0")
        leases.add([mine])
        assert queue.renewal_began.wait(10)
        if settled:
            leases.remove([mine.key])
        queue.may_answer.set()
        leases.stop()
    assert leases.keys == []
    assert [line["images"] for line in logs] == ([] if settled else [1])
