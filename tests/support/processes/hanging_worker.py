"""The worker's Celery application, in whose pool the decoding of some images never ends.

A white image hangs as a defect of a decoder would that lets other threads run, a black one holds Python's interpreter
lock meanwhile.
"""

from __future__ import annotations

import ctypes
import threading

from serving.contract import Contract
from workers import main
from workers.main import app
from workers.pipeline import pipeline
from workers.sources import decoding

__all__ = ["app"]

_HOURS = 3600 * 24


def hang(
    content: bytes, contract: Contract, max_pixels: int, tiling: decoding.Tiling | None = None
) -> decoding.Prepared:
    """Decode an image, or hang."""
    prepared = decoding.prepare(content, contract, max_pixels, tiling)
    if prepared.rows[0].min() == 255:
        threading.Event().wait(_HOURS)
    if prepared.rows[0].max() == 0:
        ctypes.PyDLL(None).sleep(_HOURS)  # unlike CDLL, it keeps the lock
    return prepared


pipeline.prepare = hang  # type: ignore[attr-defined]
main._SILENT_SECONDS = 2.0  # type: ignore[misc]  # a process that holds the lock is killed after four seconds
