"""Long polls: how many seconds a caller asks to wait, and how many callers may wait at the same time."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LONG_POLLS = 224  # callers of a web process that wait for a job; a waiting thread costs a stack of about 100 kB
UPLOADS = 128  # threads that read large bodies
THREADS = LONG_POLLS + UPLOADS + 32  # the last 32 are for short requests

_PREFER_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)


def requested_wait(query: float | None, prefer: str, default: float = 0.0) -> tuple[float, bool]:
    """Return the seconds to wait, and whether they come from the header `Prefer: wait=` (RFC 7240).

    `?wait=` (`query`) comes first, then the header, then `default`. An unknown preference is ignored, as the RFC
    requires.
    """
    if query is not None:
        return query, False
    if match := _PREFER_WAIT.search(prefer):
        return float(match[1]), True
    return default, False


class WaitingRoom:
    """Limits how many callers wait at the same time; a caller above the limit gets its response at once."""

    def __init__(self, places: int = LONG_POLLS) -> None:
        self._places = threading.BoundedSemaphore(places)

    @contextmanager
    def place(self, seconds: float) -> Iterator[float]:
        """Yield how many seconds the caller may wait: `seconds`, or 0 if all places are taken."""
        if seconds <= 0 or not self.enter():
            yield 0.0
            return
        try:
            yield seconds
        finally:
            self.leave()

    def enter(self) -> bool:
        """Take a place if one is free and return whether it was taken; the caller must call `leave` afterwards."""
        return self._places.acquire(blocking=False)

    def leave(self) -> None:
        """Free a place that `enter` took."""
        self._places.release()
