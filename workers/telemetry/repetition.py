"""Log what repeats many times a minute only once a minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_SECONDS: Final = 60.0


class Repetition:
    """Says which repetitions of a problem are to be logged: those that are new, and one a minute. Thread-safe.

    `clock` returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged: dict[str, tuple[str, float]] = {}  # by subject: the problem, and when it was logged

    def is_due(self, subject: str, problem: str) -> bool:
        """Return whether a problem of a subject is to be logged now; it then counts as logged."""
        now = self._clock()
        logged, at = self._logged.get(subject, ("", 0.0))
        if logged == problem and now - at < _SECONDS:
            return False
        self._logged[subject] = (problem, now)
        return True

    def is_over(self, subject: str) -> None:
        """Forget the problem of a subject: the same problem is a new one from now on."""
        self._logged.pop(subject, None)
