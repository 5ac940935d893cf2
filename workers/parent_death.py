"""Processes that end with the one that started them, even where that one is killed with -9 and can tell nobody."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent(sent: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """A function for a child to call first (`preexec_fn`): from then on `sent` hits it when its parent dies.

    To be made in the parent, whose main thread must start the child: Linux sends the signal when that *thread* ends.
    It outlives an exec. Elsewhere than on Linux it does nothing.
    """
    if not sys.platform.startswith("linux"):
        return lambda: None
    parent = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True)  # loaded before the fork, where loading is safe

    def call() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(sent), 0, 0, 0)
        if os.getppid() != parent:  # it died in between
            os.kill(os.getpid(), sent)

    return call
