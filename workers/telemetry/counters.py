"""Counters and histograms of one process, in memory; publishing.py adds them to everyone's totals."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from typing import Final

SUM: Final = "sum"  # of a histogram's observations; its other parts are the bounds of its buckets
INFINITE: Final = "+Inf"


@cache
def field_of(*parts: str) -> str:
    """The field of a sample in Redis: its metric's name, the values of its labels, which part of a histogram it is."""
    return json.dumps(parts, separators=(",", ":"))


class _Counted:
    """What this process counted and has not published yet. Threads share it; the child of a fork begins anew."""

    def __init__(self) -> None:
        self._begin()
        os.register_at_fork(after_in_child=self._begin)  # the lock may be held by a thread that the child has not

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
    """What was counted since the last take, by field."""
    return _COUNTED.take()


class Metric:
    """A metric's name, what it means, its labels. `known` are values that each label may have, where that is known.

    Series of known labels are shown as 0 before anything was counted: a series that begins with 1 has no increase.
    """

    def __init__(
        self, name: str, meaning: str, labels: Sequence[str] = (), known: Sequence[Sequence[str]] = ()
    ) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = tuple(labels)
        self.known = tuple(itertools.product(*known)) if known or not labels else ()


class Counter(Metric):
    """Something that only becomes more."""

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Count `by` more."""
        _COUNTED.add((field_of(self.name, *labels), by))


class Histogram(Metric):
    """How often something was how large; a value belongs to the first of the `bounds` that is not below it."""

    def __init__(
        self,
        name: str,
        meaning: str,
        bounds: Sequence[float],
        labels: Sequence[str] = (),
        known: Sequence[Sequence[str]] = (),
    ) -> None:
        super().__init__(name, meaning, labels, known)
        self.bounds = tuple(bounds)
        self.parts = (*(f"{bound:g}" for bound in bounds), INFINITE)
        self._fields: dict[tuple[str, ...], list[str]] = {}  # of the parts, and of the sum

    def observe(self, value: float, *labels: str) -> None:
        """Count a value."""
        fields = self._fields.get(labels)
        if fields is None:
            fields = self._fields[labels] = [field_of(self.name, *labels, part) for part in (*self.parts, SUM)]
        _COUNTED.add((fields[bisect_left(self.bounds, value)], 1.0), (fields[-1], value))

    def timing(self, *labels: str) -> _Timing:
        """Count the seconds that something takes, whether or not it fails."""
        return _Timing(self, labels)


class _Timing:
    """Much cheaper than a generator: it is on every image's way, several times."""

    __slots__ = ("_began", "_histogram", "_labels")

    def __init__(self, histogram: Histogram, labels: tuple[str, ...]) -> None:
        self._histogram, self._labels = histogram, labels

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._histogram.observe(time.perf_counter() - self._began, *self._labels)
