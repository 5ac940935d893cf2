"""A real Celery worker process for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from workers.settings import Settings

ROOT = Path(__file__).parents[3]


class CeleryWorker:
    """One `celery worker` in a process group of its own."""

    def __init__(
        self, settings: Settings, pool: str, log: Path, queues: str = "detect,upkeep", app: str = "workers.main:app"
    ) -> None:
        self.log = log
        environment = os.environ | {
            "REDIS_URL": settings.redis_url,
            "BLOB_URL": settings.blob_url,
            "SHELFLINE_MODEL_SERVER": settings.model_server,
            "SHELFLINE_LEASE_SECONDS": str(settings.lease_seconds),
            "SHELFLINE_IMAGE_SECONDS": str(settings.image_seconds),
            "SHELFLINE_FETCH_PRIVATE_HOSTS": ",".join(settings.fetch_private_hosts),
            "SHELFLINE_WEBHOOK_PRIVATE_HOSTS": ",".join(settings.webhook_private_hosts),
            "SHELFLINE_FOLDER_ROOTS": os.pathsep.join(map(str, settings.folder_roots)),
            **({"SHELFLINE_CONTRACTS": str(settings.contracts)} if settings.contracts else {}),
        }
        options = [
            "--queues",
            queues,
            "--pool",
            pool,
            "--concurrency",
            "1",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
        command = [sys.executable, "-m", "celery", "--quiet", "--app", app, "worker", *options]
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=out, stderr=out, start_new_session=True
            )

    @property
    def pool_process(self) -> psutil.Process:
        """The process that does the work: the pool's child, or the worker itself with a threads pool."""
        main = psutil.Process(self.process.pid)
        return next(iter(main.children()), main)

    def signal_group(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """End the whole group, whatever it does."""
        if self.process.poll() is None:
            self.signal_group(signal.SIGKILL)
        self.process.wait()
