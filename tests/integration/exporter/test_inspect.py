"""`shelfline export inspect`: what models are, by their files and by measure."""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exporter.errors import ExportError
from exporter.inspecting.inspection import Inspection, inspect_model
from serving.conventions import YoloV8
from serving.description import read_description
from serving.errors import ContractError
from tests.support import small_heads
from tests.support.export_command import export_command
from tests.support.raw_models import write_simple_save, write_zoo_model

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras saving on NumPy 2


@pytest.fixture(scope="module")
def own_keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model of a user's own, as a .keras file."""
    path = tmp_path_factory.mktemp("own") / "shelf.keras"
    small_heads.decoded().save(path)
    return path


def contract(inspection: Inspection) -> dict[str, Any]:
    """The draft as the reader of a contract gets it."""
    return tomllib.loads(inspection.draft)


def test_a_keras_model(own_keras: Path) -> None:
    """Its layers say how pixels are scaled, its boxes what they are; what nothing says is unknown."""
    (own_keras.parent / "classes.txt").write_text("tea\nrice\n")

    inspection = inspect_model(own_keras)

    draft = contract(inspection)
    assert inspection.unknown == ["resize_mode"]
    assert (draft["input_height"], draft["input_width"], draft["labels"]) == (64, 64, ["tea", "rice"])
    assert draft["input"] == {"tensor": "images", "dtype": "float32", "scale": [1, 1, 1]}
    expected = {"convention": "boxes_class_scores", "box_order": "yxyx", "box_units": "pixels", "activation": "none"}
    assert expected.items() <= draft["output"].items()
    report = " ".join(inspection.report())
    assert "a whole Keras model (Functional), saved by Keras 3" in report
    assert "its layer rescaling" in inspection.draft
    assert "scores float32 (N, 64, 2)" in report


def test_an_h5_file(tmp_path: Path) -> None:
    """The older format. Without labels it is not told whether one of the columns is objectness."""
    import keras

    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(7, 8, 8, activation="sigmoid")]
    keras.Sequential([keras.Input((64, 64, 3)), *layers, keras.layers.Reshape((64, 7))]).save(tmp_path / "shelf.h5")

    inspection = inspect_model(tmp_path / "shelf.h5")

    assert inspection.unknown == ["resize_mode", "output.convention", "labels"]
    assert '"yolo_v5" if column 4 is objectness (then there are 2 classes)' in inspection.draft
    assert (inspection.facts.command, inspection.document()["convention"]) == ("keras", "?")
    (tmp_path / "labels.txt").write_text("tea\nrice\n")
    assert contract(inspect_model(tmp_path / "shelf.h5"))["output"]["convention"] == "yolo_v5"


def test_a_model_of_tensorflow_1(tmp_path: Path) -> None:
    """Reference variables and all; made-up images do not tell how pixels are scaled."""
    write_simple_save(tmp_path / "saved")
    (tmp_path / "names.txt").write_text("tea\nrice\n")

    inspection = inspect_model(tmp_path / "saved", labels=tmp_path / "names.txt")

    assert "a SavedModel of TensorFlow 1" in inspection.facts.kind
    assert inspection.unknown == ["resize_mode", "input.scale"]
    assert contract(inspection)["output"]["convention"] == "yolo_v5"
    assert "0 to 255: " in " ".join(inspection.report())


def test_the_course_s_ssd(tmp_path: Path) -> None:
    """The first name of its labels is the background. The command that the draft names can be pasted."""
    import tensorflow as tf

    fixed = tf.concat([tf.random.stateless_uniform((64, 4), (1, 2)), tf.fill((64, 4), 0.1)], -1)

    def answer(images: Any) -> dict[str, Any]:
        parts = tf.reshape(tf.nn.avg_pool2d(images, 8, 8, "VALID"), (-1, 64, 3)) / 255
        rows = tf.tile(fixed[None], (tf.shape(images)[0], 1, 1))
        return {"concat": tf.concat([tf.repeat(parts, 3, -1)[..., :7], rows], -1)}

    folder = tmp_path / "SSD 1"
    function = tf.function(answer).get_concrete_function(tf.TensorSpec((None, 64, 64, 3), tf.float32, "images"))
    tf.saved_model.save(tf.Module(), str(folder), {"serving_default": function})
    (tmp_path / "labels.txt").write_text("background\ntea\nrice\n")
    (folder / "pipeline.config").write_text("fixed_shape_resizer { height: 64 width: 64 }")

    inspection = inspect_model(folder, labels=tmp_path / "labels.txt")

    draft = contract(inspection)
    assert draft["output"]["convention"] == "ssd_raw"
    assert draft["labels"] == [{"id": 1, "name": "tea"}, {"id": 2, "name": "rice"}]
    (tmp_path / "labels.txt").write_text("background\ntea\n")
    fewer = inspect_model(folder, labels=tmp_path / "labels.txt").draft
    assert "2 classes beside the background, which is the first of the names, but" in fewer
    assert shlex.split(inspection.report()[-1])[-3:] == [str(folder), "--contract", "contract.toml"]


def test_a_model_of_the_zoo(tmp_path: Path) -> None:
    """`pipeline.config` says the size, and how photos get it."""
    write_zoo_model(tmp_path / "saved_model")
    resizer = "keep_aspect_ratio_resizer { min_dimension: 64 max_dimension: 64 pad_to_max_dimension: true }"
    (tmp_path / "pipeline.config").write_text(f"model {{ ssd {{ image_resizer {{ {resizer} }} }} }}")
    (tmp_path / "labels.txt").write_text("tea\nrice\n")

    inspection = inspect_model(tmp_path / "saved_model")

    draft = contract(inspection)
    assert inspection.unknown == []
    assert (draft["resize_mode"], draft["align"], draft["pad_colour"]) == ("letterbox", "top_left", [0, 0, 0])
    assert draft["labels"] == [{"id": 1, "name": "tea"}, {"id": 2, "name": "rice"}]
    assert (draft["nms"], draft["input"]["dtype"]) == ("none", "uint8")
    assert "TF2 Object Detection API" in inspection.facts.kind


def test_a_model_of_ultralytics(tmp_path: Path) -> None:
    """Its metadata says all: names, letterbox, how pixels are scaled."""
    import keras

    folder = tmp_path / "best_saved_model"
    layers = [keras.layers.Conv2D(6, 8, 8, activation="sigmoid"), keras.layers.Reshape((64, 6))]
    model = keras.Sequential([keras.Input((64, 64, 3)), *layers, keras.layers.Permute((2, 1))])
    model.export(folder, verbose=False)
    (folder / "metadata.yaml").write_text("stride: 32\ntask: detect\nimgsz: [64, 64]\nnames:\n  0: tea\n  1: rice\n")

    inspection = inspect_model(folder)

    (tmp_path / "contract.toml").write_text(inspection.draft)
    description = read_description(tmp_path / "contract.toml")
    assert inspection.unknown == []
    assert (description.contract.name, description.contract.resize_mode) == ("best", "letterbox")
    assert (description.contract.antialias, description.contract.clip) == (False, "after")
    assert description.input.scale == (255, 255, 255)
    assert isinstance(description.output, YoloV8)
    assert "Signature serving_default, serve takes" in inspection.report(), "they are the same"
    assert inspection.report()[-1] == f"Ultralytics wrote it, so it needs no contract: shelfline export yolo {folder}"
    (folder / "metadata.yaml").write_text("author: [")
    assert "resize_mode" in inspect_model(folder).unknown


def spots(folder: Path) -> Path:
    """Tall photos with bright squares on black."""
    folder.mkdir()
    for number in range(2):
        pixels = np.zeros((128, 64, 3), np.uint8)
        for place in range(6):
            top = 16 * place + 8 + number
            pixels[top : top + 12, 8 * place : 8 * place + 12] = 255
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def bright_spots(scale: float) -> Any:
    """A detector of what is as bright as `scale` in photos without negative pixels: they go from 0 to `scale`."""
    import keras

    images = keras.Input((64, 64, 3), name="images")
    negative = keras.ops.max(keras.ops.relu(-images), axis=(1, 2, 3), keepdims=True)
    return detector_of(images, (keras.layers.MaxPooling2D(8)(images)[..., :1] - negative) / scale)


def detector_of(images: Any, brightness: Any) -> Any:
    """A detector of cells whose brightness is between 0.9 and 1.2."""
    import keras

    scores = keras.ops.sigmoid(200 * (brightness - 0.9) * (1.2 - brightness))
    scores = keras.layers.Reshape((-1, 1), name="scores")(scores)
    boxes = keras.layers.Reshape((-1, 4), name="boxes")(keras.ops.concatenate([brightness] * 4, -1))
    return keras.Model(images, {"boxes": boxes, "scores": scores})


@pytest.mark.parametrize(("scale", "expected"), [(255.0, [1, 1, 1]), (1.0, [255, 255, 255])])
def test_how_pixels_are_scaled_is_told_by_photos(tmp_path: Path, scale: float, expected: list[int]) -> None:
    """The model finds something with one of the usual ways only."""
    bright_spots(scale).save(tmp_path / "spots.keras")

    inspection = inspect_model(tmp_path / "spots.keras", images=spots(tmp_path / "photos"))

    assert contract(inspection)["input"]["scale"] == expected
    scores = inspection.document()["run"]["scores"]
    assert set(scores) > {"0 to 255", "0 to 1", "letterboxed"}
    assert "2 photos in" in inspection.document()["run"]["photos"]
    of_one_photo = inspect_model(tmp_path / "spots.keras", images=tmp_path / "photos" / "0.png")
    assert contract(of_one_photo)["input"]["scale"] == expected
    assert "1 photo in" in of_one_photo.document()["run"]["photos"]
    with pytest.raises(ExportError, match="There is no photo in"):
        inspect_model(tmp_path / "spots.keras", images=tmp_path / "none")


def test_a_model_that_scales_pixels_may_take_them_minus_a_mean(tmp_path: Path) -> None:
    """Photos show it; made-up images do not."""
    import keras

    images = keras.Input((64, 64, 3), name="images")
    scaled = keras.layers.Rescaling(1 / 255, offset=0.5)(images)
    detector_of(images, keras.layers.MaxPooling2D(8)(scaled)[..., :1]).save(tmp_path / "spots.keras")

    shown = contract(inspect_model(tmp_path / "spots.keras", images=spots(tmp_path / "photos")))["input"]

    assert (shown["channels"], shown["mean"], shown["scale"]) == ("bgr", [103.939, 116.779, 123.68], [1, 1, 1])
    made_up = contract(inspect_model(tmp_path / "spots.keras"))["input"]
    assert (made_up["scale"], "mean" in made_up) == ([1, 1, 1], False)


def test_what_it_prints(own_keras: Path, tmp_path: Path) -> None:
    """A contract with comments, or JSON that says the same; an error in one line."""
    (own_keras.parent / "classes.txt").write_text("tea\nrice\n")
    text = export_command("inspect", own_keras)
    document = json.loads(export_command("inspect", own_keras, "--json").stdout)

    assert (text.returncode, text.stderr) == (0, "")
    assert text.stdout == document["contract"]
    assert document["signatures"][0]["inputs"] == [{"name": "images", "shape": [None, 64, 64, 3], "dtype": "float32"}]
    assert document["unknown"] == ["resize_mode"]
    assert {"section": "output", "key": "box_units", "value": "pixels"}.items() <= next(
        finding.items() for finding in document["findings"] if finding["key"] == "box_units"
    )
    (tmp_path / "contract.toml").write_text(text.stdout)
    refused = export_command("keras", own_keras, "--contract", tmp_path / "contract.toml", "--models", tmp_path)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert 'resize_mode is "?", since `shelfline export inspect` could not tell it' in refused.stderr
    missing = export_command("inspect", tmp_path / "none")
    assert (missing.returncode, missing.stdout, len(missing.stderr.splitlines())) == (2, "", 1)


def weights_only(folder: Path) -> Path:
    """A file of weights."""
    small_heads.decoded().save_weights(folder / "shelf.weights.h5")
    return folder / "shelf.weights.h5"


def damaged(folder: Path) -> Path:
    """A SavedModel whose graph is none."""
    (folder / "saved_model.pb").write_bytes(b"nothing")
    return folder


def text_file(folder: Path) -> Path:
    """No model at all."""
    (folder / "model.keras").write_text("text")
    return folder / "model.keras"


def pytorch_file(folder: Path) -> Path:
    """A model that has to be converted first."""
    (folder / "best.pt").touch()
    return folder / "best.pt"


def without_signature(folder: Path) -> Path:
    """A SavedModel that does not say what it takes."""
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(folder / "saved"))
    return folder / "saved"


def parent(folder: Path) -> Path:
    """The folder around a SavedModel."""
    (folder / "saved").mkdir()
    (folder / "saved" / "saved_model.pb").touch()
    return folder


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "none", "There is no .*none: name the file or the folder"),
        (lambda folder: folder, "is no SavedModel: it has no saved_model.pb"),
        (parent, "holds a SavedModel: name that, .*saved"),
        (pytorch_file, "is a PyTorch file: make a SavedModel of it"),
        (lambda folder: damaged(folder) / "saved_model.pb", "is a part of a SavedModel: name its folder"),
        (damaged, "damaged or empty"),
        (text_file, "is no whole Keras model"),
        (weights_only, "holds the weights of 3 layers .* and no model: for SSD300 use"),
        (without_signature, "has no signature"),
    ],
)
def test_what_cannot_be_inspected(tmp_path: Path, make: Callable[[Path], Path], says: str) -> None:
    """The error says what it is, and what to do."""
    with pytest.raises(ExportError, match=says):
        inspect_model(make(tmp_path))


def test_a_version_of_shelfline(tmp_path: Path) -> None:
    """It describes itself."""
    import tensorflow as tf

    model = tf.Module()
    function = tf.function(lambda x: {"y": x}).get_concrete_function(tf.TensorSpec((None,), tf.int32, "x"))
    tf.saved_model.save(model, str(tmp_path / "1"), {"detect": function, "describe": function})

    with pytest.raises(ExportError, match="was exported by Shelfline and describes itself"):
        inspect_model(tmp_path / "1")


def test_labels_that_do_not_fit(own_keras: Path, tmp_path: Path) -> None:
    """Their number is another; a file that is named must be one of labels."""
    (tmp_path / "three.txt").write_text("a\nb\nc\n")
    (tmp_path / "labels.csv").write_text("a,b\n")

    assert "the model has 2 classes, but" in inspect_model(own_keras, labels=tmp_path / "three.txt").draft
    with pytest.raises(ContractError, match="is no file of labels"):
        inspect_model(own_keras, labels=tmp_path / "labels.csv")


def test_a_model_that_cannot_be_run(tmp_path: Path) -> None:
    """What is known without running it is said, and why it was not run."""
    import keras

    images, other = keras.Input((64, 64, 3), name="images"), keras.Input((2,), name="sizes")
    boxes = keras.layers.Reshape((-1, 4))(keras.layers.Conv2D(4, 8, 8)(images)) + keras.ops.sum(other)
    keras.Model([images, other], boxes).save(tmp_path / "two.keras")

    inspection = inspect_model(tmp_path / "two.keras")

    assert inspection.not_run == "it takes 2 inputs"
    assert {"input.constants", "output.convention", "labels", "input.scale"} <= set(inspection.unknown)
    assert "sizes float32 (N, 2)" in inspection.draft
    assert "It was not run: it takes 2 inputs." in inspection.report()
    assert inspection.document()["run"] is None


def write_function(folder: Path, shape: tuple[int | None, ...], dtype: str, *, reads_files: bool = False) -> Path:
    """A SavedModel of a function that takes images of this shape and needs 64 x 64 x 3 numbers for each."""
    import tensorflow as tf

    def boxes(x: Any) -> dict[str, Any]:
        text = tf.strings.length(tf.io.read_file("/nowhere")) if reads_files else 0
        return {"boxes": tf.reshape(tf.cast(x, tf.float32), (tf.shape(x)[0], 64, 48, 4)) + tf.cast(text, tf.float32)}

    function = tf.function(boxes).get_concrete_function(tf.TensorSpec(shape, dtype, "x"))
    tf.saved_model.save(tf.Module(), str(folder / "saved"), {"serving_default": function})
    return folder / "saved"


def without_variables(folder: Path) -> Path:
    """A SavedModel that was copied in part."""
    write_simple_save(folder / "saved")
    for path in (folder / "saved" / "variables").iterdir():
        path.unlink()
    return folder / "saved"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: write_function(folder, (None, 64, 64, 3), "int32"), "its input is int32, and photos are"),
        (lambda folder: write_function(folder, (None, None, None, 3), "float32"), "does not take images of the shape"),
        (
            lambda folder: write_function(folder, (None, 64, 64, 3), "float32", reads_files=True),
            "calls Python or touches files",
        ),
        (without_variables, "does not load"),
    ],
)
def test_a_savedmodel_that_does_not_run(tmp_path: Path, make: Callable[[Path], Path], reason: str) -> None:
    """Its signature is known nevertheless."""
    inspection = inspect_model(make(tmp_path))

    assert reason in inspection.not_run
    assert "output.convention" in inspection.unknown
    assert "float32" in inspection.draft
