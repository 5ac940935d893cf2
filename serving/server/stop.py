"""SIGTERM and SIGINT."""

from __future__ import annotations

import os
import signal
import time
from typing import Final

_POLL_SECONDS: Final = 0.1


class Stop:
    """Whether a signal asked for the end, found out by polling; a second one ends the process at once.

    An Event would not do: a signal that the kernel gives to a thread of TensorFlow's or gRPC's does not wake the
    main thread (measured: one SIGTERM in six), and `Event.set` in a handler can deadlock with `Event.wait`.
    """

    def __init__(self) -> None:
        self.is_set = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def wait(self, seconds: float) -> bool:
        """Whether it is asked for, after at most so long."""
        deadline = time.monotonic() + seconds
        while not self.is_set and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return self.is_set

    def _note(self, number: int, _frame: object) -> None:
        if self.is_set:
            os._exit(128 + number)
        self.is_set = True
