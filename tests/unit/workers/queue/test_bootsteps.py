"""A pool of threads takes the next message as soon as it is free; see workers/queue/bootsteps.py."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from celery import signals
from kombu.asynchronous.hub import Hub

from workers.queue.bootsteps import WakeAfterTask


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
