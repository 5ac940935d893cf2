"""Provide a running stack to a command: one that runs already, or a new one that ends with the command."""

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
from api.commands.stack.served_models import main_model
from api.commands.stack.state import StackRecord, StackState
from serving.errors import ShelflineError
from workers.settings import load_settings

START_SECONDS = 300.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Stack:
    """A running stack.

    `shares_files`: it runs on this machine, so it can read folders by their paths. `own`: it was started for this
    command and ends with it. `alive` raises StackError if the stack has died. `model` is the model of this
    command's jobs that name none, "" for the stack's default.
    """

    url: str
    shares_files: bool
    alive: Callable[[], None]
    own: bool = False
    model: str = ""


@contextmanager
def local_stack(
    state: StackState, models: Path, roots: Sequence[Path], notify: Callable[[str], None], model: str | None = None
) -> Iterator[Stack]:
    """Yield the stack of the state folder; if none is running, start one and stop it at the end.

    A new stack has `model` ready first, by default that of `main_model`. `notify` is called with what the command waits
    for. Raises StackError if no stack can be started, or if `models` does not have the model.
    """
    with state.used() as users_lock:
        own: subprocess.Popen[bytes] | None = None
        try:
            while True:
                if state.running():
                    notify("Waiting for the stack that is being started")
                    record = _ready_record(state, lambda: not state.running(), None)
                    if record:
                        break
                main = main_model(models, load_settings(), model)
                notify("Starting the stack")
                own = _start(state, models, roots, main)
                record = _ready_record(state, _ended(own), own.pid)
                if record:
                    break
                if not state.running():
                    raise StackError(f"The stack could not be started: {_last_line(state.log)}")
                own = None  # another command started a stack first: use that
            # Another command's stack has the model of that command as its default.
            default = main_model(models, load_settings()) if record.log and not model else ""
            alive = _alive_check(state, own, record)
            yield Stack(record.url, shares_files=True, alive=alive, own=own is not None, model=default)
        finally:
            if own is not None:
                _stop(own, wait=not state.used_by_others(users_lock))


def _ended(process: subprocess.Popen[bytes]) -> Callable[[], bool]:
    return lambda: process.poll() is not None


def _start(state: StackState, models: Path, roots: Sequence[Path], model: str) -> subprocess.Popen[bytes]:
    """Start a stack that ends when this process closes the pipe to it or dies."""
    command = [sys.executable, "-P", "-m", "api.commands.cli", "up", "--port", "0", "--until-stdin-closes"]
    command += ["--var", str(state.folder), "--models", str(models.absolute())]
    command += [part for root in roots for part in ("--root", str(root))]
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    state.log.touch(0o600)
    with state.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603  the project's own command
            command,
            env=os.environ | {"PYTHONPATH": path, "SHELFLINE_MODEL": model},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C must reach only the command, which then stops its stack
        )


def _stop(own: subprocess.Popen[bytes], *, wait: bool) -> None:
    """Tell the stack to end, and with `wait` wait for it.

    If other commands still use the stack, do not wait: it ends after the last of them.
    """
    assert own.stdin is not None
    own.stdin.close()
    if not wait:
        return
    try:
        own.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        own.send_signal(signal.SIGKILL)  # its processes die with it
        own.wait()


def _ready_record(state: StackState, ended: Callable[[], bool], pid: int | None) -> StackRecord | None:
    """Wait until the stack is ready and return its record; None if the stack ended before (`ended`).

    A killed stack may have left its record behind, and another process may have its process number by now. So the
    record must name the process `pid`, or, if that is None, a stack that answers. Raises StackError after 300 s.
    """
    give_up = time.monotonic() + START_SECONDS
    while not ((record := state.read()) and (record.pid == pid if pid else _answers(record))):
        if ended():
            return None
        if time.monotonic() > give_up:
            raise StackError(f"The stack is not ready after {START_SECONDS:.0f} s: {_last_line(state.log)}")
        time.sleep(_POLL_SECONDS)
    return record


def _alive_check(state: StackState, own: subprocess.Popen[bytes] | None, record: StackRecord) -> Callable[[], None]:
    def check() -> None:
        dead = own.poll() is not None if own else not state.running()
        if dead:
            where = _last_line(Path(record.log)) if record.log else "see the terminal that it ran in."
            raise StackError(f"The stack has stopped: {where}")

    return check


def _answers(record: StackRecord) -> bool:
    try:
        os.kill(record.pid, 0)  # only asks whether the process exists
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        pass
    with ShelflineClient(record.url) as client:
        try:
            client.ready()
        except ShelflineError:
            return False
    return True


def _last_line(log: Path) -> str:
    """Return the last line of a log, with the path of the log; if a process ended by itself, its own last line."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if re.search("[a-z]{3}", line)]
    except OSError:
        lines = []
    last = lines[-1] if lines else "it wrote nothing"
    if dead := re.match(r"Shelfline stopped: ([a-z]+)", last):
        said = [line.partition(" | ")[2] for line in lines if re.match(rf"[\d:]+ {dead[1]} +\| ", line)]
        last = said[-1] if said else last
    return f"{last[:300]} (log: {log})"
