"""How many rows of a call fit into the memory of the model server, as far as a process has found out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

_REMEMBERED_SECONDS: Final = 600.0  # after that, calls of the full size are tried again: the memory may be there now
_UNLIMITED: Final = 1 << 30


class RowLimit:
    """The most rows of a call of one version. Thread-safe. `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows, self._until = _UNLIMITED, 0.0
        self._lock = threading.Lock()

    @property
    def rows(self) -> int:
        """The most rows that a call should have now."""
        with self._lock:
            return self._rows if self._clock() < self._until else _UNLIMITED

    def lower(self, rows: int) -> None:
        """Remember for ten minutes that a call should have at most `rows` rows, or fewer if that is known already."""
        with self._lock:
            now = self._clock()
            self._rows = min(rows, self._rows) if now < self._until else rows
            self._until = now + _REMEMBERED_SECONDS


class RowLimits:
    """The limit of each version that the process calls. Thread-safe."""

    def __init__(self) -> None:
        self._by_version: dict[tuple[str, int], RowLimit] = {}

    def of(self, model: str, version: int) -> RowLimit:
        """Return the limit of a version, which is none until `lower` is called."""
        return self._by_version.setdefault((model, version), RowLimit())
