"""What a running stack leaves in its state folder for other commands to find: a lock, its users' lock, its address.

`stack.lock` is held by the stack for its whole life. `stack.users` is shared by the commands that use it; a stack that
a command started for itself takes it alone before it stops, so it waits for the last of them. Both are `flock`s: the
kernel gives them back however a process ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from api.commands.errors import StackError

_PROBE_SECONDS = 0.5  # others look at the lock for an instant


@dataclass(frozen=True)
class StackRecord:
    """Where a stack answers, where it writes its log (None: to a terminal), and its own Redis (None: it has none).

    `parts` are the settings of its processes that say where Redis, the blobs and the models are.
    """

    url: str
    pid: int
    log: str | None
    redis_url: str | None = None
    parts: Mapping[str, str] = field(default_factory=dict)


class StackState:
    """The state folder of a stack."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made where it is missing, once a stack is to start or to be used: not for a look."""
        self.folder = folder.absolute()
        self.log = self.folder / "stack.log"
        self._record = self.folder / "stack.json"

    @contextmanager
    def owned(self) -> Iterator[bool]:
        """Hold the stack's lock; yields whether it could be had."""
        with self._opened("stack.lock") as lock:
            end = time.monotonic() + _PROBE_SECONDS
            while not (got := _try(lock, fcntl.LOCK_EX)) and time.monotonic() < end:
                time.sleep(0.02)
            yield got

    def running(self) -> bool:
        """Whether a stack holds its lock."""
        if not self.folder.exists():
            return False
        with self._opened("stack.lock") as lock:
            return not _try(lock, fcntl.LOCK_SH)

    @contextmanager
    def used(self) -> Iterator[int]:
        """Be one of the stack's users, waiting for a stack that is about to stop; yields the lock."""
        with self._opened("stack.users") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield lock

    def used_by_others(self, lock: int) -> bool:
        """Whether a user who gives up his place leaves others behind; his lock is let go."""
        alone = _try(lock, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_UN)
        return not alone

    def wait_for_users(self) -> int:
        """Wait until nobody uses the stack, and let nobody begin; returns the lock, to be held to the end."""
        lock = os.open(self.folder / "stack.users", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def write(self, record: StackRecord) -> None:
        """Tell others where the stack is."""
        beside = self._record.with_suffix(".new")
        beside.write_text(json.dumps(asdict(record)) + "\n")
        beside.replace(self._record)

    def read(self) -> StackRecord | None:
        """Where the stack is, None where it is not ready yet."""
        try:
            return StackRecord(**json.loads(self._record.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def forget(self) -> None:
        """Take back what `write` told."""
        self._record.unlink(missing_ok=True)

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StackError(f"The folder {self.folder} cannot be made: {error.strerror}.") from error
        try:
            lock = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StackError(f"{self.folder / name} cannot be opened: {error.strerror}.") from error
        try:
            yield lock
        finally:
            os.close(lock)


def _try(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
