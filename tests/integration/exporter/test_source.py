"""A version held against the model that it was made of."""

from __future__ import annotations

import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from exporter.models.described_export import export_described
from exporter.versions.origin import ORIGIN_FILE
from tests.support.export_command import export_command

ROOT = Path(__file__).parents[3]
CONTRACT = """
name = "yolo"
input_height = 32
input_width = 64
score_threshold = 0.25
nms_iou = 0.5
max_detections = 10
labels = ["tea", "rice"]
[input]
channels = "bgr"
scale = [255, 255, 255]
[output]
convention = "yolo_raw"
tensor = "boxes"
"""

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras saving on NumPy 2


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector with seeded random weights as a Keras file and as a SavedModel, and both of them exported."""
    import keras
    from keras import layers

    folder = tmp_path_factory.mktemp("sources")
    keras.utils.set_random_seed(1)
    images = keras.Input((32, 64, 3), name="images")
    x = layers.Reshape((64, 7))(layers.Conv2D(14, 8, strides=8, activation="sigmoid")(images))
    model = keras.Model(images, layers.Activation("sigmoid", name="boxes")(x))
    model.save(folder / "model.keras")
    model.export(folder / "saved", verbose=False)
    (folder / "keras.toml").write_text(CONTRACT)
    (folder / "saved.toml").write_text(CONTRACT.replace('"boxes"', '"output_0"'))
    export_described("keras", folder / "model.keras", folder / "keras.toml", folder / "models", name="keras")
    export_described("savedmodel", folder / "saved", folder / "saved.toml", folder / "models", name="saved")
    return folder


def verify(name: str, source: Path, models: Path, *options: object) -> subprocess.CompletedProcess[str]:
    """The command that compares a version with what it was made of."""
    return export_command("models", "verify", name, "--source", source, "--models", models, *options)


@pytest.mark.process
@pytest.mark.parametrize(("name", "source"), [("keras", "model.keras"), ("saved", "saved")])
def test_the_source_finds_what_the_version_finds(files: Path, name: str, source: str) -> None:
    """Without a server the version is run in process."""
    done = verify(name, files / source, files / "models")

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.startswith("8 images, 14 detections; largest difference of a box edge ")
    assert done.stdout.endswith("other detections in 0 images\n")


@pytest.mark.process
def test_ssd300_finds_what_its_weights_find(ssd300_folder: Path, ssd300_weights: Path) -> None:
    """Through the loading by name, the network and the decoding in NumPy."""
    done = verify("commodity", ssd300_weights, ssd300_folder.parents[1])

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.startswith("8 images, 1600 detections; ")


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("keras", "keras.toml", "is not what the version was made of: its sha256 is "),
        ("saved", "models/saved/1", "is not what the version was made of: its sha256 is "),
        ("saved", "model.keras", "is no SavedModel"),
        ("keras", "none.keras", "Cannot read "),
    ],
)
def test_another_source_is_refused(files: Path, name: str, source: str, complaint: str) -> None:
    """Before anything is run, in one line with status 2."""
    done = verify(name, files / source, files / "models")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert complaint in done.stderr


@pytest.mark.process
def test_other_ssd300_weights_are_refused(ssd300_folder: Path, ssd300_weights: Path, tmp_path: Path) -> None:
    """One number of them is another."""
    other = tmp_path / "weights.hdf5"
    other.write_bytes(ssd300_weights.read_bytes())
    with h5py.File(other, "r+") as file:
        file["conv1_1/conv1_1_b:0"][0] += 0.5

    done = verify("commodity", other, ssd300_folder.parents[1])

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "name the file that was exported, or export this one" in done.stderr


@pytest.mark.process
def test_a_version_that_reads_its_source_wrongly_is_told(files: Path, tmp_path: Path) -> None:
    """Channels in another order than the version bakes in: status 1, whatever the difference."""
    version = tmp_path / "models" / "keras" / "1"
    version.parent.mkdir(parents=True)
    subprocess.run(["/bin/cp", "-r", files / "models" / "keras" / "1", version], check=True)
    origin = version / ORIGIN_FILE
    assert origin.read_text().count('"bgr"') == 1
    origin.write_text(origin.read_text().replace('"bgr"', '"rgb"'))

    done = verify("keras", files / "model.keras", tmp_path / "models")

    assert (done.returncode, done.stderr) == (1, "")
    assert "0 images\n" not in done.stdout


@pytest.mark.process
def test_where_nothing_is_found_nothing_is_claimed(files: Path, tmp_path: Path) -> None:
    """Two lots of no detections are equal, and say nothing."""
    (tmp_path / "high.toml").write_text(CONTRACT.replace("0.25", "0.999"))
    export_described("keras", files / "model.keras", tmp_path / "high.toml", tmp_path / "models")

    done = verify("yolo", files / "model.keras", tmp_path / "models")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "name with --images a folder of photos" in done.stderr


@pytest.mark.process
def test_a_version_without_a_record_of_its_source_says_so(demo_folder: Path, tmp_path: Path) -> None:
    """The default model's weights ship with the project."""
    done = verify("default", tmp_path / "weights.h5", demo_folder.parents[1])

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "does not say how its source is read" in done.stderr


def test_the_whole_record_comes_back(files: Path) -> None:
    """Every field that decides how raw outputs are read, through the file."""
    from exporter.versions.origin import read_origin
    from serving.description import read_description

    origin = read_origin(files / "models" / "saved" / "1")
    written = read_description(files / "saved.toml")

    assert origin.kind == "savedmodel"
    assert (origin.description.input, origin.description.output) == (written.input, written.output)
    assert np.isclose(origin.description.contract.score_threshold, 0.25)
