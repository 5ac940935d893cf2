"""YOLOs that Ultralytics and YOLOv5 wrote, exported without a contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.errors import ExportError
from exporter.models.described_export import load_savedmodel
from exporter.models.yolo.yolo_export import YoloOptions, export_yolo
from exporter.versions.origin import read_origin
from serving.boxes.decode import decode, prepare
from serving.boxes.detections import Detections
from serving.contract import Contract
from serving.conventions import EndToEnd, Output, YoloRaw, YoloV8
from serving.description import Description, RawInput
from tests.support.export_command import export_command
from tests.support.yolo_models import NAMES, SIZE, Layout, write_yolo
from tests.unit.exporter.compare import assert_same, rows


def photos(count: int = 3) -> NDArray[np.uint8]:
    """Images of large squares of random colours."""
    squares = np.random.default_rng(0).integers(0, 256, (count, SIZE[0] // 16, SIZE[1] // 16, 3), np.uint8)
    return squares.repeat(16, axis=1).repeat(16, axis=2)


def by_hand(source: Path, contract: Contract, output: Output, images: NDArray[np.uint8]) -> list[Detections]:
    """What the model itself answers to each image alone, decoded by NumPy."""
    raw_input = RawInput(tensor="images", scale=(255, 255, 255))
    description = Description(contract=contract, input=raw_input, output=output)
    model = load_savedmodel(source, description)
    answers = model.answers(prepare(images, raw_input))
    return [row for answer in answers for row in decode(answer, description)]


@pytest.mark.parametrize(
    ("layout", "pixels", "made", "output"),
    [
        ("yolo_v8", False, {}, YoloV8(convention="yolo_v8", tensor="output_0", boxes_axis=2)),
        (
            "transposed",
            True,
            {"rows": None, "any_size": True},
            YoloV8(convention="yolo_v8", tensor="output_0", boxes_axis=1, box_units="pixels"),
        ),
        ("yolo_v5", False, {"rows": 2}, YoloRaw(convention="yolo_v5", tensor="output_0")),
        ("end_to_end", True, {}, EndToEnd(convention="end_to_end", tensor="output_0", box_units="pixels")),
    ],
)
def test_a_model_needs_nothing_but_its_metadata(
    tmp_path: Path, layout: Layout, made: dict[str, Any], output: Output, *, pixels: bool
) -> None:
    """Its boxes are those that the model answers; photos are letterboxed, and boxes selected, as its program does."""
    from exporter.versions.verify import SessionModel

    source = tmp_path / "tea shop_saved_model"
    write_yolo(source, layout, pixels=pixels, **made)

    folder = export_yolo(source, tmp_path / "models", YoloOptions())

    assert tmp_path / "models" / "tea-shop" / "1" == folder
    with SessionModel(folder) as model:
        answer = model.predict("detect", photos())
        contract = Contract.from_json(model.predict("describe", np.zeros(1, np.int32))["contract"][0])
    assert read_origin(folder).description.output == output
    assert (contract.input_height, contract.input_width) == SIZE
    assert (contract.resize_mode, contract.align, contract.antialias, contract.clip) == (
        "letterbox",
        "centre",
        False,
        "after",
    )
    assert tuple(label.name for label in contract.labels) == NAMES
    yolov5 = layout == "yolo_v5"
    assert (contract.score_threshold, contract.nms_iou) == (0.25, 0.45 if yolov5 else 0.7)
    assert (contract.nms, contract.max_detections) == (
        "none" if layout == "end_to_end" else "per_class",
        1000 if yolov5 else 300,
    )
    assert contract.provenance.startswith("Ultralytics YOLO11n model trained on shelf.yaml")
    assert answer["num_detections"].min() > 1
    assert_same(by_hand(source, contract, output, photos()), rows(answer), threshold=0.25)


def test_the_command_takes_names_and_thresholds(tmp_path: Path) -> None:
    """YOLOv5 writes no metadata.yaml; the data.yaml of the training has the names."""
    write_yolo(tmp_path / "best", "yolo_v5")
    (tmp_path / "best" / "metadata.yaml").unlink()
    (tmp_path / "data.yaml").write_text("nc: 3\nnames: [tea, rice, salt]\n")
    command = ["yolo", tmp_path / "best", "--models", tmp_path / "models"]

    without = export_command(*command)
    options = ["--name", "shelf", "--score-threshold", 0.4, "--nms-iou", 0.0, "--max-detections", 7]
    done = export_command(*command, "--labels", tmp_path / "data.yaml", *options)

    assert (without.returncode, without.stderr.count("\n")) == (2, 1)
    assert "has no metadata.yaml" in without.stderr
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, str(tmp_path / "models" / "shelf" / "1"), "")
    contract = read_origin(tmp_path / "models" / "shelf" / "1").description.contract
    assert [label.name for label in contract.labels] == ["tea", "rice", "salt"]
    assert (contract.score_threshold, contract.nms_iou, contract.max_detections) == (0.4, 0, 7)


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        ({"names": ["tea", "rice"]}, r"\(N, 7, 126\), that is 3 classes, but .*metadata.yaml has 2 names"),
        ({"imgsz": [96, 64]}, r"images of 96 x 64 pixels, but imgsz in .*metadata.yaml is \[96, 64\]"),
        ({"any_size": True, "imgsz": None}, "takes images of any size"),
        ({"dtype": "float16"}, "takes float16: export it again in float32, without int8 and half"),
        ({"dtype": "int8"}, "takes int8: export it again in float32"),
    ],
)
def test_a_model_that_is_not_what_its_metadata_say_is_refused(
    tmp_path: Path, made: dict[str, Any], complaint: str
) -> None:
    """In one line; nothing is written."""
    write_yolo(tmp_path / "best", **made)

    with pytest.raises(ExportError, match=complaint) as refused:
        export_yolo(tmp_path / "best", tmp_path / "models", YoloOptions())
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "models").exists()


def test_other_inputs_are_refused(tmp_path: Path) -> None:
    """Channels that are none of a photo, and a second input."""
    import tensorflow as tf

    for name, specs in (
        ("grey", [tf.TensorSpec((1, 64, 96, 1), tf.float32, "images")]),
        ("two", [tf.TensorSpec((1, 64, 96, 3), tf.float32, "images"), tf.TensorSpec((1, 2), tf.float32, "scale")]),
    ):
        write_yolo(tmp_path / name)
        traced = tf.function(lambda *inputs: {"output_0": inputs[0][..., 0]}).get_concrete_function(*specs)
        tf.saved_model.save(tf.Module(), str(tmp_path / name), {"serving_default": traced})

    with pytest.raises(ExportError, match="takes photos of three channels"):
        export_yolo(tmp_path / "grey", tmp_path / "models", YoloOptions())
    with pytest.raises(ExportError, match=r"takes images, scale: a YOLO takes nothing but images"):
        export_yolo(tmp_path / "two", tmp_path / "models", YoloOptions())


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    """By every command, before anything is imported; exit status 2, one line, nothing written."""
    (tmp_path / "best.pt").write_bytes(b"PK")
    (tmp_path / "contract.toml").write_text("")
    models = ["--models", tmp_path / "models"]
    commands = {
        "yolo": models,
        "onnx": models,
        "savedmodel": [*models, "--contract", tmp_path / "contract.toml"],
        "keras": [*models, "--contract", tmp_path / "contract.toml"],
        "ssd300": [*models, "--name", "a", "--labels", tmp_path / "contract.toml"],
    }

    for command, options in commands.items():
        refused = export_command(command, tmp_path / "best.pt", *options)

        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
        assert "yolo export model=" in refused.stderr
    assert not (tmp_path / "models").exists()
