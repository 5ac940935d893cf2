"""Honcho's process manager, extended so that no process outlives it, even after `kill -9`."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from typing import Any

from honcho import manager
from honcho.manager import Manager
from honcho.process import Popen, Process

from workers.process import die_with_parent


class ProcessGroup(Manager):  # type: ignore[misc]  # honcho has no types
    """Runs commands until one ends or a signal arrives, then ends all of them.

    Honcho starts a runner process for each command. The runner dies with this process, and the command with its
    runner.
    """

    def __init__(self, started: Callable[[], None], patience: float | None = None) -> None:
        """Create a group without processes.

        `started` is called after every runner was forked, since no thread may be started before. Processes that do
        not end within `patience` seconds are killed; the default is honcho's 5 s.
        """
        if patience is not None:
            manager.KILL_WAIT = patience  # honcho reads this constant in its loop, and has no parameter
        multiprocessing.set_start_method("fork", force=True)  # a fork server would become the runners' parent
        super().__init__()
        self._process_ctor = _BoundProcess
        self._started = started
        self._stop_wanted = False
        self.died: dict[str, int] = {}  # exit statuses by name

    def terminate(self) -> None:
        """End every process; if some have not started yet, wait for that first, because honcho could not end them."""
        if not super()._all_started():
            self._stop_wanted = True
            return
        if not self._terminating and self.returncode not in {130, 143}:
            self.died = {
                name: int(process["returncode"]) for name, process in self._processes.items() if "returncode" in process
            }
        super().terminate()

    def _start(self) -> None:
        super()._start()
        self._started()

    def _all_started(self) -> bool:
        started = bool(super()._all_started())
        if started and self._stop_wanted:
            self._stop_wanted = False
            self.terminate()
        return started


class _BoundProcess(Process):  # type: ignore[misc]  # honcho has no types
    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  honcho has no types
        super().__init__(*args, **kwargs)
        self._bind = die_with_parent()
        self._child_ctor = _bound_popen

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:  # noqa: ANN401, FBT001, FBT002  honcho's signature
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._bind()
        super().run(events, ignore_signals)


def _bound_popen(command: str, **kwargs: Any) -> Any:  # noqa: ANN401  honcho has no types
    bind = die_with_parent()

    def first() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the runner ignores these signals, its command must not
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        bind()

    return Popen(command, preexec_fn=first, **kwargs)
