"""Models that are exported once for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.graph import tensorflow
from exporter.models.ssd300_export import Ssd300Options, export_ssd300
from tests.unit.exporter import weight_files

if TYPE_CHECKING:
    from exporter.models.ssd300 import SSD300
    from exporter.versions.verify import SessionModel


@pytest.fixture(scope="session", autouse=True)
def prepared() -> None:
    """TensorFlow, imported when the first test runs: a process that runs none of these tests does without it."""
    tensorflow.prepare()


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model's first version."""
    from exporter.models.demo import export_demo

    return export_demo(tmp_path_factory.mktemp("models") / "default")


@pytest.fixture(scope="session")
def demo_model(demo_folder: Path) -> Iterator[SessionModel]:
    """The default model, loaded as TF Serving loads it."""
    from exporter.versions.verify import SessionModel

    with SessionModel(demo_folder) as model:
        yield model


@pytest.fixture(scope="session")
def ssd300_network() -> SSD300:
    """The course's model with seeded random weights whose scores spread over 0 to 1."""
    import keras

    from exporter.models import ssd300

    keras.utils.set_random_seed(5)
    network = ssd300.build(9)
    for layer in network.model.layers:
        if "mbox_conf" in layer.name and layer.weights:
            kernel, bias = layer.get_weights()
            bias[::9] += 2
            layer.set_weights([kernel * 6, bias])
    return network


@pytest.fixture(scope="session")
def ssd300_weights(ssd300_network: SSD300, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights as Keras 1 wrote them."""
    path = tmp_path_factory.mktemp("weights") / "weights_SSD300.hdf5"
    layers = {layer.name: layer.get_weights() for layer in ssd300_network.model.layers if layer.weights}
    weight_files.keras1(path, layers)
    return path


@pytest.fixture(scope="session")
def commodity_labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course's labels, a line a class."""
    path = tmp_path_factory.mktemp("labels") / "labels.txt"
    path.write_text("Background\nclothes\npants\nshoes\nwatch\nphone\naudio\ncomputer\nbooks")
    return path


@pytest.fixture(scope="session")
def ssd300_folder(ssd300_weights: Path, commodity_labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its first version, exported as a user does but for the threshold: random weights score high everywhere."""
    options = Ssd300Options(labels=commodity_labels, score_threshold=0.5)
    return export_ssd300(ssd300_weights, tmp_path_factory.mktemp("models") / "commodity", options)


@pytest.fixture(scope="session")
def ssd300_model(ssd300_folder: Path) -> Iterator[SessionModel]:
    """Loaded as TF Serving loads it."""
    from exporter.versions.verify import SessionModel

    with SessionModel(ssd300_folder) as model:
        yield model
