"""Recognise model files that a command does not take, and say which command of which tool makes one that it takes.

This module imports no TensorFlow.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final, Literal

from exporter.errors import ExportError

Command = Literal["ssd300", "keras", "savedmodel", "yolo", "onnx", "inspect"]

_TAKEN: Final[dict[Command, set[str]]] = {
    "ssd300": {"hdf5", "keras"},
    "keras": {"hdf5", "keras"},
    "savedmodel": {"savedmodel"},
    "yolo": {"savedmodel"},
    "onnx": {"onnx"},
    "inspect": {"hdf5", "keras", "savedmodel"},
}

_FROM_PT: Final = "`yolo export model=best.pt format=saved_model`"
_OF_RUNTIME: Final = (
    "is a file for {runtime}, which cannot be turned back: export the model that it was made of, with Ultralytics by "
    + _FROM_PT
)

_WAYS: Final = {
    "savedmodel": "is a SavedModel: name it in `shelfline export savedmodel`, or in `shelfline export yolo` if "
    "Ultralytics or YOLOv5 wrote it",
    "keras": "is a Keras model: name it in `shelfline export keras`",
    "hdf5": "is an HDF5 file: name it in `shelfline export keras` if it is a whole Keras model, or in "
    "`shelfline export ssd300` if it is weights of SSD300",
    "onnx": "is an ONNX file: name it in `shelfline export onnx`",
    "pytorch": "is a PyTorch file: make a SavedModel of it with Ultralytics (`yolo export model={path} "
    "format=saved_model`) or YOLOv5 (`python export.py --weights {path} --include saved_model`) for `shelfline export "
    "yolo`; of any other model make ONNX with `torch.onnx.export` for `shelfline export onnx`",
    "tflite": "is a TFLite file: make ONNX of it with `python -m tf2onnx.convert --tflite {path} --output model.onnx` "
    f"for `shelfline export onnx`, or a SavedModel of the model that it was made of, with Ultralytics by {_FROM_PT}",
    "graph": "is a frozen graph: make ONNX of it with `python -m tf2onnx.convert --graphdef {path} --inputs x:0 "
    "--outputs Identity:0 --output model.onnx`, with the names of its tensors, for `shelfline export onnx`; if "
    "Ultralytics wrote it, name the folder `*_saved_model` beside it in `shelfline export yolo`",
    "paddle": "is a PaddlePaddle model: make ONNX of it with `paddle2onnx --model_dir {folder} --model_filename "
    "{graph} --params_filename {weights} --save_file model.onnx` for `shelfline export onnx`",
    "paddle_training": "is a PaddlePaddle model in training: write it for inference with the program that trained it "
    "(PaddleDetection: `python tools/export_model.py`), then make ONNX of it with `paddle2onnx` for `shelfline export "
    "onnx`",
    "checkpoint": "is a checkpoint of TensorFlow: make a SavedModel of it with the program that trained it, the TF "
    "Object Detection API by `python exporter_main_v2.py --trained_checkpoint_dir {folder} --pipeline_config_path "
    "pipeline.config --output_directory exported`, and name exported/saved_model in `shelfline export savedmodel`",
    "huggingface": "is a model of Hugging Face: make ONNX of it with `optimum-cli export onnx --model {folder} onnx` "
    "for `shelfline export onnx`",
    "openvino": _OF_RUNTIME.format(runtime="OpenVINO"),
    "tensorrt": _OF_RUNTIME.format(runtime="TensorRT"),
    "coreml": _OF_RUNTIME.format(runtime="Core ML"),
    "ncnn": _OF_RUNTIME.format(runtime="NCNN"),
    "tfjs": _OF_RUNTIME.format(runtime="TensorFlow.js"),
    "other": _OF_RUNTIME.format(runtime="another runtime"),
}

_BY_SUFFIX: Final = {
    ".keras": "keras",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".onnx": "onnx",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".torchscript": "pytorch",
    ".pt2": "pytorch",
    ".tflite": "tflite",
    ".pb": "graph",
    ".pdmodel": "paddle",
    ".pdiparams": "paddle",
    ".pdparams": "paddle_training",
    ".ckpt": "checkpoint",
    ".meta": "checkpoint",
    ".index": "checkpoint",
    ".safetensors": "huggingface",
    ".xml": "openvino",
    ".engine": "tensorrt",
    ".mlmodel": "coreml",
    ".mlpackage": "coreml",
    ".param": "ncnn",
    ".mnn": "other",
    ".rknn": "other",
}

# What a folder of a format has in it, the most telling first.
_BY_CONTENT: Final = (
    ("saved_model.pb", "savedmodel"),
    ("*.pdiparams", "paddle"),
    ("*.pdmodel", "paddle"),
    ("*.safetensors", "huggingface"),
    ("*.ckpt*", "checkpoint"),
    ("ckpt-*.index", "checkpoint"),
    ("*.param", "ncnn"),
    ("*.xml", "openvino"),
    ("model.json", "tfjs"),
)


def refuse_other_formats(path: Path, command: Command) -> None:
    """Raise ExportError if the file or folder `path` is missing, or is known to be of a format that `command` refuses.

    The error names the command that takes it, or the tool that makes something that a command takes. A file that is not
    recognised is left to the command.
    """
    if not path.exists():
        raise ExportError(f"There is no {path}: name the file or the folder of the model.")
    form = _format(path)
    if form in _TAKEN[command]:
        return
    if path.name == "saved_model.pb":
        raise ExportError(f"{path} is a part of a SavedModel: name its folder, {path.parent}.")
    if form != "savedmodel" and (path.parent / "saved_model.pb").is_file():
        raise ExportError(f"{path} stands in the folder of a SavedModel: name that, {path.parent}.")
    if form is None:
        if inner := next(iter(sorted(path.glob("*/saved_model.pb"))), None):
            raise ExportError(f"{path} holds a SavedModel: name that, {inner.parent}.")
        return
    raise ExportError(f"{path} {_way(form, path)}.")


def _format(path: Path) -> str | None:
    """Return the format of a file or folder, as `_WAYS` names it, or None if it is not recognised."""
    by_suffix = _BY_SUFFIX.get(path.suffix.lower())
    if path.is_dir():
        return next((form for pattern, form in _BY_CONTENT if any(path.glob(pattern))), by_suffix)
    return _format_of_content(path) or by_suffix


def _format_of_content(path: Path) -> str | None:
    """Return the format of a file by its first bytes, or None if they do not tell it."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if start == b"\x89HDF\r\n\x1a\n":
            return "hdf5"
        if start[4:] == b"TFL3":
            return "tflite"
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
            if "config.json" in names:
                return "keras"
            return "pytorch" if any(name.endswith("/data.pkl") for name in names) else None
    except (OSError, zipfile.BadZipFile):
        pass
    return None


def _way(form: str, path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    graphs = [*sorted(folder.glob("*.pdmodel")), *sorted(folder.glob("*.json"))]
    weights = sorted(folder.glob("*.pdiparams"))
    return _WAYS[form].format(
        path=path,
        folder=folder,
        graph=graphs[0].name if graphs else "inference.pdmodel",
        weights=weights[0].name if weights else "inference.pdiparams",
    )
