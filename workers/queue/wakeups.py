"""The doorbell: Celery messages that carry no work, only wake a worker. Losing or doubling one is harmless."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog
from celery import Celery

from workers.io.redis_link import RedisLink, translated
from workers.jobs.lanes import DETECT_QUEUE, DETECT_TASK, RING_SECONDS
from workers.telemetry.metrics import RINGS

log = structlog.get_logger(__name__)

DUTIES_TASK, PROBE_TASK = "shelfline.duties", "shelfline.probe"
UPKEEP_QUEUE = "upkeep"
DELIVER_TASK, WEBHOOKS_QUEUE = "shelfline.deliver", "webhooks"
PROBE_SECONDS = 5.0  # between looks at the model server where no work makes a worker look anyway
_MOST_UPKEEP = 2  # messages of a queue for upkeep: then nobody takes them up


def ring_key(model: str) -> str:
    """What is there while a ring is under way; whoever answers it deletes it before the first claim."""
    return f"sl:ring:{model}"


class Bell(Protocol):
    """What rings for work."""

    def ring(self, model: str) -> None:
        """Wake a worker for a model's lanes, unless a ring for it is under way."""

    def send(self, model: str) -> None:
        """Wake a worker for a model's lanes, where a script said that it is to be rung."""

    def ring_duties(self) -> None:
        """Wake a worker for a duty that became due."""


class CeleryBell:
    """Rings by task name, so that whoever rings imports no task."""

    def __init__(self, link: RedisLink, celery: Celery) -> None:
        self._link = link
        self._celery = celery

    def ring(self, model: str) -> None:
        """Wake a worker for a model's lanes. It never fails: what is rung for is stored, and the sweep rings again."""
        try:
            wanted = self._link.run("lanes/wake", model, DETECT_QUEUE, RING_SECONDS * 1000)
        except Exception as error:  # noqa: BLE001  Redis' and the socket's
            _lost(model, error)
            return
        if wanted:
            self.send(model)

    def send(self, model: str) -> None:
        """The second half of a ring, where another script did the first. It never fails either."""
        try:
            self._send(DETECT_TASK, DETECT_QUEUE, [model])
            RINGS.add("sent")
        except Exception as error:  # noqa: BLE001  kombu's and the socket's
            _lost(model, error)

    def ring_duties(self) -> None:
        """Wake a worker for a duty that became due. It never fails: the sweep rings for what is overdue."""
        try:
            if not self._piled_up(UPKEEP_QUEUE):
                self._send(DUTIES_TASK, UPKEEP_QUEUE, [])
        except Exception as error:  # noqa: BLE001  kombu's and the socket's
            _lost(DUTIES_TASK, error)

    def ring_upkeep(self, task: str, *, once_in: float, queue: str = UPKEEP_QUEUE) -> None:
        """Have a worker run an upkeep task, once in so many seconds among all workers; not where such rings pile up."""
        with translated():
            if self._piled_up(queue):
                return
            if self._link.client.set(_upkeep_key(task), "1", nx=True, px=int(once_in * 1000)):
                self._send(task, queue, [])

    def _piled_up(self, queue: str) -> bool:
        return bool(self._link.client.llen(queue) >= _MOST_UPKEEP)

    def upkeep_done(self, task: str, *, again_in: float) -> None:
        """Have nobody run an upkeep task for so many seconds: what it does was done otherwise."""
        with translated():
            self._link.client.set(_upkeep_key(task), "1", px=int(again_in * 1000))

    def close(self) -> None:
        """Close the connections to the broker."""
        self._celery.close()

    def _send(self, task: str, queue: str, args: Sequence[str]) -> None:
        self._celery.send_task(
            task, args=list(args), queue=queue, expires=RING_SECONDS, ignore_result=True, retry=False
        )


def _upkeep_key(task: str) -> str:
    return f"sl:upkeep:{task}"


def _lost(model: str, error: Exception) -> None:
    RINGS.add("lost")
    log.warning("ring lost", model=model, error=str(error))
