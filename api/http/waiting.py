"""How long a caller wants a poll to wait, and how many may wait at once."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

THREADS = 256  # of a web process; one that waits costs a stack of some 100 kB
LONG_POLLS = THREADS - 32  # the rest stays free for short requests, so that waiting callers never keep others out

_PREFER_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)


def asked_wait(query: float | None, prefer: str, default: float = 0.0) -> tuple[float, bool]:
    """The seconds asked for by `?wait=` or else by `Prefer: wait=` (RFC 7240), and whether it was the latter.

    A Prefer that is not understood is ignored, as its RFC wants.
    """
    if query is not None:
        return query, False
    if found := _PREFER_WAIT.search(prefer):
        return float(found[1]), True
    return default, False


class WaitingRoom:
    """Bounds the callers that wait at once; one too many is answered at once."""

    def __init__(self, places: int = LONG_POLLS) -> None:
        self._places = threading.BoundedSemaphore(places)

    @contextmanager
    def place(self, seconds: float) -> Iterator[float]:
        """How long the caller may wait: what was asked for, or 0 where the room is full."""
        if seconds <= 0 or not self.enter():
            yield 0.0
            return
        try:
            yield seconds
        finally:
            self.leave()

    def enter(self) -> bool:
        """Take a place, to be left again; False where there is none."""
        return self._places.acquire(blocking=False)

    def leave(self) -> None:
        """Give a place back."""
        self._places.release()
