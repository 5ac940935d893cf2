"""Handle SIGTERM and SIGINT."""

from __future__ import annotations

import os
import signal
import time
from typing import Final

_POLL_SECONDS: Final = 0.1
_SINGLE_STOP_SECONDS: Final = 1.0  # a terminal and a process manager may both send a signal for one Ctrl-C


class Stop:
    """Remembers SIGTERM and SIGINT. A second signal, more than a second later, ends the process at once.

    `wait` polls, because a threading.Event does not work here. A signal that the kernel delivers to a thread of
    TensorFlow or gRPC does not wake the main thread (measured: one SIGTERM in six), and `Event.set` in a signal
    handler can deadlock with `Event.wait`.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._at = 0.0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for a signal. Return True if there was one."""
        deadline = time.monotonic() + seconds
        while not self.is_set and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return self.is_set

    def _note(self, number: int, _frame: object) -> None:
        if not self.is_set:
            self.is_set, self._at = True, time.monotonic()
        elif time.monotonic() - self._at > _SINGLE_STOP_SECONDS:
            os._exit(128 + number)
