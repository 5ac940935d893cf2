"""The processes of a stack: one that ends is started again, three times a minute."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.polling import wait_until

pytestmark = pytest.mark.process

PROJECT = Path(__file__).parents[4]
# Runs two commands: `stays` until it is ended, and `ends`, as the arguments say.
GROUP = """
import sys
from api.commands.stack import processes

processes._PAUSES = (0.0, 0.0, 0.5)
group = processes.ProcessGroup(lambda: None, 2.0, lambda name: print("AGAIN", name, flush=True))
group.ready = sys.argv[1] == "ready"
group.add_process("stays", "echo $$ >> stays; exec sleep 1000")
group.add_process("ends", sys.argv[2])
group.loop()
print("END", [(death.status, death.what) for death in group.died.values()])
"""


def started(folder: Path, when: str, command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", GROUP, when, command],
        cwd=folder,
        env={"PYTHONPATH": str(PROJECT), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("when", "command", "runs", "died"),
    [
        ("ready", "echo x >> runs; exit 7", 4, [(7, "ends ended by itself, 4 times within a minute")]),
        ("ready", "echo x >> runs; exit 2", 4, [(2, "ends ended by itself, 4 times within a minute")]),
        ("not ready", "echo x >> runs; kill -9 $$", 4, [(-9, "ends ended by itself, 4 times within a minute")]),
        ("not ready", "echo x >> runs; exit 2", 1, [(2, "ends ended by itself")]),
    ],
)
def test_a_process_that_ends_again_and_again(
    tmp_path: Path, when: str, command: str, runs: int, died: list[tuple[int, str]]
) -> None:
    """After three restarts the stack ends with the reason. What cannot start at first is not tried again."""
    out, _ = started(tmp_path, when, command).communicate(timeout=120)

    assert out.splitlines()[-1] == f"END {died}"
    assert out.splitlines().count("AGAIN ends") == runs - 1
    assert len((tmp_path / "runs").read_text().splitlines()) == runs
    assert len((tmp_path / "stays").read_text().splitlines()) == 1


@pytest.mark.parametrize("state", ["running again", "waiting for its restart"])
def test_a_stack_that_is_ended_after_a_restart(tmp_path: Path, state: str) -> None:
    """A process that ended once runs again; SIGTERM then ends all of them, also one that waits for its restart."""
    lasting = 1 if state == "running again" else 3
    command = f"echo x >> runs; test $(wc -l < runs) -gt {lasting} && exec sleep 1000; exit 1"
    group = started(tmp_path, "ready", command)
    runs = tmp_path / "runs"
    wait_until(lambda: runs.exists() and len(runs.read_text().splitlines()) == lasting + (state == "running again"))
    group.send_signal(signal.SIGTERM)
    out, _ = group.communicate(timeout=120)

    assert out.splitlines()[-1] == "END []"
    assert "SIGTERM received" in out
