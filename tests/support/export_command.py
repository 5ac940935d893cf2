"""The export commands, run in this process: starting one anew imports TensorFlow, which takes seconds."""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import sys
from unittest import mock

from exporter.__main__ import main


def export_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `python -m exporter` with these arguments; its exit status and what it printed.

    One test of each file starts a real process: exit status and streams are then the system's.
    """
    command = ["exporter", *map(str, arguments)]
    out, err, status = io.StringIO(), io.StringIO(), 0
    handler = signal.getsignal(signal.SIGTERM)
    streams = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
    try:
        with streams[0], streams[1], mock.patch.object(sys, "argv", command):
            main()
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    finally:
        signal.signal(signal.SIGTERM, handler)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())
