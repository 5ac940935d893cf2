from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from api.commands.errors import StackError
from api.commands.stack.state import StackRecord, StackState


def test_one_stack_at_a_time(tmp_path: Path) -> None:
    """The lock is had by one, and seen by all."""
    state = StackState(tmp_path / "var")
    assert not state.running()
    with state.owned() as first, StackState(tmp_path / "var").owned() as second:
        assert (first, second) == (True, False)
        assert state.running()
    assert not state.running()


def test_a_record(tmp_path: Path) -> None:
    """What is written is read, and nothing that is damaged."""
    state = StackState(tmp_path)
    assert state.read() is None
    record = StackRecord("http://127.0.0.1:5000", 1, None)
    state.write(record)
    assert state.read() == record
    state.forget()
    state.forget()
    assert state.read() is None
    (tmp_path / "stack.json").write_text('{"url": 1}')
    assert state.read() is None


def test_the_last_user_ends_it(tmp_path: Path) -> None:
    """A stack that waits for its users goes on when the last has left, and not before."""
    state = StackState(tmp_path)
    ended = threading.Event()

    def end() -> None:
        os.close(state.wait_for_users())
        ended.set()

    with state.used() as mine:
        with state.used():
            assert state.used_by_others(mine)
        with state.used() as alone:
            waiting = threading.Thread(target=end)
            waiting.start()
            assert not ended.is_set()
            assert not state.used_by_others(alone)
    waiting.join(10)
    assert ended.is_set()


def test_a_user_that_is_killed_has_left(tmp_path: Path) -> None:
    """The kernel gives back a killed process' place."""
    script = (
        "import pathlib, sys, time; from api.commands.stack.state import StackState\n"
        "with StackState(pathlib.Path(sys.argv[1])).used(): print(flush=True); time.sleep(60)"
    )
    user = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[5]
    )
    assert user.stdout is not None
    with user.stdout:
        user.stdout.readline()
        user.kill()
        user.wait()

    os.close(StackState(tmp_path).wait_for_users())


def test_a_look_makes_no_folder(tmp_path: Path) -> None:
    """In a container, say, whose root is read-only."""
    state = StackState(tmp_path / "var")
    assert (state.running(), state.read()) == (False, None)
    assert not state.folder.exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """It is said in one line."""
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match="cannot be made"), StackState(tmp_path / "file").owned():
        pass
    (tmp_path / "var" / "stack.lock").mkdir(parents=True)
    state = StackState(tmp_path / "var")
    with pytest.raises(StackError, match="cannot be opened"):
        state.running()
