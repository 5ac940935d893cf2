"""The Celery tasks: doorbells. Each calls one method of the process's runtime."""

from __future__ import annotations

from collections.abc import Callable

from celery import Celery

from workers.jobs.lanes import DETECT_TASK
from workers.queue.wakeups import DUTIES_TASK, PROBE_TASK
from workers.runtime import Runtime


def register_tasks(app: Celery, runtime: Callable[[], Runtime]) -> None:
    """Register the tasks; `runtime` gives the process's own, opened at first use."""

    @app.task(name=DETECT_TASK)
    def detect(model: str) -> None:
        runtime().detect(model)

    @app.task(name=DUTIES_TASK)
    def duties() -> None:
        runtime().do_duties()

    @app.task(name=PROBE_TASK)
    def probe() -> None:
        runtime().probe()
