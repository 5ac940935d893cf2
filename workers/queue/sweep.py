"""The sweep: once a second each worker looks for work that nobody was woken for. It heals every lost ring."""

from __future__ import annotations

import threading

import structlog

from serving.errors import ShelflineError
from workers.io.redis_link import RedisLink
from workers.queue.wakeups import DUTIES_TASK, PROBE_SECONDS, PROBE_TASK, CeleryBell
from workers.settings import Settings
from workers.store.catalog import Catalog

log = structlog.get_logger(__name__)

_EVERY = 1.0  # seconds
_PROBE_SOON = 0.5  # the same while the default model is not available: somebody waits for it


class Sweep:
    """A timer in each worker's main process: no beat process, nothing whose death stops the others.

    A thread of its own and not Celery's timer, which a broker reconnect clears.
    """

    def __init__(self, link: RedisLink, bell: CeleryBell, settings: Settings) -> None:
        self._link = link
        self._bell = bell
        self._catalog = Catalog(link)
        self._model = settings.model
        self._lease_ms = int(settings.lease_seconds * 1000)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        """Begin; call it after the pool's processes were forked."""
        self._thread.start()

    def stop(self) -> None:
        """End soon."""
        self._stopping.set()

    def once(self) -> float:
        """Ring for every model with work that nobody holds, and for duties that nobody does.

        Returns after how many seconds to look again.
        """
        models, overdue = self._link.run("lanes/sweep", self._lease_ms)
        for model in models:
            self._bell.ring(model)
        if overdue:
            self._bell.ring_upkeep(DUTIES_TASK, once_in=_EVERY)
        published = self._catalog.look_up(self._model)
        available = published is not None and published.available
        self._bell.ring_upkeep(PROBE_TASK, once_in=PROBE_SECONDS if available else _PROBE_SOON)
        return _EVERY if available else _PROBE_SOON

    def _run(self) -> None:
        pause = _PROBE_SOON
        while not self._stopping.wait(pause):
            pause = _EVERY
            try:
                pause = self.once()
            except ShelflineError as error:
                log.warning("sweep failed", error=str(error))
            except Exception:
                log.exception("sweep failed")
