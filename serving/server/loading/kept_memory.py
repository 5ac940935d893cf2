"""Return the memory of large calls to the kernel once the server is idle.

The tuned allocator keeps what a call needed for the next one: a request of 0.5 GB left 2.7 GB, and 1.2 GB after its
memory was returned. TensorFlow's oneDNN has an allocator of its own, which returns nothing unless
TF_ONEDNN_USE_SYSTEM_ALLOCATOR is 1 (docs/model-server.md).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from serving.malloc import trim_heap

_LOOK_SECONDS: Final = 5.0
_KEPT: Final = 256 << 20  # bytes that may be kept beyond what the server needed when it was last trimmed
_BUSY_SECONDS: Final = 60.0  # a server that is never idle is trimmed this often, if it keeps a lot
_KEPT_BUSY: Final = 2 << 30


class KeptMemory:
    """Looks every five seconds whether the process has grown, and trims its heap if that is due.

    `runs` returns how many graph runs have begun, and how many are under way. `resident` returns the bytes of memory
    that the process takes, `clock` seconds.
    """

    def __init__(
        self,
        runs: Callable[[], tuple[int, int]],
        *,
        resident: Callable[[], int] | None = None,
        trim: Callable[[], bool] = trim_heap,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runs = runs
        self._resident = resident or resident_bytes
        self._trim = trim
        self._clock = clock
        self._begun = -1
        self._least = self._resident()  # bytes after the last trim
        self._trimmed_at = clock()

    def start(self) -> None:
        """Look in a daemon thread from now on."""
        threading.Thread(target=self._follow, name="kept-memory", daemon=True).start()

    def look(self) -> bool:
        """Trim the heap if that is due, and return whether it was."""
        begun, under_way = self._runs()
        is_idle = begun == self._begun and not under_way
        self._begun = begun
        kept = self._resident() - self._least
        is_due = self._clock() - self._trimmed_at >= _BUSY_SECONDS
        if not ((kept > _KEPT and is_idle) or (kept > _KEPT_BUSY and is_due)):
            return False
        self._trim()
        self._least, self._trimmed_at = self._resident(), self._clock()
        return True

    def _follow(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            self.look()


def resident_bytes() -> int:
    """Return the bytes of memory that this process takes, 0 where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
