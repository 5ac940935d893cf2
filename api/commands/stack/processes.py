"""Honcho's process manager, extended so that no process outlives it, even after `kill -9`."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from honcho import manager
from honcho.manager import Manager
from honcho.process import Popen, Process

from workers.process import CANNOT, die_with_parent

MAX_RESTARTS = 3  # of one process, within _WINDOW_SECONDS
_WINDOW_SECONDS = 60.0
_PAUSES = (0.0, 1.0, 5.0)  # seconds before each of these restarts: what ends a process at once may be over soon


@dataclass(frozen=True)
class Death:
    """The end of a command that is not started again: its last exit status, and a sentence about it."""

    status: int
    what: str


class ProcessGroup(Manager):  # type: ignore[misc]  # honcho has no types
    """Runs commands until a signal arrives or one of them ends too often, then ends all of them.

    A command that ends by itself is started again, up to MAX_RESTARTS times a minute. One that says that it cannot
    start (exit status 2) before `ready` is set is not, because a wrong setting does not become right.

    Honcho starts a runner process for each command. The runner dies with this process, and the command with its
    runner.
    """

    def __init__(
        self,
        started: Callable[[], None],
        patience: float | None = None,
        before_restart: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """Create a group without processes.

        `started` is called after every runner was forked, since no thread may be started before. Processes that do
        not end within `patience` seconds are killed; the default is honcho's 5 s. `before_restart` is called with the
        name of a command before it is started again.
        """
        if patience is not None:
            manager.KILL_WAIT = patience  # honcho reads this constant in its loop, and has no parameter
        multiprocessing.set_start_method("fork", force=True)  # a fork server would become the runners' parent
        super().__init__()
        self._process_ctor = _BoundProcess
        self._started = started
        self._before_restart = before_restart
        self._stop_wanted = False
        self._restarted_at: dict[str, list[float]] = defaultdict(list)  # times of restarts by name
        self._restart_due: dict[str, float] = {}  # when to start a command again, by name
        self.ready = False
        self.died: dict[str, Death] = {}  # by name, those that ended for good

    def terminate(self) -> None:
        """Have the loop end every process. Honcho calls this from signal handlers, between any two steps of it."""
        self._stop_wanted = True

    def _start(self) -> None:
        super()._start()
        self._started()

    def _any_stopped(self) -> bool:
        """Return whether a command ended for good, and start others again; honcho asks in each round of its loop."""
        if not self._stop_wanted:
            for name, process in self._processes.items():
                if "returncode" in process and name not in self.died:
                    self._plan_restart(name, int(process["returncode"]))
            for name in [name for name, due in self._restart_due.items() if time.monotonic() >= due]:
                self._start_again(name)
        return bool(super()._any_stopped())

    def _plan_restart(self, name: str, status: int) -> None:
        now = time.monotonic()
        recent = [at for at in self._restarted_at[name] if now - at < _WINDOW_SECONDS]
        if len(recent) >= MAX_RESTARTS or (status == CANNOT and not self.ready):
            times = f", {len(recent) + 1} times within a minute" if recent else ""
            self.died[name] = Death(status, f"{name} ended by itself{times}")
            return
        self._system_print(f"{name} ended with status {status}: starting it again\n")
        self._restarted_at[name] = [*recent, now]
        self._restart_due[name] = now + _PAUSES[len(recent)]
        del self._processes[name]["returncode"]

    def _start_again(self, name: str) -> None:
        del self._restart_due[name]
        self._before_restart(name)
        process = self._processes[name]
        del process["pid"]
        process["process"] = multiprocessing.Process(name=name, target=process["obj"].run, args=(self.events, True))
        process["process"].start()

    def _all_started(self) -> bool:
        """Return whether every command has started, and end all if that is wanted.

        While some have not started yet, honcho could not end them.
        """
        started = bool(super()._all_started())
        if started and self._stop_wanted and not self._terminating:
            for name in self._restart_due:
                self._processes[name]["returncode"] = 0  # it does not run, so there is nothing to end
            self._restart_due.clear()
            super().terminate()
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
