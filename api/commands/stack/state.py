"""The state folder of a stack, where other commands find it: its lock, the lock of its users, its address.

The stack holds `stack.lock` as long as it runs. Each command that uses the stack holds a shared lock on `stack.users`.
A stack that a command started for itself takes an exclusive lock on `stack.users` before it stops, so it waits for the
last user. Both are `flock`s, which the kernel releases however a process ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from api.commands.errors import StackError
from workers.io.local_files import PRIVATE_FOLDER

_PROBE_SECONDS = 0.5  # other commands hold the lock for an instant when they test it


@dataclass(frozen=True)
class StackRecord:
    """What other commands need to know of a running stack.

    `url` is the address of its API. `log` is the path of its log, None if it writes to a terminal. `parts` are the
    settings that the stack chose itself, which say where Redis, the blobs and the models are.
    """

    url: str
    pid: int
    log: str | None
    parts: Mapping[str, str] = field(default_factory=dict)


class StackState:
    """The state folder of a stack, which only its user may read: it holds images and the secrets of webhooks."""

    def __init__(self, folder: Path) -> None:
        """Use a state folder; it is created when a stack starts or is used, but not by `running`."""
        self.folder = folder.absolute()
        self.log = self.folder / "stack.log"
        self._record = self.folder / "stack.json"

    @contextmanager
    def owned(self) -> Iterator[bool]:
        """Hold the stack's lock if it is free; yields whether it was."""
        with self._opened("stack.lock") as lock:
            with suppress(OSError):  # another user's folder
                self.folder.chmod(PRIVATE_FOLDER)  # one of an older version may be open to others
            give_up = time.monotonic() + _PROBE_SECONDS
            while not (locked := _try(lock, fcntl.LOCK_EX)) and time.monotonic() < give_up:
                time.sleep(0.02)
            yield locked

    def running(self) -> bool:
        """Return whether a stack holds its lock."""
        if not self.folder.exists():
            return False
        with self._opened("stack.lock") as lock:
            return not _try(lock, fcntl.LOCK_SH)

    @contextmanager
    def used(self) -> Iterator[int]:
        """Register as a user of the stack and yield the lock; if a stack is about to stop, wait for its end first."""
        with self._opened("stack.users") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield lock

    def used_by_others(self, lock: int) -> bool:
        """Release a user's lock, and return whether the stack has other users."""
        alone = _try(lock, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_UN)
        return not alone

    def wait_for_users(self) -> int:
        """Wait until the stack has no users, and keep new ones out; returns the lock, to be held to the end."""
        lock = os.open(self.folder / "stack.users", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def write(self, record: StackRecord) -> None:
        """Publish the stack's record for other commands."""
        beside = self._record.with_suffix(".new")
        beside.touch(0o600)
        beside.write_text(json.dumps(asdict(record)) + "\n")
        beside.replace(self._record)

    def read(self) -> StackRecord | None:
        """Return the stack's record, None if it is not ready yet."""
        try:
            record = json.loads(self._record.read_text())
            return StackRecord(**{known.name: record[known.name] for known in fields(StackRecord)})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def running_record(self) -> StackRecord | None:
        """Return the record of the stack that runs now, None if none runs or it is not ready yet."""
        return self.read() if self.running() else None

    def forget(self) -> None:
        """Delete the stack's record."""
        self._record.unlink(missing_ok=True)

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        try:
            self.folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        except OSError as error:
            raise StackError(
                f"The folder {self.folder} cannot be made ({error.strerror}): name another --var."
            ) from error
        try:
            lock = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StackError(
                f"{self.folder / name} cannot be opened ({error.strerror}): give access, or name another --var."
            ) from error
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
