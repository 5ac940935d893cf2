"""An ONNX file: what it takes and answers, run by ONNX Runtime, or converted to TensorFlow."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from exporter.errors import ExportError
from exporter.graph import tensorflow
from exporter.models.described_export import open_savedmodel
from serving.description import RawInput

if TYPE_CHECKING:
    from exporter.graph.wrapping import RawModel

_PACKAGES: Final = ("onnx", "onnx2tf", "onnxruntime")
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_DTYPES: Final = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}
"""Names of the element types of tensors, by onnx.TensorProto.DataType."""


@dataclass(frozen=True)
class OnnxFile:
    """What an ONNX file says of itself.

    `inputs` holds shape and dtype of each input by name; a size that is left open is None. `outputs` are the names of
    the outputs in their order. `sha256` covers the file and those that hold its weights, if there are any.
    """

    path: Path
    inputs: Mapping[str, tuple[tuple[int | None, ...], str]]
    outputs: tuple[str, ...]
    properties: Mapping[str, str]
    weight_bytes: int
    sha256: str


def require_extra() -> None:
    """Raise ExportError if a package of the extra `onnx` is not installed."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ExportError(
            f"ONNX files need the extra `onnx` ({', '.join(missing)} is not installed): run "
            "`.venv/bin/pip install -r requirements-onnx.txt`."
        )


def read_onnx(path: Path) -> OnnxFile:
    """Read what an ONNX file says of itself. Raises ExportError if it is none, or if a file of weights is missing."""
    require_extra()
    import onnx  # noqa: PLC0415 - the extra `onnx`

    try:
        model = onnx.load(str(path), load_external_data=False)
        graph = model.graph
        if not graph.output:
            raise ValueError("it has no output")  # noqa: TRY301 - as any other damage
    except Exception as error:  # protobuf's own error type differs between its implementations
        raise ExportError(f"{path} is no ONNX file, or is damaged: {_first_line(error)}.") from error
    constants = {constant.name for constant in graph.initializer}
    weights = _external_files(graph.initializer, path)
    content, weight_bytes = hashlib.sha256(), 0
    for file in (path, *weights):
        try:
            with file.open("rb") as opened:
                while part := opened.read(1 << 20):
                    content.update(part)
                    weight_bytes += len(part)
        except OSError as error:
            raise ExportError(f"Cannot read {file}, which holds weights of {path}: {error.strerror}.") from error
    return OnnxFile(
        path=path,
        inputs={entry.name: _shape_and_dtype(entry) for entry in graph.input if entry.name not in constants},
        outputs=tuple(entry.name for entry in graph.output),
        properties={entry.key: entry.value for entry in model.metadata_props},
        weight_bytes=weight_bytes,
        sha256=content.hexdigest(),
    )


def _external_files(initializers: Any, path: Path) -> list[Path]:  # noqa: ANN401 - ONNX' tensors
    """Return the files that hold weights of an ONNX file, in the order of their names. They must be beside it."""
    names = {entry.value for tensor in initializers for entry in tensor.external_data if entry.key == "location"}
    outside = sorted(name for name in names if Path(name).is_absolute() or ".." in Path(name).parts)
    if outside:
        raise ExportError(f"{path} has weights in {outside[0]}: save the model with its weights in its own folder.")
    return [path.parent / name for name in sorted(names)]


def _shape_and_dtype(entry: Any) -> tuple[tuple[int | None, ...], str]:  # noqa: ANN401 - ONNX' ValueInfoProto
    tensor = entry.type.tensor_type
    sides = (side.dim_value if side.HasField("dim_value") and side.dim_value > 0 else None for side in tensor.shape.dim)
    return tuple(sides), _DTYPES.get(tensor.elem_type, f"type {tensor.elem_type}")


def runtime_model(file: OnnxFile, raw_input: RawInput) -> RawModel:
    """Return a model that ONNX Runtime runs: the reference. It cannot be saved.

    Raises ExportError if the file does not load, or if its inputs are not those of `raw_input`.
    """
    tensorflow.prepare()
    import onnxruntime  # noqa: PLC0415 - the extra `onnx`
    import tensorflow as tf  # noqa: PLC0415 - TensorFlow takes seconds to import

    from exporter.graph.wrapping import RawModel  # noqa: PLC0415 - it imports TensorFlow
    from serving.boxes.decode import constants  # noqa: PLC0415

    shape, dtype = _images(file, raw_input)
    onnxruntime.set_default_logger_severity(4)
    try:
        session = onnxruntime.InferenceSession(str(file.path), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises errors of any type
        raise ExportError(f"{file.path} does not load: {_first_line(error)}") from error

    def call(images: tf.Tensor) -> dict[str, Any]:
        batch = np.asarray(images)
        answers = session.run(list(file.outputs), {raw_input.tensor: batch, **constants(raw_input, len(batch))})
        return dict(zip(file.outputs, answers, strict=True))

    return RawModel(call=call, shape=shape, dtype=tf.as_dtype(dtype), weight_bytes=file.weight_bytes)


def converted_model(file: OnnxFile, raw_input: RawInput, size: tuple[int, int]) -> RawModel:
    """Return the model as TensorFlow runs it, for images of `size`, (height, width).

    Raises ExportError if onnx2tf cannot convert it.
    """
    tensorflow.prepare()
    from exporter.graph.inputs import model_inputs  # noqa: PLC0415 - it imports TensorFlow
    from exporter.graph.wrapping import RawModel  # noqa: PLC0415 - it imports TensorFlow

    _images(file, raw_input)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "converted"
        _convert(file.path, folder, size)
        loaded = open_savedmodel(folder, "serving_default")
        names = {name: f"input_{number}" for number, name in enumerate(file.inputs)}
        entry = loaded.inputs[names[raw_input.tensor]]

        def call(images: Any) -> dict[str, Any]:  # noqa: ANN401 - TensorFlow has no types
            inputs = {names[name]: value for name, value in model_inputs(raw_input, images).items()}
            outputs = loaded.call(**inputs)
            return {name: outputs[f"output_{number}"] for number, name in enumerate(file.outputs)}

        return RawModel(
            call=call,
            shape=tuple(entry.shape),
            dtype=entry.dtype,
            weight_bytes=file.weight_bytes,
            resources=loaded.resources,
        )


def _convert(source: Path, folder: Path, size: tuple[int, int]) -> None:
    command = [sys.executable, "-m", "exporter.models.onnx_files.converter", source, folder, *size]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)  # noqa: S603 - our own module
    if done.returncode or not (folder / "saved_model.pb").is_file():
        lines = [line for line in _COLOURS.sub("", done.stdout + done.stderr).splitlines() if line.strip()]
        raise ExportError(
            f"onnx2tf cannot convert {source}: {_reason(lines)}; if the program that trained the model writes "
            "SavedModels, export it as one."
        )


def _reason(lines: list[str]) -> str:
    marked = [line for line in lines if line.startswith(("ERROR:", "error:"))]
    return " ".join((marked or lines or ["no reason given"])[-1].removeprefix("ERROR:").split())[:300].rstrip(".")


def _images(file: OnnxFile, raw_input: RawInput) -> tuple[tuple[int | None, ...], str]:
    """Return shape and dtype of the images. Raises ExportError if the file takes other inputs than `raw_input`."""
    described = [raw_input.tensor, *(constant.tensor for constant in raw_input.constants)]
    if set(file.inputs) != set(described):
        inputs = ", ".join(sorted(file.inputs))
        raise ExportError(f"{file.path} takes {inputs}, its description says {', '.join(described)}.")
    return file.inputs[raw_input.tensor]


def _first_line(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:300].rstrip(".")
