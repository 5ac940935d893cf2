"""The memory that decoders of a process may use together. Each takes its share before it decodes.

The budget belongs to the process, as its memory does: every image is decoded under it, for a model and for a drawing,
by whatever thread. It is as large as the largest image that is allowed needs in almost every format. So one such image
is decoded alone, or as many smaller ones as need no more together. An image that needs more is refused. See
docs/decisions/0021-decoding-memory.md.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Final

MAX_BYTES_PER_PIXEL: Final = 12  # of a progressive CMYK JPEG; see needs.py for what needs more

Pause = Callable[[], AbstractContextManager[None]]
_pause: ContextVar[Pause] = ContextVar("pause", default=nullcontext)


class Budget:
    """Bytes that are in use, and the threads that wait for some of them, in the order in which they came.

    Nobody is overtaken. Otherwise a large image would wait for as long as small ones come.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self.used = 0

    @property
    def waiting(self) -> int:
        """Return how many threads wait."""
        return len(self._waiting)

    def take(self, count: int, limit: int) -> None:
        """Wait until `count` bytes fit into `limit` with those in use, or until none is in use, and take them."""
        ticket = object()
        with _pause.get()(), self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(
                    lambda: self._waiting[0] is ticket and (not self.used or self.used + count <= limit)
                )
                self.used += count
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def give_back(self, count: int) -> None:
        """Give bytes back that were taken."""
        with self._changed:
            self.used -= count
            self._changed.notify_all()


class Share:
    """What the decoding of one image has taken of a budget of `limit` bytes. Not thread-safe."""

    def __init__(self, budget: Budget, limit: int, at_least: int = 0) -> None:
        self.limit = limit
        self._budget = budget
        self._at_least = at_least
        self._taken = 0

    def take(self, count: int) -> None:
        """Take `count` bytes, or `at_least`, in place of what was taken before; wait for them if need be.

        What was taken before is given back first: a thread that holds some and waits for more could wait for ever.
        """
        self.give_back()
        count = max(count, self._at_least)
        self._budget.take(count, self.limit)
        self._taken = count

    def give_back(self) -> None:
        """Give everything back."""
        if self._taken:
            taken, self._taken = self._taken, 0
            self._budget.give_back(taken)


_of_this_process: Final = Budget()


def budget_bytes(max_pixels: int) -> int:
    """Return the size of the budget of a process whose largest image has `max_pixels`."""
    return max_pixels * MAX_BYTES_PER_PIXEL


@contextmanager
def decoding_share(max_pixels: int, at_least: int = 0) -> Iterator[Share]:
    """Give a share of this process's budget, empty at first. At the end it is given back, also after an error.

    `at_least` is how many bytes are needed for what follows the decoding.
    """
    share = Share(_of_this_process, budget_bytes(max_pixels), at_least)
    try:
        yield share
    finally:
        share.give_back()


@contextmanager
def waiting_in(pause: Pause) -> Iterator[None]:
    """Have this thread wait for memory inside of `pause()`: it then waits for others, and does not hang itself."""
    token = _pause.set(pause)
    try:
        yield
    finally:
        _pause.reset(token)
