"""The worker's entry point for Celery: `celery --app workers.main:app worker`."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from functools import cache, partial
from typing import Any, Final

from celery import signals

from serving.errors import ShelflineError
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.process import refuse
from workers.queue.bootsteps import WakeAfterTask
from workers.queue.pool_process import SilentProcesses, beat, end_on_sigterm
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
_STUCK: Final = 70  # exit status, EX_SOFTWARE of sysexits.h: a manager that restarts only what failed restarts it
_SILENT_SECONDS: Final = 10.0  # on top of twice an image's time limit
_LOOK_SECONDS: Final = 1.0
_pools: list[Any] = []  # the pool of this process; empty until the worker is ready


@cache
def runtime() -> Runtime:
    """Return this process's runtime, opened at first use. In a pool process that is after the fork."""
    return Runtime(settings, replace=lambda: os.kill(os.getpid(), signal.SIGTERM), beat=beat)


register_tasks(app, runtime)
end_on_sigterm(lambda: runtime().stop())


@signals.worker_process_init.connect(weak=False)
def _prepare_pool_process(**_: object) -> None:
    """Prepare a process of a prefork pool, whose tasks run in its main thread."""
    start_publishing(RedisLink(settings.redis_url).run)
    runtime()  # open the connections now, so that the first image does not wait for them


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


@signals.worker_shutdown.connect(weak=False)
def _end_stuck_worker(**_: object) -> None:
    """End a worker with a threads pool at once if one of its threads hangs: Python would wait for it for ever."""
    if runtime.cache_info().currsize and runtime().is_stuck:
        runtime().end_traces()
        stop_publishing()
        os._exit(_STUCK)


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
    silent = SilentProcesses(2 * settings.image_seconds + _SILENT_SECONDS)
    repeat("silent processes", partial(_end_silent, silent, sender.pool), _LOOK_SECONDS)


def _end_silent(silent: SilentProcesses, pool: Any) -> float:  # noqa: ANN401  Celery carries no types
    with suppress(AttributeError):  # the pool has been stopped meanwhile
        silent.end(pool.info.get("processes", ()))
    return _LOOK_SECONDS
