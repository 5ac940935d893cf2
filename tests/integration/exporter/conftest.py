"""Models that are exported once for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter import runtime

runtime.prepare()

from exporter.demo import export_demo  # noqa: E402 - prepared first
from exporter.verify import SessionModel  # noqa: E402


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model's first version."""
    return export_demo(tmp_path_factory.mktemp("models") / "default")


@pytest.fixture(scope="session")
def demo_model(demo_folder: Path) -> Iterator[SessionModel]:
    """The default model, loaded as TF Serving loads it."""
    with SessionModel(demo_folder) as model:
        yield model
