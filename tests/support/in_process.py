"""Run the `main` of a command in this process, where a new process would only cost its start."""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock


def run_in_process(
    main: Callable[[], None], *command: object, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `main` as this command, in this folder; return its exit status and what it printed.

    One test of each file starts a real process: exit status and streams are then the system's.
    """
    out, err, status = io.StringIO(), io.StringIO(), 0
    arguments = [str(argument) for argument in command]
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            contextlib.chdir(folder or Path()),
            mock.patch.object(sys, "argv", arguments),
        ):
            main()
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    finally:
        signal.signal(signal.SIGTERM, handler)
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())
