from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from exporter.errors import ExportError
from exporter.weights.other_formats import Command, refuse_other_formats

COMMANDS: tuple[Command, ...] = ("ssd300", "keras", "savedmodel", "yolo", "onnx", "inspect")


def make(path: Path) -> Path:
    """A file, or a folder with the files that stand behind a colon."""
    name, _, files = path.name.partition(":")
    made = path.with_name(name)
    if not files:
        made.write_bytes(b"content")
        return made
    made.mkdir()
    for file in files.split(","):
        (made / file).write_bytes(b"content")
    return made


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("best.pt", "`yolo export model={path} format=saved_model`"),
        ("best.pt", "`python export.py --weights {path} --include saved_model`"),
        ("model.pth", "`torch.onnx.export` for `shelfline export onnx`"),
        ("model.torchscript", "is a PyTorch file"),
        ("best.tflite", "`python -m tf2onnx.convert --tflite {path} --output model.onnx`"),
        ("frozen.pb", "`python -m tf2onnx.convert --graphdef {path} --inputs x:0"),
        (
            "paddle:inference.pdmodel,inference.pdiparams",
            "`paddle2onnx --model_dir {path} --model_filename inference.pdm",
        ),
        ("paddle:model.json,model.pdiparams", "--model_filename model.json --params_filename model.pdiparams"),
        ("inference.pdmodel", "`paddle2onnx --model_dir {folder} --model_filename inference.pdmodel"),
        ("best_model.pdparams", "`python tools/export_model.py`"),
        ("checkpoint:ckpt-7.index,ckpt-7.data-00000-of-00001", "`python exporter_main_v2.py"),
        ("model.ckpt-9.meta", "--trained_checkpoint_dir {folder}"),
        ("detr:config.json,model.safetensors", "`optimum-cli export onnx --model {path} onnx`"),
        ("best.engine", "is a file for TensorRT, which cannot be turned back"),
        ("best_openvino_model:best.xml,best.bin,metadata.yaml", "is a file for OpenVINO"),
        ("best_ncnn_model:model.ncnn.param,model.ncnn.bin", "is a file for NCNN"),
        ("best.mlpackage:Manifest.json", "is a file for Core ML"),
        ("best_web_model:model.json,group1-shard1of1.bin", "is a file for TensorFlow.js"),
        ("best.rknn", "is a file for another runtime"),
    ],
)
def test_a_file_that_no_command_takes_gets_a_way(tmp_path: Path, name: str, way: str) -> None:
    """From every command, in one line: which command of which tool makes something that is taken."""
    path = make(tmp_path / name)

    for command in COMMANDS:
        with pytest.raises(ExportError) as refused:
            refuse_other_formats(path, command)
        assert way.format(path=path, folder=tmp_path) in str(refused.value)
        assert "\n" not in str(refused.value)
        assert "{" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "takers", "way"),
    [
        ("saved:saved_model.pb", {"savedmodel", "yolo", "inspect"}, "name it in `shelfline export savedmodel`"),
        ("model.keras", {"ssd300", "keras", "inspect"}, "name it in `shelfline export keras`"),
        ("model.h5", {"ssd300", "keras", "inspect"}, "name it in `shelfline export keras` if it is"),
        ("model.onnx", {"onnx"}, "name it in `shelfline export onnx`"),
        ("model.npz", set(COMMANDS), ""),
        ("photos:a.jpg", set(COMMANDS), ""),
    ],
)
def test_a_file_of_another_command_names_it(tmp_path: Path, name: str, takers: set[str], way: str) -> None:
    """What is not recognised is left to the command."""
    path = make(tmp_path / name)

    for command in COMMANDS:
        if command in takers:
            refuse_other_formats(path, command)
            continue
        with pytest.raises(ExportError) as refused:
            refuse_other_formats(path, command)
        assert way in str(refused.value)


def test_the_content_tells_what_the_name_does_not(tmp_path: Path) -> None:
    """A file whose suffix is wrong or missing."""
    hdf5, tflite, torch = tmp_path / "weights", tmp_path / "model.bin", tmp_path / "last.ckpt"
    hdf5.write_bytes(b"\x89HDF\r\n\x1a\n...")
    tflite.write_bytes(b"\x1c\0\0\0TFL3")
    with zipfile.ZipFile(torch, "w") as archive:
        archive.writestr("last/data.pkl", b"")

    refuse_other_formats(hdf5, "keras")
    for path, is_a in ((hdf5, "an HDF5"), (tflite, "a TFLite"), (torch, "a PyTorch")):
        with pytest.raises(ExportError, match=f"is {is_a} file"):
            refuse_other_formats(path, "onnx")


def test_a_part_of_something_names_the_whole(tmp_path: Path) -> None:
    """The file in a SavedModel's folder, the folder around it, and what Ultralytics writes into it."""
    folder = make(tmp_path / "best_saved_model:saved_model.pb,best_float32.tflite")

    with pytest.raises(ExportError, match=f"is a part of a SavedModel: name its folder, {folder}"):
        refuse_other_formats(folder / "saved_model.pb", "yolo")
    with pytest.raises(ExportError, match=f"stands in the folder of a SavedModel: name that, {folder}"):
        refuse_other_formats(folder / "best_float32.tflite", "yolo")
    (folder / "metadata.yaml").touch()
    with pytest.raises(ExportError, match=f"stands in the folder of a SavedModel: name that, {folder}"):
        refuse_other_formats(folder / "metadata.yaml", "yolo")
    with pytest.raises(ExportError, match=f"holds a SavedModel: name that, {folder}"):
        refuse_other_formats(tmp_path, "savedmodel")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    """Not that it is no SavedModel."""
    with pytest.raises(ExportError, match=r"There is no .*best: name the file or the folder of the model"):
        refuse_other_formats(tmp_path / "best", "yolo")
