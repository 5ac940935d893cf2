"""A real model server process for tests, and what it takes to wait for it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.client import ModelClient
from serving.errors import ModelUnavailableError
from tests.support.machine import free_port
from tests.support.polling import wait_until

MARKER = (255, 0, 255)
PATIENCE_SECONDS = 180  # for what takes 5 s on an idle machine


def until(condition: Callable[[], object], what: str) -> None:
    """Poll until the condition is true."""
    wait_until(condition, PATIENCE_SECONDS, what)


def random_images(rows: int, seed: int = 0) -> NDArray[np.uint8]:
    """Images for the tiny model."""
    return np.random.default_rng(seed).integers(0, 255, (rows, 32, 32, 3), dtype=np.uint8)


@dataclass
class ServerProcess:
    """A real `python -m serving`."""

    base: Path
    log: Path
    port: int = field(default_factory=free_port)
    flags: tuple[str, ...] = ()
    command: tuple[str, ...] = ("-m", "serving")
    process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> str:
        """Where it answers."""
        return f"127.0.0.1:{self.port}"

    def start(self, *, ready: bool = True) -> ServerProcess:
        """Start it; wait until the port is open unless told otherwise."""
        command = [
            sys.executable,
            *self.command,
            f"--port={self.port}",
            f"--model_base_path={self.base}",
            *self.flags,
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)
        if ready:
            until(self.is_ready, "the server to open its port")
        return self

    def is_ready(self) -> bool:
        """Whether it answers; fails at once if it died."""
        assert self.process is not None
        assert self.process.poll() is None, self.text()
        client = ModelClient(self.target)
        try:
            return bool(client.status("default"))
        except ModelUnavailableError:
            return False
        finally:
            client.close()

    def text(self) -> str:
        """What it logged."""
        return self.log.read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it alone."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def end(self) -> int:
        """Kill it, if it lives; its exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.kill()
        return self.process.wait(180)


def publish(prototype: Path, base: Path, version: int) -> Path:
    """Put a copy of a model under `base` at once, by renaming."""
    beside = base / f"tmp-{version}"
    shutil.copytree(prototype, beside)
    return beside.rename(base / str(version))
