"""A process whose settings cannot be used does not start: a line for each that is wrong, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from api.commands.stack.plan import read_procfile

pytestmark = pytest.mark.process

PROJECT = Path(__file__).resolve().parents[3]
STARTS = {**read_procfile(PROJECT / "Procfile"), "up": "shelfline up", "doctor": "shelfline doctor"}


@pytest.mark.parametrize("process", STARTS)
def test_each_wrong_setting_is_a_line(process: str, tmp_path: Path) -> None:
    """Named by its variable; what it was set to may be a secret, and is not shown."""
    wrong = {"SHELFLINE_BATCH_ROWS": "99", "SHELFLINE_ADMIN_KEY": "hunter2", "SHELFLINE_LOG_FORMAT": "xml"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["/bin/sh", "-c", STARTS[process]],
        cwd=PROJECT,
        env={"PATH": path, "SHELFLINE_VAR": str(tmp_path), "PYTHONPATH": str(PROJECT), **wrong},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    lines = done.stderr.strip().splitlines()

    assert done.returncode == 2
    assert len(lines) == len(wrong), done.stderr
    for name in wrong:
        assert any(f"{name} is wrong: " in line for line in lines), done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert done.stdout == ""
