"""The sweep: once a second each worker looks for work that no worker was woken for, so lost wake-ups are repaired."""

from __future__ import annotations

from workers.io.redis_link import RedisLink
from workers.queue.wakeups import DUTIES_TASK, PROBE_SECONDS, PROBE_TASK, CeleryWakeUps
from workers.settings import Settings
from workers.store.catalog import Catalog

_EVERY = 1.0  # seconds
PROBE_SOON = 0.5  # seconds, while the default model is not available: callers may be waiting for it


class Sweep:
    """What a timer does in each worker's main process, so that there is no single process on which all workers depend.

    The timer is a thread because Celery clears its own timer when it reconnects to the broker.
    """

    def __init__(self, link: RedisLink, wakeups: CeleryWakeUps, settings: Settings) -> None:
        self._link = link
        self._wakeups = wakeups
        self._catalog = Catalog(link)
        self._model = settings.model
        self._lease_ms = int(settings.lease_seconds * 1000)

    def once(self) -> float:
        """Wake workers for each target with unclaimed or abandoned images, for overdue duties and for a probe.

        Returns the seconds until the next sweep. Raises StoreUnavailableError if Redis is down.
        """
        targets, overdue = self._link.run("lanes/sweep", self._lease_ms)
        for target in targets:
            self._wakeups.wake(target)
        if overdue:
            self._wakeups.wake_for_upkeep(DUTIES_TASK, once_in=_EVERY)
        published = self._catalog.look_up(self._model)
        available = published is not None and published.available
        self._wakeups.wake_for_upkeep(PROBE_TASK, once_in=PROBE_SECONDS if available else PROBE_SOON)
        return _EVERY if available else PROBE_SOON
