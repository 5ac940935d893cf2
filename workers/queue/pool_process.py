"""The processes of a prefork pool: they end between two tasks when they are told to, and when they are silent.

Celery's main process starts another one for each that ended.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType
from typing import Any, Final

import structlog
from billiard.pool import EX_RECYCLE
from celery.concurrency import asynpool, prefork

log = structlog.get_logger(__name__)

_SIGN: Final = struct.Struct("qd")  # the id of a process, and when it was alive
_PLACES: Final = 4096  # of signs, by the ids of their processes
_signs = mmap.mmap(-1, _PLACES * _SIGN.size)  # shared by the main process and the processes that it forks
_GAP_SECONDS: Final = 5.0  # a main process that looks so rarely was frozen, and its pool with it


class PoolProcess(asynpool.Worker):  # type: ignore[misc]  # Celery carries no types
    """A process of a prefork pool that SIGTERM ends: at once if it is idle, else after its task.

    `stop` makes a running task end soon. By default SIGTERM interrupts a task, or an idle process ignores it once a
    task has set a handler of its own.
    """

    stop: Callable[[], None]

    def on_loop_start(self, pid: int) -> None:
        """Set the handler, as late as here: the pool resets all handlers before it."""
        beat()
        signal.signal(signal.SIGTERM, self._on_sigterm)
        super().on_loop_start(pid)

    def _make_child_methods(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  Celery carries no types
        super()._make_child_methods(*args, **options)
        self._idle, self._told_to_end = False, False
        receive: Callable[[], Any] = self.wait_for_job

        def wait_for_job() -> Any:  # noqa: ANN401  Celery carries no types
            self._idle = True  # before the check: a signal after it is handled by `_on_sigterm`
            try:
                if self._told_to_end:
                    sys.exit(EX_RECYCLE)
                return receive()
            finally:
                self._idle = False

        self.wait_for_job: Callable[[], Any] = wait_for_job

    def _on_sigterm(self, _signal: int, _frame: FrameType | None) -> None:
        self._told_to_end = True
        type(self).stop()
        if self._idle:
            sys.exit(EX_RECYCLE)


class _Pool(asynpool.AsynPool):  # type: ignore[misc]  # Celery carries no types
    Worker = PoolProcess


def end_on_sigterm(stop: Callable[[], None]) -> None:
    """Have prefork pools consist of processes that end on SIGTERM. Call this before the worker starts.

    `stop` is called in the process that got the signal, in its main thread, and must not block.
    """
    PoolProcess.stop = staticmethod(stop)
    prefork.TaskPool.Pool = _Pool


def beat() -> None:
    """Note that this process is alive."""
    pid = os.getpid()
    _SIGN.pack_into(_signs, pid % _PLACES * _SIGN.size, pid, time.monotonic())


class SilentProcesses:
    """Kills pool processes that are silent: a thread of theirs holds Python's interpreter lock, or they cannot end.

    Nothing is lost: their images are taken over after a lease, and count as images of a process that died.
    """

    def __init__(self, silent_seconds: float) -> None:
        self._silent_seconds = silent_seconds
        self._looked_at = time.monotonic()

    def end(self, pids: Iterable[int]) -> None:
        """Kill those of these processes that gave no sign of life for `silent_seconds`."""
        gap, self._looked_at = time.monotonic() - self._looked_at, time.monotonic()
        if gap > _GAP_SECONDS:
            return  # they may have been frozen as this process was: they get the time to say that they are alive
        for pid in pids:
            noted, alive_at = _SIGN.unpack_from(_signs, pid % _PLACES * _SIGN.size)
            silent = time.monotonic() - alive_at
            if noted == pid and silent > self._silent_seconds:
                log.error("a process gave no sign of life: it is killed and replaced", pid=pid, seconds=round(silent))
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
