"""Models of every make: of TensorFlow 1, `Sequential`, classes of a user's own, large constants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.errors import ExportError
from exporter.models.described_export import export_described, load_savedmodel
from serving.boxes.decode import decode, prepare
from serving.description import read_description
from tests.support.export_command import export_command, run_export
from tests.support.raw_models import RAW_CONTRACT, write_simple_save
from tests.unit.exporter.compare import assert_same, rows

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras saving on NumPy 2

LAYERS = """
import keras


@keras.saving.register_keras_serializable("shelf")
class Registered(keras.layers.Layer):
    def call(self, inputs):
        return inputs * 0.5


class Plain(keras.layers.Layer):
    def call(self, inputs):
        return inputs + 0.25
"""


def contract(folder: Path, tensor: str = "boxes") -> Path:
    """The contract of all these models."""
    path = folder / "contract.toml"
    path.write_text(RAW_CONTRACT.replace('tensor = "boxes"', f'tensor = "{tensor}"'))
    return path


def images() -> NDArray[np.uint8]:
    """Three images of noise."""
    return np.random.default_rng(0).integers(0, 256, (3, 32, 64, 3), np.uint8)


def assert_detects(folder: Path, raw: NDArray[np.float32], toml: Path, tensor: str = "boxes") -> None:
    """The version answers what NumPy decodes of the model's own answer to `images`."""
    from exporter.versions.verify import SessionModel

    with SessionModel(folder) as model:
        answer = rows(model.predict("detect", images()))
    assert all(len(row) for row in answer)
    assert_same(decode({tensor: raw}, read_description(toml)), answer, threshold=0.25)


@pytest.mark.parametrize("frozen", [True, pytest.param(False, marks=pytest.mark.process)])
def test_simple_save_s_reference_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, frozen: bool) -> None:
    """The course's own files: their values are those that TF Serving would have."""
    from exporter.versions.verify import SessionModel

    if not frozen:
        monkeypatch.setattr("exporter.graph.wrapping._FREEZE_BELOW", 0)
    write_simple_save(tmp_path / "saved")
    toml = contract(tmp_path)

    folder = export_described("savedmodel", tmp_path / "saved", toml, tmp_path / "models")

    with SessionModel(tmp_path / "saved") as source:
        raw = source.predict("serving_default", prepare(images(), read_description(toml).input))
    assert (folder / "variables" / "variables.index").exists() is not frozen
    assert_detects(folder, raw["boxes"], toml)


def test_the_signature_of_a_tf1_model_is_named(tmp_path: Path) -> None:
    """As of any other."""
    write_simple_save(tmp_path / "saved")
    toml = contract(tmp_path)
    toml.write_text(f'signature = "detect"\n{RAW_CONTRACT}')

    with pytest.raises(ExportError, match="has no signature detect, only serving_default"):
        load_savedmodel(tmp_path / "saved", read_description(toml))


def test_constants_count_as_weights(tmp_path: Path) -> None:
    """Those of a frozen graph lie in its saved_model.pb, which must not be copied from graph to graph."""
    write_simple_save(tmp_path / "saved", constant=True)

    model = load_savedmodel(tmp_path / "saved", read_description(contract(tmp_path)))

    assert model.weight_bytes >= (tmp_path / "saved" / "saved_model.pb").stat().st_size


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of any size are large, and constants from 10 kB."""
    monkeypatch.setattr("exporter.models.savedmodels._LARGE_FILE", 0)
    monkeypatch.setattr("exporter.models.savedmodels._LARGE_CONSTANT", 10_000)
    monkeypatch.setattr("exporter.graph.wrapping._FREEZE_BELOW", 0)


@pytest.mark.usefixtures("large")
def test_large_constants_of_tf1_become_variables(tmp_path: Path) -> None:
    """They are then in memory a few times, where the TF2 loader copied them a dozen times."""
    from exporter.versions.verify import SessionModel

    description = read_description(contract(tmp_path))
    write_simple_save(tmp_path / "saved", constant=True)
    prepared = prepare(images(), description.input)

    model = load_savedmodel(tmp_path / "saved", description)

    (answer,) = model.answers(prepared)
    with SessionModel(tmp_path / "saved") as source:
        np.testing.assert_array_equal(source.predict("serving_default", prepared)["boxes"], answer["boxes"])
    assert [variable.shape for variable in model.resources[0].kept] == [(8, 8, 3, 14)]


def write_with_constants(folder: Path, *, table: bool = False) -> None:
    """Write a SavedModel of TensorFlow 2 with large constants wherever a graph may have them, and a variable.

    A function returns one of its constants, two functions share a third, and a loop has a constant of its own.
    """
    import tensorflow as tf

    random = np.random.default_rng(3)
    kernels = [random.normal(0, 0.1, (64, 64)).astype(np.float32) for _ in range(5)]
    model = tf.Module()
    model.kernel = tf.Variable(random.normal(0, 0.2, (8, 8, 3, 14)).astype(np.float32))
    model.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([1], [2]), 0) if table else None

    @tf.function  # type: ignore[untyped-decorator]
    def returned() -> tf.Tensor:
        return tf.constant(kernels[0])

    @tf.function  # type: ignore[untyped-decorator]
    def shared(x: tf.Tensor) -> tf.Tensor:
        return tf.matmul(x, tf.constant(kernels[1]))

    @tf.function  # type: ignore[untyped-decorator]
    def outer(x: tf.Tensor) -> tf.Tensor:
        weights = tf.constant(kernels[2])
        with tf.control_dependencies([weights]):
            return shared(tf.matmul(x, weights)) + tf.matmul(x, returned())

    @tf.function  # type: ignore[untyped-decorator]
    def in_loop(x: tf.Tensor) -> tf.Tensor:
        return tf.matmul(x, tf.constant(kernels[4]))

    def answer(images: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.reshape(tf.nn.conv2d(images, model.kernel, 8, "VALID"), (-1, 7, 64))
        x = outer(x) + shared(x) + tf.matmul(x, tf.constant(kernels[3]))
        x = tf.while_loop(lambda i, _: i < 2, lambda i, x: (i + 1, in_loop(x)), (0, x))[1]
        if model.table is not None:
            x *= tf.cast(model.table.lookup(tf.constant(1)), tf.float32)
        return {"boxes": tf.sigmoid(tf.transpose(x, (0, 2, 1)))}

    traced = tf.function(answer).get_concrete_function(tf.TensorSpec((None, 32, 64, 3), tf.float32, "images"))
    tf.saved_model.save(model, str(folder), {"serving_default": traced})


@pytest.mark.usefixtures("large")
def test_large_constants_of_tf2_become_variables(tmp_path: Path) -> None:
    """Those in functions too, but for those in loops; the whole then goes through the export as before."""
    import tensorflow as tf

    write_with_constants(tmp_path / "saved")
    toml = contract(tmp_path)
    prepared = prepare(images(), read_description(toml).input)
    original = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    expected = original(images=tf.constant(prepared))["boxes"].numpy()

    model = load_savedmodel(tmp_path / "saved", read_description(toml))
    folder = export_described("savedmodel", tmp_path / "saved", toml, tmp_path / "models")

    (answer,) = model.answers(prepared)
    np.testing.assert_allclose(answer["boxes"], expected, atol=1e-6)
    shapes = sorted(tuple(variable.shape) for variable in model.resources[0].kept)
    assert shapes == [(8, 8, 3, 14), *[(64, 64)] * 4]
    assert_detects(folder, expected, toml)


@pytest.mark.usefixtures("large")
def test_tables_are_left_to_the_tf2_loader(tmp_path: Path) -> None:
    """A session would have to fill them."""
    write_with_constants(tmp_path / "saved", table=True)
    description = read_description(contract(tmp_path))

    model = load_savedmodel(tmp_path / "saved", description)

    (answer,) = model.answers(prepare(images(), description.input))
    assert answer["boxes"].shape == (3, 64, 7)
    assert hasattr(model.resources[0], "signatures")


def sequential() -> Any:
    """A detector without a graph of its own names."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    stack = [
        keras.Input((32, 64, 3)),
        layers.Conv2D(14, 8, strides=8, activation="sigmoid"),
        layers.Reshape((64, 7), name="boxes"),
    ]
    return keras.Sequential(stack)


def test_a_sequential_model_s_output_has_its_last_layer_s_name(tmp_path: Path) -> None:
    """Keras gives it none."""
    model = sequential()
    model.save(tmp_path / "model.keras")
    toml = contract(tmp_path)

    folder = export_described("keras", tmp_path / "model.keras", toml, tmp_path / "models")

    assert_detects(folder, model(prepare(images(), read_description(toml).input)).numpy(), toml)


def test_outputs_without_names_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `model.export` does; a class of a user's own has neither named inputs nor named outputs."""
    import keras

    class Detector(keras.Model):  # type: ignore[misc]  # Keras has no types
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.body = sequential()

        def call(self, inputs: Any) -> Any:
            boxes = self.body(inputs)
            return [[boxes], boxes * 0]

    monkeypatch.setitem(keras.saving.get_custom_objects(), "Detector", Detector)
    model = Detector()
    toml = contract(tmp_path, "output_0")
    raw = model(prepare(images(), read_description(toml).input))
    model.save(tmp_path / "model.keras")

    folder = export_described("keras", tmp_path / "model.keras", toml, tmp_path / "models", trust_model_code=True)

    assert_detects(folder, raw[0][0].numpy(), toml, "output_0")
    with pytest.raises(ExportError, match="answers no boxes, only output_0"):
        export_described(
            "keras", tmp_path / "model.keras", contract(tmp_path), tmp_path / "models", trust_model_code=True
        )


def save_with_own_layers(folder: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Save a model with two layers of the module `mylayers`, which nothing knows of afterwards."""
    import importlib
    import sys

    import keras
    from keras import layers

    (folder / "mylayers.py").write_text(LAYERS)
    monkeypatch.syspath_prepend(folder)
    mylayers = importlib.import_module("mylayers")
    keras.utils.set_random_seed(1)
    entry = keras.Input((32, 64, 3), name="images")
    x = mylayers.Plain()(mylayers.Registered()(layers.Conv2D(14, 8, strides=8, activation="sigmoid")(entry)))
    keras.Model(entry, layers.Reshape((64, 7), name="boxes")(x)).save(folder / form)
    monkeypatch.undo()
    del sys.modules["mylayers"]
    keras.saving.get_custom_objects().clear()
    return folder / form


@pytest.mark.parametrize("form", ["model.keras", pytest.param("model.h5", marks=pytest.mark.process)])
def test_the_code_of_a_model_is_imported_if_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """Only together with --trust-model-code; without it the missing class or module is named."""
    import sys

    import keras

    path = save_with_own_layers(tmp_path, form, monkeypatch)
    monkeypatch.setattr(sys, "path", [*sys.path])  # the command adds the current folder
    command = ["keras", path, "--models", tmp_path / "m", "--contract", contract(tmp_path), "--dry-run"]

    untrusted = export_command(*command)
    forbidden = export_command(*command, "--import", "mylayers")
    missing = export_command(*command, "--trust-model-code")
    monkeypatch.chdir(tmp_path)
    no_module = export_command(*command, "--trust-model-code", "--import", "otherlayers")
    no_file = export_command(*command, "--trust-model-code", "--import", "other/layers.py")
    imported = export_command(*command, "--trust-model-code", "--import", "mylayers.py")
    sys.modules.pop("mylayers", None)
    keras.saving.get_custom_objects().clear()

    assert "--trust-model-code" in untrusted.stderr
    assert ("mylayers.Plain" if form == "model.keras" else "needs the layer") in untrusted.stderr
    assert "--import" in missing.stderr
    assert ("there is no module mylayers" if form == "model.keras" else "needs the layer Registered") in missing.stderr
    if form == "model.h5":
        assert "--import runs code: " in forbidden.stderr
    assert "Cannot import otherlayers: there is no module otherlayers: install its package" in no_module.stderr
    assert "Cannot import other/layers.py: there is no such file" in no_file.stderr
    for refused in (untrusted, forbidden, missing, no_module, no_file):
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert (imported.returncode, imported.stderr) == (0, "")
    assert not (tmp_path / "m").exists()


@pytest.mark.process
def test_a_module_of_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command does not have it on its path by itself."""
    path = save_with_own_layers(tmp_path, "model.keras", monkeypatch)
    options = ["--models", tmp_path / "m", "--contract", contract(tmp_path), "--trust-model-code"]

    exported = run_export("keras", path, *options, "--import", "mylayers", cwd=tmp_path)
    verified = run_export(
        "models", "verify", "yolo", "--source", path, "--models", tmp_path / "m", "--trust-model-code",
        "--import", tmp_path / "mylayers.py",
    )  # fmt: skip

    assert (exported.returncode, exported.stderr) == (0, "")
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("raise ValueError('no')", "Cannot import .*mylayers.py: ValueError: no"),
        ("import nosuchpackage", "Cannot import .*mylayers.py: there is no module nosuchpackage: install its package"),
        ("def", "Cannot import .*mylayers.py: SyntaxError: "),
    ],
)
def test_code_that_cannot_be_imported_is_named(tmp_path: Path, code: str, complaint: str) -> None:
    """In one line."""
    from exporter.weights.custom_code import import_modules

    (tmp_path / "mylayers.py").write_text(code)

    with pytest.raises(ExportError, match=complaint) as refused:
        import_modules([str(tmp_path / "mylayers.py")])
    assert "\n" not in str(refused.value)


def as_keras_2(path: Path, surplus: dict[str, dict[str, Any]]) -> None:
    """Make an `.h5` one of Keras 2, with more arguments for the layers of some classes."""
    import h5py

    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            layer["config"] |= surplus.get(layer["class_name"], {})
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.15.0"


def test_layers_of_keras_2_with_arguments_that_they_do_not_use(tmp_path: Path) -> None:
    """MobileNets have such layers; Keras 3 refuses what Keras 2 wrote for them."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    entry = keras.Input((32, 64, 3), name="images")
    x = layers.SeparableConv2D(4, 3, padding="same")(layers.DepthwiseConv2D(3, padding="same")(entry))
    x = layers.Conv2DTranspose(6, 2, strides=2)(x)
    x = layers.Conv2D(14, 16, strides=16, activation="sigmoid")(x)
    model = keras.Model(entry, layers.Reshape((64, 7), name="boxes")(x))
    model.save(tmp_path / "model.h5")
    unused = {"groups": 1, "kernel_initializer": None, "kernel_regularizer": None, "kernel_constraint": None}
    layers_of_keras_2: dict[str, dict[str, Any]] = {
        "DepthwiseConv2D": unused,
        "SeparableConv2D": unused,
        "Conv2DTranspose": {"groups": 1},
    }
    as_keras_2(tmp_path / "model.h5", layers_of_keras_2)
    toml = contract(tmp_path)

    folder = export_described("keras", tmp_path / "model.h5", toml, tmp_path / "models")

    assert_detects(folder, model(prepare(images(), read_description(toml).input)).numpy(), toml)


def test_a_file_that_keras_3_cannot_read_names_the_way(tmp_path: Path) -> None:
    """A command that converts it."""
    model = sequential()
    model.save(tmp_path / "model.h5")
    as_keras_2(tmp_path / "model.h5", {"Conv2D": {"surprise": 1}})

    complaint = r"saved by Keras 2\.15\.0, and Keras 3 cannot read it \(.*surprise.*tf_keras"
    with pytest.raises(ExportError, match=complaint) as refused:
        export_described("keras", tmp_path / "model.h5", contract(tmp_path), tmp_path / "models")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "models").exists()
