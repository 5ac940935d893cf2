"""A running stack for a command: one that is there already, or one of its own that ends with it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.client.client import ShelflineClient
from api.commands.errors import StackError
from api.commands.stack.plan import PROJECT
from api.commands.stack.state import StackRecord, StackState
from serving.errors import ShelflineError

START_SECONDS = 300.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Stack:
    """A stack to work with. `shares_files`: it runs on this machine, so that it can be given folders by name.

    `own`: it was started for the command, and ends with it. `alive` raises StackError where the stack has died.
    """

    url: str
    shares_files: bool
    alive: Callable[[], None]
    own: bool = False


@contextmanager
def remote_stack(url: str) -> Iterator[Stack]:
    """A stack somewhere else; nothing is known of its processes and files."""
    yield Stack(url, shares_files=False, alive=lambda: None)


@contextmanager
def local_stack(
    state: StackState, models: Path, roots: Sequence[Path], notify: Callable[[str], None]
) -> Iterator[Stack]:
    """The stack of the state folder; where none runs one is started, and stopped at the end.

    `notify` is told what is being waited for. Raises StackError where none can be had.
    """
    with state.used() as place:
        own: subprocess.Popen[bytes] | None = None
        try:
            while True:
                if state.running():
                    notify("Waiting for the stack that is being started")
                    record = _record(state, lambda: not state.running(), None)
                    if record:
                        break
                notify("Starting the stack")
                own = _start(state, models, roots)
                record = _record(state, _ended(own), own.pid)
                if record:
                    break
                if not state.running():
                    raise StackError(f"The stack could not be started: {_last_words(state.log)}")
                own = None  # another command was quicker: use its stack
            yield Stack(record.url, shares_files=True, alive=_watch(state, own, record), own=own is not None)
        finally:
            if own is not None:
                _stop(own, wait=not state.used_by_others(place))


def _ended(process: subprocess.Popen[bytes]) -> Callable[[], bool]:
    return lambda: process.poll() is not None


def _start(state: StackState, models: Path, roots: Sequence[Path]) -> subprocess.Popen[bytes]:
    """Start a stack that ends when this process closes the pipe to it, or dies."""
    command = [sys.executable, "-P", "-m", "api.commands.cli", "up", "--port", "0", "--until-stdin-closes"]
    command += ["--var", str(state.folder), "--models", str(models.absolute())]
    command += [part for root in roots for part in ("--root", str(root))]
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    with state.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603  the project's own command
            command,
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the command, which ends its stack in order
        )


def _stop(own: subprocess.Popen[bytes], *, wait: bool) -> None:
    """Let the stack end; `wait` unless others use it still, for then it ends with the last of them."""
    assert own.stdin is not None
    own.stdin.close()
    if not wait:
        return
    try:
        own.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        own.send_signal(signal.SIGKILL)  # its processes are bound to its life
        own.wait()


def _record(state: StackState, gone: Callable[[], bool], pid: int | None) -> StackRecord | None:
    """Where the stack (of process `pid`, if that is known) is once it is ready, None where it went.

    A record may be one that a killed stack left behind, and its process number another's by now: so it must be of the
    process that was started, or of a stack that answers. Raises StackError where it takes too long.
    """
    end = time.monotonic() + START_SECONDS
    while not ((record := state.read()) and (record.pid == pid if pid else _answers(record))):
        if gone():
            return None
        if time.monotonic() > end:
            raise StackError(f"The stack is not ready after {START_SECONDS:.0f} s: {_last_words(state.log)}")
        time.sleep(_POLL_SECONDS)
    return record


def _watch(state: StackState, own: subprocess.Popen[bytes] | None, record: StackRecord) -> Callable[[], None]:
    def check() -> None:
        dead = own.poll() is not None if own else not state.running()
        if dead:
            where = _last_words(Path(record.log)) if record.log else "see the terminal that it ran in."
            raise StackError(f"The stack has stopped: {where}")

    return check


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _answers(record: StackRecord) -> bool:
    if not _exists(record.pid):
        return False
    with ShelflineClient(record.url) as client:
        try:
            client.ready()
        except ShelflineError:
            return False
    return True


def _last_words(log: Path) -> str:
    """The last line of a log, and where the others are."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if re.search("[a-z]{3}", line)]
    except OSError:
        lines = []
    last = lines[-1][:300] if lines else "it said nothing"
    return f"{last} (log: {log})"
