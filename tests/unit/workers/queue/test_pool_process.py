"""Processes of a pool that give no sign of life are killed, and no others."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support.machine import tool
from workers.queue import pool_process
from workers.queue.pool_process import SilentProcesses, beat

SILENT_SECONDS = 40.0


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing."""
    with subprocess.Popen([tool("sleep"), "600"]) as started:
        yield started
        started.kill()


def sign(pid: int, seconds_ago: float, *, by: int | None = None) -> None:
    """Note when a process was alive, at its place; with `by` another process wrote there."""
    place = pid % pool_process._PLACES * pool_process._SIGN.size
    pool_process._SIGN.pack_into(pool_process._signs, place, by or pid, time.monotonic() - seconds_ago)


@pytest.mark.parametrize(
    ("seconds_ago", "by", "killed"),
    [(SILENT_SECONDS + 1, None, True), (SILENT_SECONDS - 10, None, False), (SILENT_SECONDS + 1, 1, False)],
)
def test_who_is_silent(process: subprocess.Popen[bytes], seconds_ago: float, by: int | None, *, killed: bool) -> None:
    """What another process with the same place noted, which ended long ago, says nothing."""
    sign(process.pid, seconds_ago, by=by)
    SilentProcesses(SILENT_SECONDS).end([process.pid])
    if killed:
        assert process.wait(60) == -9
    else:
        assert process.poll() is None


def test_a_main_process_that_was_frozen_waits_for_a_sign(process: subprocess.Popen[bytes]) -> None:
    """Its pool was frozen with it. The next look counts again."""
    silent = SilentProcesses(SILENT_SECONDS)
    sign(process.pid, SILENT_SECONDS + 1)
    silent._looked_at -= pool_process._GAP_SECONDS + 1
    silent.end([process.pid])
    assert process.poll() is None
    silent.end([process.pid])
    assert process.wait(60) == -9
    silent.end([process.pid])  # it is gone, and its parent does not know yet


def test_a_sign_of_this_process() -> None:
    """It is at the place where the main process looks."""
    beat()
    sign_of, alive_at = pool_process._SIGN.unpack_from(
        pool_process._signs, os.getpid() % pool_process._PLACES * pool_process._SIGN.size
    )
    assert sign_of == os.getpid()
    assert alive_at == pytest.approx(time.monotonic(), abs=60)
