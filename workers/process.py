"""How a process ends that is set up wrong: what to do about it on stderr, and exit status 2, as with every command."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final, NoReturn

CANNOT: Final = 2


def refuse(error: Exception) -> NoReturn:
    """Do not start."""
    print(f"shelfline: {error}", file=sys.stderr, flush=True)  # noqa: T201  before logs are set up
    raise SystemExit(CANNOT)


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
