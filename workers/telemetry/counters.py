"""Counters and histograms of one process, in memory. publishing.py adds them to the totals of all processes."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final

SUM: Final = "sum"  # the part of a histogram that holds the sum of the values; the other parts are its buckets
INFINITE: Final = "+Inf"


@cache
def field_of(*parts: str) -> str:
    """Return the field of a sample in Redis: metric name, label values and, for a histogram, the part."""
    return json.dumps(parts, separators=(",", ":"))


class _Counted:
    """What this process counted and has not published yet. Threads share it; a forked child starts with nothing."""

    def __init__(self) -> None:
        self._begin()
        os.register_at_fork(after_in_child=self._begin)  # another thread may hold the lock at the fork

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, float] = {}

    def add(self, *fields: tuple[str, float]) -> None:
        with self._lock:
            for field, by in fields:
                self._counts[field] = self._counts.get(field, 0.0) + by

    def take(self) -> dict[str, float]:
        with self._lock:
            taken, self._counts = self._counts, {}
        return taken


_COUNTED: Final = _Counted()


def take_counted() -> dict[str, float]:
    """Return what was counted since the last call, by field."""
    return _COUNTED.take()


@dataclass(frozen=True, eq=False)
class Metric:
    """A metric: name, meaning and labels. `known` lists the values of each label, if they are known in advance."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    known: tuple[tuple[str, ...], ...] = ()

    @property
    def known_series(self) -> list[tuple[str, ...]]:
        """The label values of the series that are shown as 0 before anything was counted.

        A series that first appears as 1 would have no increase in Prometheus.
        """
        return list(itertools.product(*self.known)) if self.known or not self.labels else []


class Counter(Metric):
    """A number that only grows."""

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Add `by` to the counter."""
        _COUNTED.add((field_of(self.name, *labels), by))


@dataclass(frozen=True, eq=False)
class Histogram(Metric):
    """Counts values by size. A value counts in the bucket of the smallest of the `bounds` that is not below it."""

    bounds: tuple[float, ...] = ()

    @cached_property
    def parts(self) -> list[str]:
        """The names of its buckets, by their bounds."""
        return [*(f"{bound:g}" for bound in self.bounds), INFINITE]

    def observe(self, value: float, *labels: str) -> None:
        """Count a value."""
        bucket = self.parts[bisect_left(self.bounds, value)]
        _COUNTED.add((field_of(self.name, *labels, bucket), 1.0), (field_of(self.name, *labels, SUM), value))

    def timing(self, *labels: str) -> _Timing:
        """Return a context manager that counts the seconds its body takes, even if the body raises."""
        return _Timing(self, labels)


class _Timing:
    """A context manager without a generator, which would cost much more: every image passes several of them."""

    __slots__ = ("_began", "_histogram", "_labels")

    def __init__(self, histogram: Histogram, labels: tuple[str, ...]) -> None:
        self._histogram, self._labels = histogram, labels

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._histogram.observe(time.perf_counter() - self._began, *self._labels)
