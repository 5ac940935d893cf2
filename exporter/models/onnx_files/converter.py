"""Convert an ONNX file to a SavedModel: `python -m exporter.models.onnx_files.converter FILE FOLDER HEIGHT WIDTH`.

It is a process of its own, since onnx2tf changes the one that imports it: random seeds, the recursion limit, warnings,
and TensorFlow's settings, which become slower. No other module imports it.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

_FIRST_RANK: Final = 3
"""onnx2tf moves the second axis of inputs with so many axes to the end: it takes it for the channels."""


_SAMPLES: Final = "calibration_image_sample_data_20x128x128x3_float32.npy"
"""Images that onnx2tf reads in its working folder, and otherwise downloads."""


def convert(source: Path, folder: Path, height: int, width: int) -> None:
    """Write the SavedModel of an ONNX file into `folder`. Sizes that the file leaves open are fixed: the batch at 1.

    Its signature `serving_default` takes `input_0`, `input_1`, ... and answers `output_0`, `output_1`, ..., in the
    order, the shapes and the types of the file.
    """
    import onnx  # noqa: PLC0415 - the extra `onnx`
    import onnx2tf  # noqa: PLC0415 - likewise; it takes seconds
    import onnxruntime  # noqa: PLC0415 - likewise
    import tensorflow as tf  # noqa: PLC0415 - TensorFlow takes seconds to import
    import tf_keras  # noqa: PLC0415 - likewise

    model = onnx.load(str(source))
    constants = {constant.name for constant in model.graph.initializer}
    entries = [entry for entry in model.graph.input if entry.name not in constants]
    for entry in entries:
        _fix_sizes([*entry.type.tensor_type.shape.dim], height, width)
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        np.save(_SAMPLES, np.random.default_rng(0).random((20, 128, 128, 3), np.float32))
        onnx.save(model, "fixed.onnx")
        # With fixed sizes, all that is computed of them is constant. onnx2tf needs shapes that are constants.
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = "folded.onnx"
        onnxruntime.InferenceSession("fixed.onnx", options, providers=["CPUExecutionProvider"])
        onnx.save(onnx.shape_inference.infer_shapes(onnx.load("folded.onnx")), "model.onnx")
        network = onnx2tf.convert(
            input_onnx_file_path="model.onnx",
            output_folder_path=scratch,
            not_use_onnxsim=True,  # it runs a program that the extra does not have
            output_signaturedefs=True,  # it makes names of layers that TensorFlow allows
            disable_model_save=True,
            verbosity="error",
        )

    def call(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = network([_channels_last(tf, x) for x in inputs])
        listed = outputs if isinstance(outputs, list | tuple) else [outputs]
        return {f"output_{number}": output for number, output in enumerate(listed)}

    archive = tf_keras.export.ExportArchive()
    archive.track(network)
    specs = [
        tf.TensorSpec(_in_file(tensor.shape), tensor.dtype, f"input_{number}")
        for number, tensor in enumerate(network.inputs)
    ]
    archive.add_endpoint("serving_default", call, specs)
    archive.write_out(str(folder))


def _fix_sizes(sides: list[Any], height: int, width: int) -> None:
    """Fix the open sizes of an input: the batch, and the sides of images (N, 3, H, W) or (N, H, W, 3).

    onnx2tf takes a batch of 1 more often than an open one: of a YOLO with open sizes it made a graph that fails.
    """
    sizes = {0: 1}
    if len(sides) == 4:
        first = 1 if sides[3].dim_value == 3 and sides[1].dim_value != 3 else 2
        sizes |= {first: height, first + 1: width}
    for number, value in sizes.items():
        side = sides[number]
        if side.dim_value < 1:
            side.dim_value = value


def _channels_last(tf: Any, x: Any) -> Any:  # noqa: ANN401 - TensorFlow has no types
    """Return an input of the ONNX file as the converted network takes it."""
    rank = len(x.shape)
    return tf.transpose(x, (0, *range(2, rank), 1)) if rank >= _FIRST_RANK else x


def _in_file(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """Return the shape of an input of the ONNX file, from that of the converted network."""
    return (shape[0], shape[-1], *shape[1:-1]) if len(shape) >= _FIRST_RANK else tuple(shape)


if __name__ == "__main__":
    convert(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), int(sys.argv[3]), int(sys.argv[4]))
