"""Celery only wakes: few messages under load, none piled up where nobody takes them, none needed to go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis

from tests.integration.workers.conftest import POOLS, Worker, complete, photo, slowly
from tests.support.polling import wait_until
from tests.support.processes.celery_worker import CeleryWorker
from tests.support.servers.scripted_server import ScriptedServer
from workers.jobs.lanes import DETECT_QUEUE

pytestmark = pytest.mark.process


@contextmanager
def counted_wakeups(url: str) -> Iterator[list[str]]:
    """The Celery messages that wake for images, as they are sent."""
    wakeups: list[str] = []
    with redis.Redis.from_url(url, decode_responses=True) as client, client.monitor() as monitor:

        def listen() -> None:
            for command in monitor.listen():
                text = command["command"]
                if text == "GET test:over":
                    return
                if text.startswith(f"LPUSH {DETECT_QUEUE} "):
                    wakeups.append(text)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield wakeups
        finally:
            with redis.Redis.from_url(url) as other:
                other.get("test:over")
            thread.join()


@pytest.mark.parametrize("pool", POOLS)
def test_at_most_one_message_a_batch_under_load(
    front: Worker, start: Callable[[str], CeleryWorker], server: ScriptedServer, pool: str
) -> None:
    """While a long job runs and single images come in without a pause, with two workers to wake."""
    slowly(server, 0.02)
    start(pool)
    start(pool)
    complete(front, front.submit(photo(0)))
    server.batches.clear()
    with counted_wakeups(front.settings.redis_url) as wakeups:
        jobs = [front.submit(*[photo(number) for number in range(120)])]
        jobs += [front.submit(photo(number)) for number in range(60)]
        for job in jobs:
            complete(front, job)
    assert 1 <= len(wakeups) <= len(server.batches)


def test_a_stopped_worker_piles_up_no_messages(
    front: Worker, start: Callable[[str], CeleryWorker], server: ScriptedServer
) -> None:
    """However many jobs come while it is frozen; when it goes on, all of them are done."""
    worker = start("prefork")
    complete(front, front.submit(photo(0)))
    worker.signal_group(signal.SIGSTOP)
    jobs = []
    for number in range(30):
        jobs.append(front.submit(photo(number)))
        front.link.client.delete("sl:ring:default")  # as its time to live does
        assert front.link.client.llen(DETECT_QUEUE) <= 1
    worker.signal_group(signal.SIGCONT)
    for job in jobs:
        complete(front, job)
    wait_until(lambda: front.link.client.llen(DETECT_QUEUE) == 0, what="an empty queue")
    assert sum(server.batches) == 31
