"""Wrong files and wrong contracts: one line that says what it is and what to do, nothing written, exit status 2."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.versions.origin import ORIGIN_FILE
from tests.support.export_command import export_command
from tests.support.raw_models import RAW_CONTRACT, write_simple_save


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel of TensorFlow 1 whose boxes are centres and sizes, normalised."""
    folder = tmp_path_factory.mktemp("saved") / "saved"
    write_simple_save(folder)
    return folder


LABEL_FILES = {
    "labels.csv": b"id,name\n0,tea\n1,rice",
    "labels.txt": b"0 tea\n1 rice",
    "twice.txt": b"tea\ntea",
    "gbk.txt": "茶叶\n大米\n".encode("gbk"),
    "map.pbtxt": b"item { name: 'tea'",
    "data.yaml": b"train: images",
    "labels.json": b'{"tea": "rice"',
}


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("[output]", '[output]\nbox_units = "pixels"', 'smaller than 2 pixels: try box_units = "normalised"'),
        ("[output]", '[output]\nbox_order = "xyxy"', "end before they begin: try box_order = "),
        ('convention = "yolo_raw"\ntensor = "boxes"', 'convention = "boxes_class_scores"', "the last of them of 4"),
        ('tensor = "boxes"', 'tensor = "x"', "answers no x, only boxes"),
        ("input_width = 64", "input_width = 32", "takes images of the shape"),
        ('["tea", "rice"]', '["tea"]', "the last of them of 6"),
        ('["tea", "rice"]', '"labels.csv"', "labels.csv is no file of labels: write a line per name"),
        ('["tea", "rice"]', '"labels.txt"', "each line begins with a number, which would become part of the name"),
        ('["tea", "rice"]', '"twice.txt"', "name each class once"),
        ('["tea", "rice"]', '"gbk.txt"', "gbk.txt is GBK text: save it as UTF-8"),
        ('["tea", "rice"]', '"map.pbtxt"', "is not a label map of the TF Object Detection API"),
        ('["tea", "rice"]', '"data.yaml"', "has no `names`"),
        ('["tea", "rice"]', '"labels.json"', "is not JSON"),
        ('["tea", "rice"]', '"none.txt"', "Cannot read"),
        (
            '["tea", "rice"]',
            '[{ id = 0, name = "tea" }]\n#',
            "'tea' has the id 0, but in tf_object_detection classes begin at 1",
        ),
    ],
)
def test_a_wrong_contract(saved: Path, tmp_path: Path, before: str, after: str, complaint: str) -> None:
    """With wrong labels, or with what cannot be boxes."""
    for name, content in LABEL_FILES.items():
        (tmp_path / name).write_bytes(content)
    text = RAW_CONTRACT.replace(before, after)
    if "tf_object_detection" in complaint:
        text = text.replace('"yolo_raw"\ntensor = "boxes"', '"tf_object_detection"')
    (tmp_path / "contract.toml").write_text(text, "utf-8")

    assert_refused("savedmodel", saved, tmp_path, complaint)


def assert_refused(kind: str, source: Path, folder: Path, complaint: str, *options: object) -> None:
    """The export with `contract.toml` of a folder is refused in a line, and nothing is written."""
    models = folder / "models"
    done = export_command(kind, source, "--contract", folder / "contract.toml", "--models", models, *options)

    assert complaint in done.stderr
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert not models.exists()


def without_variables(path: Path) -> None:
    """A SavedModel of which only the graph was copied."""
    shutil.rmtree(path / "variables")


def cut_short(path: Path) -> None:
    """A SavedModel that was not copied to its end."""
    file = path / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize("options", [(), ("--trust-model-code",)])
@pytest.mark.parametrize(
    ("damage", "complaint"),
    [(without_variables, "has no variables/variables.index: copy the whole folder of the model"), (cut_short, "saved")],
)
def test_a_damaged_savedmodel(
    saved: Path, tmp_path: Path, damage: Callable[[Path], None], complaint: str, options: tuple[str, ...]
) -> None:
    """Whether its code is looked at or trusted."""
    shutil.copytree(saved, tmp_path / "saved")
    damage(tmp_path / "saved")
    (tmp_path / "contract.toml").write_text(RAW_CONTRACT, "utf-8")

    assert_refused("savedmodel", tmp_path / "saved", tmp_path, complaint, *options)


def test_what_is_not_there(saved: Path, tmp_path: Path) -> None:
    """Photos, a model, and the code of a model that has none."""
    (tmp_path / "contract.toml").write_text(RAW_CONTRACT, "utf-8")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "notes.txt").write_text("tea")

    assert_refused("savedmodel", saved, tmp_path, "There is no photo in", "--images", tmp_path / "photos")
    assert_refused("savedmodel", saved, tmp_path, "There is no photo in", "--images", tmp_path / "none")
    code = ("--trust-model-code", "--import", "mylayers")
    assert_refused("savedmodel", saved, tmp_path, "--import is for the code of Keras models", *code)
    assert_refused("savedmodel", tmp_path, tmp_path, "no SavedModel: it has no saved_model.pb")
    assert_refused("keras", tmp_path / "none.keras", tmp_path, "name the file or the folder of the model")


def write_weights(path: Path) -> None:
    """Weights without a model."""
    import h5py

    with h5py.File(path, "w") as file:
        file["kernel"] = [1.0]


def zipped(**files: str) -> Callable[[Path], None]:
    """Write a `.keras` file with these files in it."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in files.items():
                archive.writestr(f"{name}.json", text)

    return write


def of_keras_2(package: str) -> Callable[[Path], None]:
    """Write a `.keras` file as Keras 2 did, alone or beside Keras 3."""
    model = {"module": f"{package}.src.engine.functional", "class_name": "Functional", "config": {}}
    return zipped(config=json.dumps(model), metadata='{"keras_version": "2.15.0"}')


@pytest.mark.parametrize(
    ("name", "write", "complaint"),
    [
        (
            "model.keras",
            lambda path: path.write_bytes(b"tea"),
            "is no whole Keras model, or is damaged: name a .keras file",
        ),
        ("model.keras", lambda path: path.write_bytes(b"PK\x03\x04tea"), "is no whole Keras model"),
        ("model.keras", zipped(metadata="{}"), "is no whole Keras model"),
        ("model.keras", zipped(config="{"), "is no whole Keras model"),
        ("model.keras", zipped(config="[" * 100_000), "is no whole Keras model"),
        ("model.keras", zipped(config=json.dumps({"class_name": "Functional"})), "does not load: "),
        (
            "model.keras",
            of_keras_2("tf_keras"),
            "saved by Keras 2.15.0, and Keras 3 cannot read it (it names tf_keras.",
        ),
        ("model.keras", of_keras_2("keras"), "functional cannot be imported): convert it with Keras 2, `pip install"),
        ("weights.h5", write_weights, "is no whole Keras model, or is damaged: name a .keras file, or an .h5 file of"),
    ],
)
def test_what_is_no_whole_keras_model(
    tmp_path: Path, name: str, write: Callable[[Path], object], complaint: str
) -> None:
    """Another file, a damaged one, weights alone."""
    write(tmp_path / name)
    (tmp_path / "contract.toml").write_text(RAW_CONTRACT, "utf-8")

    assert_refused("keras", tmp_path / name, tmp_path, complaint)


def test_verify_looks_at_the_boxes_too(saved: Path, tmp_path: Path) -> None:
    """Of a version that was exported before they were looked at: both sides would read the same wrong description."""
    (tmp_path / "contract.toml").write_text(RAW_CONTRACT, "utf-8")
    command = ["savedmodel", saved, "--contract", tmp_path / "contract.toml", "--models", tmp_path / "models"]
    assert export_command(*command).returncode == 0
    origin = tmp_path / "models" / "yolo" / "1" / ORIGIN_FILE
    origin.write_text(origin.read_text().replace('"box_units":"normalised"', '"box_units":"pixels"'))

    done = export_command("models", "verify", "yolo", "--models", tmp_path / "models")

    assert 'smaller than 2 pixels: try box_units = "normalised"' in done.stderr
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    options = ("--source", saved, "--trust-model-code", "--import", "mylayers")
    done = export_command("models", "verify", "yolo", "--models", tmp_path / "models", *options)
    assert "--import is for the code of Keras models" in done.stderr
