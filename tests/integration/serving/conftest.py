from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.client import ModelClient
from tests.support.machine import free_port
from tests.support.models import tiny_contract, write_tiny_model
from tests.support.servers.model_server import MARKER, ServerProcess


@pytest.fixture(scope="session")
def prototypes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models to copy from, built once."""
    base = tmp_path_factory.mktemp("prototypes")
    write_tiny_model(base, 1, fail_on=MARKER)
    write_tiny_model(base, 2, fail_on=MARKER, salt=12345)
    write_tiny_model(base, 3, raw_values=1_500_000, delay_ms=400, describes_itself=False)
    write_tiny_model(base, 4, contract=tiny_contract(max_detections=10_000))
    write_tiny_model(base, 5, fail_on=MARKER, delay_ms=400, describes_itself=False)
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


@dataclass(frozen=True)
class Whole:
    """A server with all there is, and where it listens besides its port."""

    server: ServerProcess
    rest: str
    socket: Path
    config: str

    @property
    def target(self) -> str:
        """Where it answers gRPC."""
        return self.server.target


@pytest.fixture(scope="session")
def whole(prototypes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """A server of the models `default`, `two` (all of versions 1 and 2) and `slow` (0.4 s a call), with batching."""
    base = tmp_path_factory.mktemp("whole")
    for name, versions in (("default", {1: 1}), ("two", {1: 1, 2: 2}), ("slow", {1: 5})):
        (base / name).mkdir()
        for version, prototype in versions.items():
            (base / name / str(version)).symlink_to(prototypes / str(prototype))
    models = "\n".join(
        f'  config {{ name: "{name}" base_path: "{base / name}" model_platform: "tensorflow" {policy} }}'
        for name, policy in (("default", ""), ("two", "model_version_policy { all {} }"), ("slow", ""))
    )
    config = f"model_config_list {{\n{models}\n}}\n"
    files = {
        "models.config": config,
        "monitoring.config": "prometheus_config { enable: true }",
        "batching.config": "max_batch_size { value: 8 } batch_timeout_micros { value: 1000 } "
        "max_enqueued_batches { value: 4 } num_batch_threads { value: 1 } allowed_batch_sizes: [1, 4, 8]",
    }
    for name, text in files.items():
        (base / name).write_text(text)
    rest = free_port()
    server = ServerProcess(base / "default", base / "server.log")
    server.flags = (
        f"--model_config_file={base / 'models.config'}",
        f"--rest_api_port={rest}",
        f"--monitoring_config_file={base / 'monitoring.config'}",
        "--enable_batching",
        f"--batching_parameters_file={base / 'batching.config'}",
        "--enable_grpc_healthcheck_service",
        f"--grpc_socket_path={base / 'socket'}",
    )
    try:
        yield Whole(server.start(), f"http://127.0.0.1:{rest}", base / "socket", config)
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
    client = ModelClient(shared.target, timeout=180)
    yield client
    client.close()
