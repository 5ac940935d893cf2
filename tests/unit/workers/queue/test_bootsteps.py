"""The steps of a Celery worker; see workers/queue/bootsteps.py."""

from __future__ import annotations

import threading
import weakref
from types import SimpleNamespace

import pytest
from celery import signals
from kombu.asynchronous.hub import Hub
from kombu.connection import Connection

from workers.queue.bootsteps import ForgetBrokenConnection, WakeAfterTask
from workers.settings import Settings


def test_the_end_of_a_task_wakes_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever thread it ends; the loop then looks again a moment later, when the task counts as ended."""
    hub = Hub()
    looks: list[float] = []
    monkeypatch.setattr(hub, "call_later", lambda delay, *_: looks.append(delay))
    consumer = SimpleNamespace(hub=hub, steps=[])
    step = WakeAfterTask(consumer)
    step.start(consumer)
    try:
        ended = threading.Thread(target=signals.task_postrun.send, kwargs={"sender": None})
        ended.start()
        ended.join()
        hub.run_once()
        assert len(looks) == 2
        assert all(0 < delay < 1 for delay in looks)
    finally:
        signals.task_postrun.disconnect(step._ended)
        hub.close()


def test_a_loop_that_is_never_there_holds_up_nobody() -> None:
    """More ends of tasks than a pipe holds, and nobody who reads them."""
    step = WakeAfterTask(SimpleNamespace(hub=None, steps=[]))
    step.start(SimpleNamespace(hub=None))
    for _ in range(70_000):
        step._ended()
    signals.task_postrun.disconnect(step._ended)


def test_a_broken_connection_is_forgotten(settings: Settings) -> None:
    """The loop no longer calls its transport, and nothing of it is left in memory; what others added stays."""
    hub = Hub()
    others = {hub.repr_active, print}
    hub.on_tick |= others
    step = ForgetBrokenConnection(SimpleNamespace(hub=hub, steps=[]))
    with Connection(settings.redis_url) as connection:
        connection.transport.register_with_event_loop(connection.connection, hub)
        poller = weakref.ref(connection.transport.cycle)
        assert len(hub.on_tick) == 3
        step.stop(SimpleNamespace(hub=hub))
        hub.timer.clear()  # as Celery does
        assert hub.on_tick == others
    del connection
    step.start(SimpleNamespace(restart_count=0))
    assert poller() is not None
    step.start(SimpleNamespace(restart_count=1))
    assert poller() is None
    hub.close()


def test_a_worker_without_a_loop_has_nothing_to_forget() -> None:
    """It polls its connection itself."""
    ForgetBrokenConnection(SimpleNamespace(hub=None, steps=[])).stop(SimpleNamespace(hub=None))
