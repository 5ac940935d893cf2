"""`shelfline` as a process in a folder, with nothing of the test's own environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
COMMAND_LINE = ("-m", "api.commands.cli")


def start_shelfline(
    folder: Path,
    *arguments: object,
    before: tuple[str, ...] = (),
    program: tuple[str, ...] = COMMAND_LINE,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start a command, its output in pipes; `before` stands before the interpreter, `program` after it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("SHELFLINE_", "REDIS_"))}
    return subprocess.Popen(
        [*before, sys.executable, "-P", *program, *map(str, arguments)],
        cwd=folder,
        env=own | {"PYTHONPATH": str(PROJECT), **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
