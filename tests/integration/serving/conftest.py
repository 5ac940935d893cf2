from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.client import ModelClient
from tests.model_server import MARKER, ServerProcess
from tests.models import tiny_contract, write_tiny_model


@pytest.fixture(scope="session")
def prototypes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models to copy from, built once."""
    base = tmp_path_factory.mktemp("prototypes")
    write_tiny_model(base, 1, fail_on=MARKER)
    write_tiny_model(base, 2, fail_on=MARKER, salt=12345)
    write_tiny_model(base, 3, raw_values=1_500_000, delay_ms=400, describes_itself=False)
    write_tiny_model(base, 4, contract=tiny_contract(max_detections=10_000))
    return base


@pytest.fixture(scope="session")
def shared(prototypes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of version 1, for tests that change nothing."""
    base = tmp_path_factory.mktemp("shared")
    (base / "1").symlink_to(prototypes / "1")
    server = ServerProcess(base, tmp_path_factory.mktemp("log") / "server.log")
    try:
        yield server.start()
    finally:
        server.end()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of a test's own, not yet started, with an empty base path."""
    base = tmp_path / "models"
    base.mkdir()
    server = ServerProcess(base, tmp_path / "server.log")
    try:
        yield server
    finally:
        server.end()


@pytest.fixture
def client(shared: ServerProcess) -> Iterator[ModelClient]:
    """A client of the shared server."""
    client = ModelClient(shared.target, timeout=30)
    yield client
    client.close()
