from __future__ import annotations

import pytest

from serving.server.calls import Calls
from serving.server.loading.kept_memory import KeptMemory, resident_bytes
from serving.server.metrics import Metrics
from serving.server.versions.lifecycle import Lifecycle
from serving.server.versions.models import Models

MB, GB = 1 << 20, 1 << 30


class Process:
    """A server whose memory, runs and clock are set."""

    def __init__(self) -> None:
        self.resident, self.needed = 700 * MB, 700 * MB
        self.begun = self.under_way = 0
        self.now = 100.0
        self.kept = KeptMemory(
            lambda: (self.begun, self.under_way), resident=lambda: self.resident, trim=self.trim, clock=lambda: self.now
        )

    def trim(self) -> bool:
        self.resident = self.needed
        return True

    def looks(self, seconds: float = 5.0) -> bool:
        self.now += seconds
        return self.kept.look()


def test_an_idle_server_returns_what_a_large_call_took() -> None:
    """Not while it runs, nor right after it: another one may follow."""
    process = Process()
    process.begun, process.under_way = 1, 1
    process.resident = 5 * GB
    assert [process.looks(), process.looks()] == [False, False]
    process.under_way = 0
    process.begun = 2
    assert [process.looks(), process.looks(), process.looks()] == [False, True, False]
    assert process.resident == process.needed


def test_little_is_kept_for_the_next_batch() -> None:
    """Page faults of each batch are what the allocator is tuned against."""
    process = Process()
    process.resident += 200 * MB
    assert not any(process.looks() for _ in range(20))


@pytest.mark.parametrize(("resident", "trims"), [(2 * GB, 0), (4 * GB, 1)])
def test_a_busy_server_is_bounded(resident: int, trims: int) -> None:
    """It is trimmed at most once a minute, and only if it keeps gigabytes."""
    process = Process()
    process.resident = resident
    trimmed = 0
    for _ in range(20):
        process.begun += 1
        trimmed += process.looks()

    assert trimmed == trims


def test_runs_are_counted() -> None:
    """Those that raise too."""
    calls = Calls(Models(lambda name: Lifecycle(name, load=lambda _: pytest.fail("nothing is loaded"))), Metrics())
    with calls.running("m"):
        assert calls.runs() == (1, 1)
    with pytest.raises(RuntimeError), calls.running("m"):
        raise RuntimeError
    assert calls.runs() == (2, 0)


def test_the_memory_of_this_process() -> None:
    """Is more than that of an empty interpreter."""
    assert resident_bytes() > 10 * MB
