"""Find photos that arrive in folders, and take each one when it is complete. Polling is used, see docs/decisions."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from api.commands.detect.photos import Photo

SETTLE_SECONDS = 2.0  # a photo is complete when it has not changed for this time
_EMPTY_SECONDS = 30.0  # the same for an empty file, which probably will be written soon
_OLD_SECONDS = 10.0  # at the first look, a photo whose last change is older than this is complete
_MIN_PAUSE_SECONDS = 1.0  # between looks
_PAUSE_FACTOR = 20  # a pause is at least 20 times the last look, so that looking takes at most a twentieth of the time


@dataclass
class _Seen:
    stamp: tuple[int, int]
    since: float


class Arrivals:
    """Finds the photos that are new and complete; `look` returns all photos that exist."""

    def __init__(
        self,
        look: Callable[[], Iterable[Photo]],
        known: Iterable[Photo],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Start with the photos `known`, which were taken before; a photo that has replaced one of them is new."""
        self._look = look
        self._taken = {photo.path: photo.stamp for photo in known}
        self._waiting: dict[str, _Seen] = {}
        self._clock = clock
        self._wall = wall
        self._first = True
        self._next = clock()

    @property
    def waiting(self) -> int:
        """The number of photos that are being written."""
        return len(self._waiting)

    def take(self) -> list[Photo]:
        """Return the photos that are new and complete; if the last look was a short time ago, return none."""
        began = self._clock()
        if began < self._next:
            return []
        incomplete, complete = {}, []
        for photo in self._look():
            if self._taken.get(photo.path) == photo.stamp:
                continue
            state = self._state(photo, began)
            if state is None:  # it has disappeared or cannot be read
                continue
            if self._is_complete(photo, state, began):
                size, changed = self._taken[photo.path] = state.stamp
                complete.append(replace(photo, size=size, changed=changed))
            else:
                incomplete[photo.path] = state
        self._waiting, self._first = incomplete, False
        self._next = self._clock() + max(_MIN_PAUSE_SECONDS, _PAUSE_FACTOR * (self._clock() - began))
        return complete

    def _state(self, photo: Photo, now: float) -> _Seen | None:
        try:
            status = os.stat(photo.path)  # noqa: PTH116  no object for each file
        except OSError:
            return None
        stamp = (status.st_size, status.st_mtime_ns)
        before = self._waiting.get(photo.path)
        if before and before.stamp == stamp:
            return before
        old = self._first and self._wall() - status.st_mtime > _OLD_SECONDS
        return _Seen(stamp, now - _EMPTY_SECONDS if old else now)

    def _is_complete(self, photo: Photo, state: _Seen, now: float) -> bool:
        patience = SETTLE_SECONDS if state.stamp[0] else _EMPTY_SECONDS
        return now - state.since >= patience and not is_being_written(photo.path)


def is_being_written(path: str) -> bool:
    """Return whether a process of this machine has a file open for writing, as far as the kernel can tell.

    The kernel refuses a read lease (fcntl(2), F_SETLEASE) on such a file. It grants leases only on the user's own files
    on local file systems; for any other file this returns False.
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
    except (OSError, AttributeError):  # another user's file, or a kernel without leases
        return False
    finally:
        os.close(number)
    return False
