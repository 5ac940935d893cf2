"""ONNX files, converted to TensorFlow and compared with ONNX Runtime."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.comparing.source import SourceModel
from exporter.errors import ExportError
from exporter.models.onnx_files import onnx_model
from exporter.models.onnx_files.onnx_export import export_onnx
from exporter.models.onnx_files.onnx_model import read_onnx
from exporter.models.yolo.yolo_export import YoloOptions
from exporter.versions.origin import read_origin
from serving.conventions import YoloV8
from tests.support.export_command import export_command
from tests.support.onnx_files import METADATA, NAMES, SIDE, write_onnx
from tests.unit.exporter.compare import assert_same, rows

needs_extra = pytest.mark.skipif(
    find_spec("onnx2tf") is None and "SHELFLINE_REQUIRE_ALL" not in os.environ,
    reason="the extra `onnx` is not installed: .venv/bin/pip install -r requirements-onnx.txt",
)

CONTRACT = """
name = "described"
input_height = 64
input_width = 64
score_threshold = 0.25
nms_iou = 0.7
max_detections = 100
labels = ["tea", "rice", "salt"]

[input]
layout = "nchw"
scale = [255, 255, 255]

[output]
convention = "yolo_v8"
tensor = "output0"
box_units = "pixels"
"""


def photos(count: int = 3) -> NDArray[np.uint8]:
    """Images of large squares of random colours."""
    squares = np.random.default_rng(0).integers(0, 256, (count, SIDE // 16, SIDE // 16, 3), np.uint8)
    return squares.repeat(16, axis=1).repeat(16, axis=2)


@needs_extra
def test_a_yolo_needs_no_contract(tmp_path: Path) -> None:
    """Its metadata are in the file. The version answers what ONNX Runtime does, to any number of images."""
    from exporter.versions.verify import SessionModel

    write_onnx(tmp_path / "best.onnx", METADATA)

    done = export_command("onnx", tmp_path / "best.onnx", "--models", tmp_path / "models")

    folder = tmp_path / "models" / "best" / "1"
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, str(folder), "")
    origin = read_origin(folder)
    contract = origin.description.contract
    assert tuple(label.name for label in contract.labels) == NAMES
    assert (contract.resize_mode, contract.max_batch_rows, origin.description.input.layout) == ("letterbox", 16, "nchw")
    assert origin.description.output == YoloV8(convention="yolo_v8", tensor="output0", boxes_axis=2, box_units="pixels")
    original = SourceModel(tmp_path / "best.onnx", origin).detect(photos())
    with SessionModel(folder) as model:
        assert_same(original, rows(model.predict("detect", photos())), threshold=0.25)
    assert all(len(row) > 1 for row in original)


@needs_extra
@pytest.mark.process
def test_any_other_model_has_a_contract(tmp_path: Path) -> None:
    """Batch, height and width may be open, and the weights may be in another file."""
    from exporter.versions.verify import SessionModel

    write_onnx(tmp_path / "model.onnx", {}, rows=None, outside="model.onnx.data")
    (tmp_path / "contract.toml").write_text(CONTRACT)

    folder = export_onnx(tmp_path / "model.onnx", tmp_path / "models", tmp_path / "contract.toml", name="shelf")

    origin = read_origin(folder)
    original = SourceModel(tmp_path / "model.onnx", origin).detect(photos())
    with SessionModel(folder) as model:
        assert_same(original, rows(model.predict("detect", photos())), threshold=0.25)
    (tmp_path / "model.onnx.data").write_bytes(b"others")
    with pytest.raises(ExportError, match="is not what the version was made of"):
        SourceModel(tmp_path / "model.onnx", origin)


@needs_extra
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Before the conversion, in one line; nothing is written."""
    write_onnx(tmp_path / "plain.onnx", {})
    write_onnx(tmp_path / "masks.onnx", METADATA | {"task": "segment"})
    write_onnx(tmp_path / "few.onnx", METADATA | {"names": "{0: 'tea'}"})
    write_onnx(tmp_path / "apart.onnx", METADATA, outside="apart.data")
    (tmp_path / "apart.data").unlink()
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x09...")
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "contract.toml").write_text(CONTRACT.replace("[input]", '[input]\ntensor = "x"'))
    refused: dict[str, tuple[Path | YoloOptions, str]] = {
        "plain": (YoloOptions(), "does not say what it answers: describe it with --contract FILE"),
        "masks": (YoloOptions(), "which answers masks"),
        "few": (YoloOptions(), "that is 3 classes, but .*few.onnx has 1 names"),
        "apart": (YoloOptions(), "apart.data, which holds weights of .*: No such file"),
        "broken": (YoloOptions(), "is no ONNX file, or is damaged"),
        "empty": (YoloOptions(), "is no ONNX file, or is damaged: it has no output"),
    }
    cases: list[tuple[str, Path | YoloOptions, str]] = [(name, *case) for name, case in refused.items()]
    cases.append(("plain", tmp_path / "contract.toml", "takes images, its description says x"))

    for name, contract, complaint in cases:
        with pytest.raises(ExportError, match=complaint) as error:
            export_onnx(tmp_path / f"{name}.onnx", tmp_path / "models", contract)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "models").exists()


@needs_extra
def test_weights_elsewhere_are_refused(tmp_path: Path) -> None:
    """A model could read any other file of the machine."""
    import onnx

    write_onnx(tmp_path / "best.onnx", METADATA, outside="best.data")
    model = onnx.load(str(tmp_path / "best.onnx"), load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = "../secret" if entry.key == "location" else entry.value
    (tmp_path / "best.onnx").write_bytes(model.SerializeToString())

    with pytest.raises(ExportError, match=r"has weights in \.\./secret"):
        read_onnx(tmp_path / "best.onnx")


@needs_extra
def test_a_model_that_is_not_converted_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The converter's own word, without its colours."""
    write_onnx(tmp_path / "best.onnx", METADATA)
    script = tmp_path / "python"
    script.write_text('#!/bin/sh\necho "\033[31mERROR:\033[0m Unsupported operation: NonZero."\necho more\nexit 1\n')
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(script))

    with pytest.raises(ExportError, match=r"onnx2tf cannot convert .*best\.onnx: Unsupported operation: NonZero; if"):
        export_onnx(tmp_path / "best.onnx", tmp_path / "models", YoloOptions())
    assert not (tmp_path / "models").exists()


def test_a_contract_and_options_are_refused(tmp_path: Path) -> None:
    """One of them would be ignored."""
    (tmp_path / "contract.toml").write_text(CONTRACT)

    refused = export_command("onnx", tmp_path / "a.onnx", "--contract", tmp_path / "contract.toml", "--nms-iou", 0.5)

    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "The contract has names and thresholds" in refused.stderr


def test_the_extra_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it; nothing else of Shelfline needs it."""
    (tmp_path / "best.onnx").write_bytes(b"")
    modules: dict[str, Any] = {"onnx": object(), "onnxruntime": object()}
    monkeypatch.setattr(onnx_model, "find_spec", modules.get)

    refused = export_command("onnx", tmp_path / "best.onnx", "--models", tmp_path / "models")

    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "need the extra `onnx` (onnx2tf is not installed)" in refused.stderr
