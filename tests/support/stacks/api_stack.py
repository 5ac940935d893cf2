"""The API as it is run, with a worker behind it and a model server that is scripted."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from api.commands.stack.plan import read_procfile
from tests.support.machine import free_port
from tests.support.polling import wait_until
from tests.support.servers.scripted_server import ScriptedServer

PROJECT = Path(__file__).resolve().parents[3]


class ApiStack:
    """Gunicorn and a Celery worker of the Procfile, on a Redis that is there."""

    def __init__(self, redis_url: str, folder: Path, **env: str) -> None:
        self.url = ""
        self._folder = folder
        self._port = free_port()
        self.model = ScriptedServer()
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("SHELFLINE_")}
        self._env |= {
            "PORT": str(self._port),
            "REDIS_URL": redis_url,
            "BLOB_URL": str(folder / "blobs"),
            "SHELFLINE_MODEL_SERVER": self.model.target,
            **env,
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def log(self) -> Path:
        """What the processes said."""
        return self._folder / "stack.log"

    def start(self) -> None:
        """Start everything and wait until it is ready."""
        self.model.start()
        self._env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), self._env["PATH"]])
        self.start_processes()

    def start_processes(self) -> None:
        """Start the API and the worker, and wait until both are ready."""
        commands = read_procfile(PROJECT / "Procfile")
        with self.log.open("ab") as out:
            for name in ("web", "worker"):
                command = ["/bin/sh", "-c", commands[name]]
                self._processes.append(subprocess.Popen(command, cwd=PROJECT, env=self._env, stdout=out, stderr=out))
        self.url = f"http://127.0.0.1:{self._port}"
        wait_until(self._ready, what="the stack")

    def kill(self) -> None:
        """End the API and the worker with all their processes, as a power failure would."""
        for process in self._processes:
            for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            process.wait()
        self._processes = []

    def stop(self) -> None:
        """End everything."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()
        self.model.stop()

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False
