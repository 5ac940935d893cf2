"""A small YOLO in an ONNX file, as Ultralytics writes it. This needs the extra `onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

NAMES: Final = ("绿茶", "rice", "no")
SIDE: Final = 64
"""Height and width of its images."""

_CELLS: Final = 8  # in a row and in a column

METADATA: Final = {
    "description": "Ultralytics YOLOv8n model trained on shelf.yaml",
    "task": "detect",
    "imgsz": f"[{SIDE}, {SIDE}]",
    "names": str(dict(enumerate(NAMES))),
    "args": "{'nms': False}",
}


def write_onnx(path: Path, metadata: dict[str, str], *, rows: int | None = 1, outside: str = "") -> None:
    """Write `images` (N, 3, 64, 64), RGB over 255 -> `output0` (N, 4 + C, 64), boxes in pixels.

    Args:
        path: the file.
        metadata: its properties.
        rows: the only number of images of a call; None leaves it open, and height and width too.
        outside: the file that holds the weights; '' for the same file.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random, columns = np.random.default_rng(2), 4 + len(NAMES)
    y, x = np.mgrid[0:_CELLS, 0:_CELLS].reshape(2, 1, -1) * (SIDE / _CELLS)
    constants = {
        "kernel": random.normal(0, 0.4, (16, 3, 8, 8)),
        "head": random.normal(0, 1, (columns, 16, 1, 1)),
        "grid": np.concatenate([x, y])[None],
        "side": np.full((1, 1, 1), 16),
    }
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
    shapes = {"shape": [rows or 0, columns, _CELLS**2], "parts": [2, 2, len(NAMES)]}
    initializers += [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in shapes.items()]
    nodes: list[Any] = [
        helper.make_node("Conv", ["images", "kernel"], ["a"], strides=[8, 8]),
        helper.make_node("Sigmoid", ["a"], ["b"]),
        helper.make_node("Mul", ["a", "b"], ["c"]),
        helper.make_node("Conv", ["c", "head"], ["d"]),
        helper.make_node("Reshape", ["d", "shape"], ["e"]),
        helper.make_node("Sigmoid", ["e"], ["f"]),
        helper.make_node("Split", ["f", "parts"], ["centres", "sizes", "scores"], axis=1),
        helper.make_node("Mul", ["centres", "side"], ["g"]),
        helper.make_node("Add", ["g", "grid"], ["h"]),
        helper.make_node("Mul", ["sizes", "side"], ["i"]),
        helper.make_node("Concat", ["h", "i", "scores"], ["output0"], axis=1),
    ]
    batch: Any = rows or "batch"
    size: list[Any] = [SIDE, SIDE] if rows else ["height", "width"]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, *size])
    boxes = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [batch, columns, _CELLS**2])
    graph = helper.make_graph(nodes, "yolo", [images], [boxes], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    if outside:
        onnx.save(model, str(path), save_as_external_data=True, location=outside, size_threshold=200)
    else:
        onnx.save(model, str(path))
