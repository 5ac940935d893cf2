from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter.errors import ExportError
from exporter.models.described_export import export_described
from serving.boxes.decode import decode, prepare
from serving.contract import Contract
from serving.description import read_description
from serving.errors import ContractError
from tests.support.export_command import run_export
from tests.support.raw_models import RAW_CONTRACT as CONTRACT
from tests.unit.exporter.compare import assert_same, rows

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras saving on NumPy 2


@pytest.fixture(scope="module")
def model() -> Any:
    """A detector of 32 priors with seeded random weights."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    images = keras.Input((32, 64, 3), name="images")
    x = layers.Conv2D(14, 8, strides=8, activation="sigmoid")(images)
    x = layers.BatchNormalization()(x)
    return keras.Model(images, layers.Activation("sigmoid", name="boxes")(layers.Reshape((64, 7))(x)))


@pytest.fixture(scope="module")
def files(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model in three forms, and its contract."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "contract.toml").write_text(CONTRACT, "utf-8")
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.export(folder / "saved", verbose=False)
    return folder


@pytest.mark.parametrize("form", ["model.keras", "model.h5"])
def test_a_keras_model_gets_the_signatures(model: Any, files: Path, tmp_path: Path, form: str) -> None:
    """Its raw output stays what it was, and `detect` is NumPy's decoding of it."""
    from exporter.versions.verify import SessionModel

    folder = export_described("keras", files / form, files / "contract.toml", tmp_path, name="shop")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 64, 3), np.uint8)
    description = read_description(files / "contract.toml")
    prepared = prepare(images, description.input)

    assert tmp_path / "shop" / "1" == folder
    with SessionModel(folder) as exported:
        raw = exported.predict("serving_default", prepared)
        answer = exported.predict("detect", images)
        contract = Contract.from_json(exported.predict("describe", np.zeros(1, np.int32))["contract"][0])

    np.testing.assert_allclose(model(prepared).numpy(), raw["boxes"], atol=1e-5)
    assert (contract.name, contract.labels[1].name) == ("shop", "rice")
    assert answer["num_detections"].all()
    assert_same(decode(raw, description), rows(answer), threshold=0.25)


@pytest.mark.process
def test_a_large_model_keeps_its_variables(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrapped without freezing, it answers the same."""
    from exporter.versions.verify import SessionModel

    monkeypatch.setattr("exporter.graph.wrapping._FREEZE_BELOW", 0)
    contract = files / "contract.toml"
    (files / "saved.toml").write_text(CONTRACT.replace('"boxes"', '"output_0"'), "utf-8")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), np.uint8)

    folders = [
        export_described("keras", files / "model.keras", contract, tmp_path),
        export_described("savedmodel", files / "saved", files / "saved.toml", tmp_path),
    ]
    monkeypatch.undo()
    folders.append(export_described("keras", files / "model.keras", contract, tmp_path))

    assert [int(folder.name) for folder in folders] == [1, 2, 3]
    assert [(folder / "variables" / "variables.index").exists() for folder in folders] == [True, True, False]
    answers = []
    for folder in folders:
        with SessionModel(folder) as exported:
            answers.append(rows(exported.predict("detect", images)))
    assert_same(answers[2], answers[0], threshold=0.25)
    assert_same(answers[2], answers[1], threshold=0.25)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("input_width = 64", "input_width = 32", "takes images of the shape"),
        ('tensor = "boxes"', 'tensor = "other"', "answers no other, only boxes"),
        ('["tea", "rice"]', '["tea", "rice", "salt"]', "the last of them of 8"),
        ("scale = [255, 255, 255]", 'dtype = "uint8"', "takes float32, its description says uint8"),
    ],
)
def test_a_wrong_description_is_refused(files: Path, tmp_path: Path, before: str, after: str, complaint: str) -> None:
    """In one line; nothing is written."""
    (tmp_path / "contract.toml").write_text(CONTRACT.replace(before, after), "utf-8")

    with pytest.raises(ExportError, match=complaint) as refused:
        export_described("keras", files / "model.keras", tmp_path / "contract.toml", tmp_path / "models")
    assert "\n" not in str(refused.value)
    assert "user code" not in str(refused.value)
    assert [tmp_path / "contract.toml"] == list(tmp_path.iterdir())


def test_a_savedmodel_of_another_kind_is_refused(files: Path, tmp_path: Path) -> None:
    """No SavedModel, no such signature, another input."""
    (tmp_path / "a.toml").write_text('signature = "detect"\n' + CONTRACT, "utf-8")
    (tmp_path / "b.toml").write_text(CONTRACT.replace("[input]", '[input]\ntensor = "photos"'), "utf-8")

    with pytest.raises(ExportError, match=r"no saved_model\.pb"):
        export_described("savedmodel", tmp_path, tmp_path / "a.toml", tmp_path / "models")
    with pytest.raises(ExportError, match="has no signature detect, only"):
        export_described("savedmodel", files / "saved", tmp_path / "a.toml", tmp_path / "models")
    with pytest.raises(ExportError, match="its description says photos"):
        export_described("savedmodel", files / "saved", tmp_path / "b.toml", tmp_path / "models")
    with pytest.raises(ContractError, match="No such file"):
        export_described("savedmodel", files / "saved", tmp_path / "c.toml", tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.process
def test_a_lambda_is_not_run(files: Path, tmp_path: Path) -> None:
    """Refused with status 2, unless the user vouches for it: then it is loaded."""
    import keras
    from keras import layers

    images = keras.Input((32, 64, 3))
    x = layers.Lambda(lambda x: x * 1.0, output_shape=(32, 64, 3))(images)
    x = layers.Activation("sigmoid", name="boxes")(layers.Reshape((64, 7))(layers.Conv2D(14, 8, strides=8)(x)))
    keras.Model(images, x).save(tmp_path / "model.keras")
    command = ["keras", tmp_path / "model.keras", "--models", tmp_path / "m"]
    command += ["--contract", files / "contract.toml", "--dry-run"]

    refused = run_export(*command)
    trusted = run_export(*command, "--trust-model-code")

    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "holds code (a Lambda layer)" in refused.stderr
    assert (trusted.returncode, trusted.stderr) == (0, "")
    assert not (tmp_path / "m").exists()


def test_a_graph_that_reads_files_is_not_run(files: Path, tmp_path: Path) -> None:
    """A SavedModel can hold such operations without any code of Python's."""
    import tensorflow as tf

    module = tf.Module()
    read = tf.function(
        lambda images: {
            "boxes": tf.zeros((tf.shape(images)[0], 64, 7))
            + tf.cast(tf.strings.length(tf.io.read_file("x")), tf.float32)
        }
    ).get_concrete_function(tf.TensorSpec((None, 32, 64, 3), tf.float32, "images"))
    tf.saved_model.save(module, str(tmp_path / "saved"), {"serving_default": read})

    with pytest.raises(ExportError, match=r"touches files \(ReadFile\)"):
        export_described("savedmodel", tmp_path / "saved", files / "contract.toml", tmp_path / "models")
