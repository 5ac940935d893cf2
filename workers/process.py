"""How a process refuses to start, and how a child process ends with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final, NoReturn

from workers.errors import SettingsError

CANNOT: Final = 2  # exit status of a process that cannot start
_PR_SET_PDEATHSIG: Final = 1  # see prctl(2)


def refuse(error: Exception) -> NoReturn:
    """Print what is wrong to stderr and exit with status 2, as every command does."""
    print(f"shelfline: {error}", file=sys.stderr, flush=True)  # noqa: T201  logs are not set up yet
    raise SystemExit(CANNOT)


def check_utf8() -> None:
    """Raise SettingsError if names of files are not UTF-8 here: then a folder named é could not be opened."""
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":
        raise SettingsError(
            f"Python takes the names of files for {encoding!r} here, so images with other names cannot be read. Unset "
            "PYTHONUTF8, or set LC_ALL=C.UTF-8."
        )


def die_with_parent(sent: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """Return a function that a child calls first (`preexec_fn`), so that it gets `sent` when its parent dies.

    Call this in the parent, and start the child from the parent's main thread: Linux sends the signal when the *thread*
    that started the child ends. The setting survives an exec. On systems other than Linux the function does nothing.
    """
    if not sys.platform.startswith("linux"):
        return lambda: None
    parent = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True)  # loaded before the fork, where loading is safe

    def call() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(sent), 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the call of prctl
            os.kill(os.getpid(), sent)

    return call
