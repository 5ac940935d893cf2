"""The worker's entry point for Celery: `celery --app workers.main:app worker`."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from functools import cache, partial
from types import FrameType
from typing import Any

from celery import signals

from serving.errors import ShelflineError
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.process import refuse
from workers.queue.bootsteps import WakeAfterTask
from workers.queue.sweep import PROBE_SOON, sweep
from workers.queue.timer import repeat
from workers.queue.wakeups import CeleryWakeUps
from workers.queue.worker_app import open_worker
from workers.runtime import Runtime, register_tasks
from workers.sources.memory.allocator import return_large_blocks
from workers.store.store_id import check_store_id
from workers.telemetry.publishing import start_publishing, stop_publishing

return_large_blocks()
settings, app = open_worker()
app.steps["consumer"].add(WakeAfterTask)
_pools: list[Any] = []  # the pool of this process; empty until the worker is ready


@cache
def runtime() -> Runtime:
    """Return this process's runtime, opened at first use. In a pool process that is after the fork."""
    return Runtime(settings)


register_tasks(app, runtime)


def _drain(_signal: int, _frame: FrameType | None) -> None:
    runtime().stop()


@signals.worker_process_init.connect(weak=False)
def _prepare_pool_process(**_: object) -> None:
    """Prepare a process of a prefork pool, whose tasks run in its main thread."""
    signals.task_prerun.connect(_drain_on_sigterm, weak=False)
    start_publishing(RedisLink(settings.redis_url).run)
    runtime()  # open the connections now, so that the first image does not wait for them


def _drain_on_sigterm(**_: object) -> None:
    """Install the SIGTERM handler that lets this pool process finish its batch.

    A process manager signals the whole process group, and without a handler Celery's pool processes would die at once,
    with a batch in flight. The handler is installed when a task begins, since the pool sets its own after
    worker_process_init.
    """
    if signal.getsignal(signal.SIGTERM) is not _drain:
        signal.signal(signal.SIGTERM, _drain)


@signals.worker_process_shutdown.connect(weak=False)
def _end_pool_process(**_: object) -> None:
    if runtime.cache_info().currsize:
        runtime().end_traces()
    stop_publishing()  # the process ends without calling atexit handlers


@signals.worker_shutting_down.connect(weak=False)
def _drain_tasks(**_: object) -> None:
    """Make running tasks end when the worker shuts down; otherwise a task goes on while there is work.

    A container signals only the main process. In a threads pool the tasks run in this process, so its runtime is
    stopped. The processes of a prefork pool get SIGTERM.
    """
    if runtime.cache_info().currsize:
        runtime().stop()
    for pool in _pools:
        for pid in pool.info.get("processes", ()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


@signals.worker_init.connect(weak=False)
def _check_redis(**_: object) -> None:
    link = RedisLink(settings.redis_url, patience=10)
    try:
        link.check_policy()
        check_store_id(link, BlobStore.of(settings))
    except ShelflineError as error:
        refuse(error)
    finally:
        link.close()


@signals.worker_ready.connect(weak=False)
def _start_sweep(sender: Any, **_: object) -> None:  # noqa: ANN401  Celery carries no types
    _pools.append(sender.pool)
    start_publishing(RedisLink(settings.redis_url).run)
    link = RedisLink(settings.redis_url)
    repeat("sweep", partial(sweep, link, CeleryWakeUps(link, app), settings), PROBE_SOON)
