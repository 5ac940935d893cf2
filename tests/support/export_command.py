"""The export commands, run in this process: starting one anew imports TensorFlow, which takes seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from exporter.__main__ import main
from tests.support.in_process import run_in_process

ROOT = Path(__file__).parents[2]


def export_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `python -m exporter` with these arguments; its exit status and what it printed."""
    return run_in_process(main, "exporter", *arguments)


def start_export(*arguments: object, cwd: Path = ROOT) -> subprocess.Popen[str]:
    """Start `python -m exporter` with pipes, as a user does: without what TensorFlow set in this environment."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("TF_", "CUDA_", "KERAS_"))}
    environment["PYTHONPATH"] = str(ROOT)  # -P takes the current folder off the path
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "exporter", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_export(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run `python -m exporter` as a user does; its exit status and what it printed."""
    process = start_export(*arguments, cwd=cwd)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
