"""A timer in the main process of a worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from serving.errors import ShelflineError

log = structlog.get_logger(__name__)

_AFTER_ERROR = 1.0  # seconds


def repeat(name: str, action: Callable[[], float], first_pause: float) -> None:
    """Call `action` again and again, in a daemon thread; it returns the seconds until the next call.

    It is first called after `first_pause` seconds. Errors are logged, and it is called again. Call this after the
    pool's processes were forked. Celery's own timer would not do, since it is cleared when the broker is reconnected.
    """

    def run() -> None:
        pause, failed = first_pause, f"{name} failed"
        while True:
            time.sleep(pause)
            pause = _AFTER_ERROR
            try:
                pause = action()
            except ShelflineError as error:
                log.warning(failed, error=str(error))
            except Exception:
                log.exception(failed)

    threading.Thread(target=run, name=name, daemon=True).start()
