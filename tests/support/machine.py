"""Helpers that tests of every kind share: a real Redis, free ports, polling."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import socket
import tempfile
from pathlib import Path
from typing import IO, NoReturn

import pytest

# Multiplies every lease and every bound of the tests: 1 suits a busy machine of two cores.
SLOWNESS = float(os.environ.get("SHELFLINE_TEST_SLOWNESS", "1"))


_PORTS = range(15_000, 32_000)  # below the ports that the system gives to outgoing connections
_locked_ports: list[IO[str]] = []  # open until this process ends


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on, for this process alone.

    A server may bind its port only after 20 s. No other test gets the port meanwhile, of this run or of another: each
    port that was given has a locked file.
    """
    folder = Path(tempfile.gettempdir()) / f"shelfline-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for _ in _PORTS:
        port = random.SystemRandom().choice(_PORTS)
        lock = (folder / str(port)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:  # another process has it
            lock.close()
            continue
        _locked_ports.append(lock)
        return port
    raise AssertionError("no port is free")


def do_without(what: str) -> NoReturn:
    """Skip the test for what this machine lacks. Where SHELFLINE_REQUIRE_ALL is set, as in CI, it fails instead."""
    if os.environ.get("SHELFLINE_REQUIRE_ALL"):
        pytest.fail(what)
    pytest.skip(what)


def tool(*names: str) -> str:
    """The path of the first of these programs that this machine has; a machine that has none does without the test."""
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        do_without(f"{names[0]} is not installed")
    return path
