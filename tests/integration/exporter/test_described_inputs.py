"""A SavedModel with channels first and an input that is a constant, as converters from PyTorch and Paddle write it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exporter.errors import ExportError
from exporter.models.described_export import export_described
from serving.boxes.decode import constants, decode, prepare
from serving.description import read_description
from tests.unit.exporter.compare import assert_same, rows

CONTRACT = """
name = "converted"
input_height = 16
input_width = 24
resize_mode = "letterbox"
antialias = false
score_threshold = 0.3
nms = "agnostic"
nms_iou = 0.5
clip = "after"
max_detections = 10
labels = ["tea", "rice"]

[thresholds]
rice = 0.4

[input]
tensor = "x"
layout = "nchw"
channels = "bgr"
scale = [255, 255, 255]
constants = [{ tensor = "sizes", dtype = "int64", value = [24, 16], per_image = true }]

[output]
convention = "yolo_v8"
tensor = "out"
box_units = "pixels"
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SavedModel and its contract: its answers depend on the place of each channel, and on `sizes`."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("converted")
    weights = np.random.default_rng(1).normal(0, 2, (3, 6 * 9)).astype(np.float32)

    def answer(x: tf.Tensor, sizes: tf.Tensor) -> dict[str, tf.Tensor]:
        raw = tf.sigmoid(tf.reshape(tf.matmul(tf.reduce_mean(x, [2, 3]) - 0.5, weights), (-1, 6, 9)))
        scale = tf.cast(tf.tile(sizes, [1, 2]), tf.float32)
        return {"out": tf.concat([raw[:, :4] * scale[:, :, None], raw[:, 4:]], 1)}

    x, sizes = tf.TensorSpec((None, 3, 16, 24), tf.float32, "x"), tf.TensorSpec((None, 2), tf.int64, "sizes")
    traced = tf.function(answer).get_concrete_function(x, sizes)
    tf.saved_model.save(tf.Module(), str(folder / "saved"), {"serving_default": traced})
    (folder / "contract.toml").write_text(CONTRACT, "utf-8")
    return folder


def test_it_gets_the_signatures(files: Path, tmp_path: Path) -> None:
    """`serving_default` takes the images alone; `detect` is NumPy's decoding of what it answers."""
    import tensorflow as tf

    from exporter.versions.verify import SessionModel

    folder = export_described("savedmodel", files / "saved", files / "contract.toml", tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (8, 1, 1, 3), np.uint8) * np.ones((8, 16, 24, 3), np.uint8)
    description = read_description(files / "contract.toml")

    with SessionModel(folder) as exported:
        raw = exported.predict("serving_default", prepare(images, description.input))
        answer = exported.predict("detect", images)

    source = tf.saved_model.load(str(files / "saved")).signatures["serving_default"]
    inputs = {"x": prepare(images, description.input), **constants(description.input, len(images))}
    by_numpy = source(**{name: tf.constant(array) for name, array in inputs.items()})["out"].numpy()
    np.testing.assert_allclose(raw["out"], by_numpy, rtol=1e-6)
    assert raw["out"].shape == (8, 6, 9)
    assert answer["num_detections"].sum() > 8
    assert_same(decode(raw, description), rows(answer), threshold=0.3, atol=1e-6)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ('layout = "nchw"', "", "takes images of the shape"),
        ('tensor = "sizes"', 'tensor = "scale"', "takes sizes, x, its description says x, scale"),
    ],
)
def test_other_inputs_are_refused(files: Path, tmp_path: Path, before: str, after: str, complaint: str) -> None:
    """In one line; nothing is written."""
    (tmp_path / "contract.toml").write_text(CONTRACT.replace(before, after), "utf-8")

    with pytest.raises(ExportError, match=complaint):
        export_described("savedmodel", files / "saved", tmp_path / "contract.toml", tmp_path / "models")
    assert not (tmp_path / "models").exists()
