"""Photos that arrive in folders, taken once they are whole. By polling: see docs/decisions."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from api.commands.detect.photos import Photo

SETTLE_SECONDS = 2.0  # a photo is whole when it has not changed for so long
_EMPTY_SECONDS = 30.0  # likewise, of a file without a byte: it has been made and will be written
_OLD_SECONDS = 10.0  # what was changed last before this, is there
_LEAST_SECONDS = 1.0  # between looks
_PAUSES = 20  # of a look's own duration: looking takes at most a twentieth of the time


@dataclass
class _Seen:
    stamp: tuple[int, int]
    since: float


class Arrivals:
    """Tells which photos are new and whole; `look` gives all photos that are there."""

    def __init__(
        self,
        look: Callable[[], Iterable[Photo]],
        known: Iterable[Photo],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`known` are taken already. A photo of theirs that was replaced since is a new one."""
        self._look = look
        self._taken = {one.path: one.stamp for one in known}
        self._waiting: dict[str, _Seen] = {}
        self._clock = clock
        self._wall = wall
        self._first = True
        self._next = clock()

    @property
    def waiting(self) -> int:
        """Photos that are being written."""
        return len(self._waiting)

    def take(self) -> list[Photo]:
        """Those that are new and whole; looks only where the last look is some time ago."""
        began = self._clock()
        if began < self._next:
            return []
        found, whole = {}, []
        for photo in self._look():
            if self._taken.get(photo.path) == photo.stamp:
                continue
            state = self._state(photo, began)
            if state is None:  # gone again, or no plain file
                continue
            found[photo.path] = state
            if self._is_whole(photo, state, began):
                size, changed = self._taken[photo.path] = state.stamp
                whole.append(replace(photo, size=size, changed=changed))
                del found[photo.path]
        self._waiting, self._first = found, False
        self._next = self._clock() + max(_LEAST_SECONDS, _PAUSES * (self._clock() - began))
        return whole

    def _state(self, photo: Photo, now: float) -> _Seen | None:
        try:
            found = os.stat(photo.path)  # noqa: PTH116  many of them
        except OSError:
            return None
        stamp = (found.st_size, found.st_mtime_ns)
        before = self._waiting.get(photo.path)
        if before and before.stamp == stamp:
            return before
        old = self._first and self._wall() - found.st_mtime > _OLD_SECONDS
        return _Seen(stamp, now - _EMPTY_SECONDS if old else now)

    def _is_whole(self, photo: Photo, state: _Seen, now: float) -> bool:
        patience = SETTLE_SECONDS if state.stamp[0] else _EMPTY_SECONDS
        return now - state.since >= patience and not is_being_written(photo.path)


def is_being_written(path: str) -> bool:
    """Whether a process of this machine has a file open for writing, where the kernel tells.

    It does for files of one's own on local file systems, by refusing a read lease (fcntl(2), F_SETLEASE).
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except (OSError, AttributeError):  # another's file, another kernel
        return False
    finally:
        os.close(number)
    return False
