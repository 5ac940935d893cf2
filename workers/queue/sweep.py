"""The sweep: once a second each worker looks for work that no worker was woken for, so lost wake-ups are repaired."""

from __future__ import annotations

from workers.io.redis_link import RedisLink
from workers.queue.wakeups import DUTIES_TASK, PROBE_SECONDS, PROBE_TASK, CeleryWakeUps
from workers.settings import Settings
from workers.store.catalog import Catalog

_EVERY = 1.0  # seconds
PROBE_SOON = 0.5  # seconds, while the default model is not available: callers may be waiting for it


def sweep(link: RedisLink, wakeups: CeleryWakeUps, settings: Settings) -> float:
    """Wake workers for each target with unclaimed or abandoned images, for overdue duties and for a probe.

    Each worker's main process does this, so that there is no single process on which all workers depend. Returns the
    seconds until the next sweep. Raises StoreUnavailableError if Redis is down.
    """
    targets, overdue = link.run("lanes/sweep", int(settings.lease_seconds * 1000))
    for target in targets:
        wakeups.wake(target)
    if overdue:
        wakeups.wake_for_upkeep(DUTIES_TASK, once_in=_EVERY)
    published = Catalog(link).look_up(settings.model)
    available = published is not None and published.available
    wakeups.wake_for_upkeep(PROBE_TASK, once_in=PROBE_SECONDS if available else PROBE_SOON)
    return _EVERY if available else PROBE_SOON
