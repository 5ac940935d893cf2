"""An S3 of its own, as a process: moto's server, which answers as AWS does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
import httpx
import pytest

from tests.support.machine import free_port
from tests.support.polling import wait_until

BUCKET = "shelf"


class S3Server:
    """Where it is, and how to break it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(
            command, env=os.environ | self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers, what="the S3 server")

    def empty(self) -> None:
        """Forget everything; there is a bucket without anything then."""
        httpx.post(f"{self.url}/moto-api/reset", timeout=180, trust_env=False).raise_for_status()
        httpx.put(f"{self.url}/{BUCKET}", timeout=180, trust_env=False).raise_for_status()

    def put(self, key: str, content: bytes) -> None:
        """Write an object as another program would: no cache of this process's file systems learns of it."""
        self._others_files().pipe_file(f"{BUCKET}/{key}", content)

    def delete(self, key: str) -> None:
        """Delete an object as another program would."""
        self._others_files().rm_file(f"{BUCKET}/{key}")

    @staticmethod
    def _others_files() -> Any:
        return fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)

    def stop(self) -> None:
        """Kill it; what it had is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/moto-api/", trust_env=False).is_success
        except httpx.TransportError:
            return False


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run one; this process and those that it starts find it by the environment.

    Without the packages the test is skipped; where SHELFLINE_REQUIRE_ALL is set, as in CI, it fails instead.
    """
    if not os.environ.get("SHELFLINE_REQUIRE_ALL"):
        pytest.importorskip("moto")
        pytest.importorskip("s3fs")
    import s3fs

    server = S3Server()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        server.start()
        try:
            yield server
        finally:
            server.stop()
            s3fs.S3FileSystem.clear_instance_cache()
