"""Wake-ups: Celery messages that carry no work and only wake a worker. A lost or doubled wake-up is harmless."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog
from celery import Celery

from workers.io.redis_link import RedisLink, translated
from workers.jobs.lanes import DETECT_QUEUE, DETECT_TASK, WAKE_UP_SECONDS
from workers.telemetry.metrics import WAKE_UPS

log = structlog.get_logger(__name__)

DUTIES_TASK, PROBE_TASK = "shelfline.duties", "shelfline.probe"
UPKEEP_QUEUE = "upkeep"
DELIVER_TASK, WEBHOOKS_QUEUE = "shelfline.deliver", "webhooks"
PROBE_SECONDS = 5.0  # between probes of the model server; a worker that has work looks at it anyway
_MAX_UPKEEP = 2  # messages in a queue for upkeep; if so many wait, no worker takes them, and no more are sent
# What a message may say: by queue the tasks, and how many texts each is given.
TASKS: Mapping[str, Mapping[str, int]] = {
    DETECT_QUEUE: {DETECT_TASK: 1},
    UPKEEP_QUEUE: {DUTIES_TASK: 0, PROBE_TASK: 0},
    WEBHOOKS_QUEUE: {DELIVER_TASK: 0},
}


def wakeup_key(target: str) -> str:
    """Return the Redis key that exists while a wake-up is on its way; the woken worker deletes it before it claims."""
    return f"sl:ring:{target}"


class WakeUps(Protocol):
    """Wake workers for what was just stored."""

    def send(self, target: str) -> None:
        """Wake a worker for a target's lanes, after a script has decided that a wake-up is needed."""

    def wake_for_duties(self) -> None:
        """Wake a worker for a duty that became due."""


class CeleryWakeUps:
    """Send wake-ups by task name, so that the sender imports no task."""

    def __init__(self, link: RedisLink, celery: Celery) -> None:
        self._link = link
        self._celery = celery

    def wake(self, target: str) -> None:
        """Wake a worker for a target's lanes, unless a wake-up for it is on its way.

        Never raises: errors are logged, the work is stored, and the sweep sends another wake-up.
        """
        try:
            needed = self._link.run("lanes/wake", target, DETECT_QUEUE, WAKE_UP_SECONDS * 1000)
        except Exception as error:  # noqa: BLE001  the errors of Redis and of the socket
            _log_lost(target, error)
            return
        if needed:
            self.send(target)

    def send(self, target: str) -> None:
        """Send the wake-up message; the caller's script has already decided that one is needed.

        Never raises: errors are logged, and the sweep sends another wake-up.
        """
        try:
            self._send(DETECT_TASK, DETECT_QUEUE, [target])
            WAKE_UPS.add("sent")
        except Exception as error:  # noqa: BLE001  the errors of kombu and of the socket
            _log_lost(target, error)

    def wake_for_duties(self) -> None:
        """Wake a worker for a duty that became due.

        Never raises: errors are logged, and the sweep sends a wake-up for overdue duties.
        """
        try:
            if not self._is_full(UPKEEP_QUEUE):
                self._send(DUTIES_TASK, UPKEEP_QUEUE, [])
        except Exception as error:  # noqa: BLE001  the errors of kombu and of the socket
            _log_lost(DUTIES_TASK, error)

    def wake_for_upkeep(self, task: str, *, once_in: float, queue: str = UPKEEP_QUEUE) -> None:
        """Have a worker run an upkeep task, at most once per `once_in` seconds among all workers.

        Sends nothing if messages pile up in the queue. Raises StoreUnavailableError if Redis is down.
        """
        if self._link.run("lanes/wake_for_upkeep", task, queue, _MAX_UPKEEP, int(once_in * 1000)):
            with translated():
                self._send(task, queue, [])

    def _is_full(self, queue: str) -> bool:
        return bool(self._link.client.llen(queue) >= _MAX_UPKEEP)

    def upkeep_done(self, task: str, *, again_in: float) -> None:
        """Suppress an upkeep task for `again_in` seconds, because its work was just done by other means.

        Raises StoreUnavailableError if Redis is down.
        """
        with translated():
            self._link.client.set(_upkeep_key(task), "1", px=int(again_in * 1000))

    def close(self) -> None:
        """Close the connections to the broker."""
        self._celery.close()

    def _send(self, task: str, queue: str, args: Sequence[str]) -> None:
        self._celery.send_task(task, args=list(args), queue=queue, ignore_result=True, retry=False)


def _upkeep_key(task: str) -> str:
    return f"sl:upkeep:{task}"


def _log_lost(target: str, error: Exception) -> None:
    WAKE_UPS.add("lost")
    log.warning("wake-up lost", target=target, error=str(error))
