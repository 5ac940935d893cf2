"""The sweep: once a second each worker looks for work that nobody was woken for. It heals every lost ring."""

from __future__ import annotations

import threading

import structlog

from serving.errors import ShelflineError
from workers.bell import DETECT_QUEUE, DUTIES_TASK, PROBE_TASK, CeleryBell
from workers.redis_link import RedisLink

log = structlog.get_logger(__name__)

_EVERY = 1.0  # seconds
_PROBE_EVERY = 5.0  # seconds between looks at the model server where no work makes a worker look anyway


class Sweep:
    """A timer in each worker's main process: no beat process, nothing whose death stops the others.

    A thread of its own and not Celery's timer, which a broker reconnect clears.
    """

    def __init__(self, link: RedisLink, bell: CeleryBell, lease_seconds: float) -> None:
        self._link = link
        self._bell = bell
        self._lease_ms = int(lease_seconds * 1000)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        """Begin; call it after the pool's processes were forked."""
        self._thread.start()

    def stop(self) -> None:
        """End soon."""
        self._stopping.set()

    def once(self) -> None:
        """Ring for every model with work that nobody holds, and for duties that nobody does."""
        models, overdue = self._link.run("sweep", self._lease_ms)
        if models and not self._bell.waiting(DETECT_QUEUE):
            for model in models:
                self._bell.ring(model)
        if overdue:
            self._bell.ring_upkeep(DUTIES_TASK, once_in=_EVERY)
        self._bell.ring_upkeep(PROBE_TASK, once_in=_PROBE_EVERY)

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY):
            try:
                self.once()
            except ShelflineError as error:
                log.warning("sweep failed", error=str(error))
            except Exception:
                log.exception("sweep failed")
