"""Wake-ups that are lost, and wake-ups that nobody takes."""

from __future__ import annotations

from tests.support.machine import free_port
from workers.io.redis_link import RedisLink
from workers.queue.celery_app import create_celery
from workers.queue.wakeups import DUTIES_TASK, PROBE_TASK, UPKEEP_QUEUE, CeleryWakeUps
from workers.settings import Settings


def test_a_wake_up_never_fails(settings: Settings) -> None:
    """Where nobody listens it is lost, and said; what is rung for is stored already."""
    nowhere = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    wakeups = CeleryWakeUps(RedisLink(nowhere.redis_url), create_celery(nowhere))
    wakeups.wake("default")


def test_wake_ups_do_not_pile_up(settings: Settings, link: RedisLink) -> None:
    """Where no worker takes them up, as many wait as there are models, whoever sends them, and each can have one."""
    wakeups = CeleryWakeUps(link, create_celery(settings))
    link.client.sadd("sl:models", "default", "other")
    for _ in range(50):
        wakeups.wake("default")
        link.client.delete("sl:ring:default")  # as its time to live does
    wakeups.wake("other")
    assert link.client.llen("detect") == 2
    link.client.lpop("detect")
    wakeups.wake("other")
    wakeups.wake("other")
    assert link.client.llen("detect") == 2
    wakeups.close()


def test_upkeep_does_not_pile_up(settings: Settings, link: RedisLink) -> None:
    """Where the pool's processes are stuck, the sweep goes on and nobody takes its messages up."""
    wakeups = CeleryWakeUps(link, create_celery(settings))
    for _ in range(50):
        for task in (DUTIES_TASK, PROBE_TASK):
            wakeups.wake_for_upkeep(task, once_in=60.0)
            link.client.delete(f"sl:upkeep:{task}")  # as its time to live does
        wakeups.wake_for_duties()
    assert 1 <= link.client.llen(UPKEEP_QUEUE) <= 2
    wakeups.close()
