"""The export commands, run in this process: starting one anew imports TensorFlow, which takes seconds."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

from exporter.__main__ import main

ROOT = Path(__file__).parents[2]


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


def start_export(*arguments: object) -> subprocess.Popen[str]:
    """Start `python -m exporter` with pipes, as a user does: without what TensorFlow set in this environment."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("TF_", "CUDA_", "KERAS_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "exporter", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_export(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `python -m exporter` as a user does; its exit status and what it printed."""
    process = start_export(*arguments)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
