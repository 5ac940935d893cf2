"""Small YOLOs as Ultralytics and YOLOv5 write them: a SavedModel with `metadata.yaml` beside it.

Each has three grids, of the strides 8, 16 and 32, seeded random weights, and answers that depend on the colours of the
image around each cell.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray

Layout = Literal["yolo_v5", "yolo_v8", "transposed", "end_to_end"]

SIZE = (64, 96)
"""Height and width of their images."""

NAMES = ("绿茶", "rice", "no")


def write_yolo(
    folder: Path,
    layout: Layout = "yolo_v8",
    *,
    pixels: bool = False,
    rows: int | None = 1,
    any_size: bool = False,
    dtype: str = "float32",
    **metadata: Any,
) -> None:
    """Write a SavedModel `images` -> `output_0` into `folder`, and its metadata.

    Args:
        folder: it must not exist yet.
        layout: of the output. `end_to_end` answers the 20 best boxes.
        pixels: answer boxes in pixels instead of fractions.
        rows: the only number of images of a call, as Ultralytics writes it; None leaves it open.
        any_size: leave height and width open, as with `dynamic=True`.
        dtype: of the images.
        metadata: entries of `metadata.yaml` that replace its own; None leaves one out.
    """
    import tensorflow as tf

    anchors = 3 if layout == "yolo_v5" else 1
    columns = (5 if layout == "yolo_v5" else 4) + len(NAMES)
    weights, cells = _weights(anchors * columns), _cells(anchors)

    def answer(images: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.cast(images, tf.float32) - 0.5
        parts = [
            tf.reshape(
                tf.tanh(tf.matmul(tf.nn.avg_pool2d(x, s, s, "VALID"), weights)), (rows or -1, n * anchors, columns)
            )
            for s, n in _grids()
        ]
        raw = tf.concat(parts, 1)
        centres = cells[:, :2] + 0.5 * cells[:, 2:] * raw[..., :2]
        boxes = tf.concat([centres, cells[:, 2:] * tf.exp(2 * raw[..., 2:4])], -1)
        boxes *= np.resize(SIZE[::-1], 4).astype(np.float32) if pixels else 1
        scores = tf.sigmoid(4 * raw[..., 4:])
        whole = tf.concat([boxes, scores], -1)
        if layout == "end_to_end":
            return {"output_0": _best(tf, boxes, scores)}
        return {"output_0": tf.transpose(whole, (0, 2, 1)) if layout == "yolo_v8" else whole}

    size = (None, None) if any_size else SIZE
    spec = tf.TensorSpec((rows, *size, 3), tf.as_dtype(dtype), "images")
    traced = tf.function(answer).get_concrete_function(spec)
    tf.saved_model.save(tf.Module(), str(folder), {"serving_default": traced})
    write_metadata(folder, **metadata)


def write_metadata(folder: Path, **changes: Any) -> None:
    """Write `metadata.yaml` as Ultralytics does. None leaves an entry out."""
    fields = {
        "description": "Ultralytics YOLO11n model trained on shelf.yaml",
        "author": "Ultralytics",
        "license": "AGPL-3.0 License (https://ultralytics.com/license)",
        "stride": 32,
        "task": "detect",
        "batch": 1,
        "imgsz": list(SIZE),
        "names": dict(enumerate(NAMES)),
        "args": {"batch": 1, "int8": False, "nms": False},
        "channels": 3,
    }
    kept = {key: value for key, value in (fields | changes).items() if value is not None}
    (folder / "metadata.yaml").write_text(yaml.safe_dump(kept, sort_keys=False, allow_unicode=True), "utf-8")


def _grids() -> list[tuple[int, int]]:
    """The stride and the number of cells of each grid."""
    return [(stride, math.ceil(SIZE[0] / stride) * math.ceil(SIZE[1] / stride)) for stride in (8, 16, 32)]


def _weights(columns: int) -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(0, 3, (3, columns)).astype(np.float32)


def _cells(anchors: int) -> NDArray[np.float32]:
    """Centre (x, y) and size (w, h) of the cell of each box, as fractions of the image."""
    cells = []
    for stride, _ in _grids():
        y, x = np.mgrid[0 : SIZE[0] // stride, 0 : SIZE[1] // stride]
        side = np.broadcast_to((stride / SIZE[1], stride / SIZE[0]), (*x.shape, 2))
        centre = np.stack([(x + 0.5) * stride / SIZE[1], (y + 0.5) * stride / SIZE[0]], -1)
        cells.append(np.concatenate([centre, side], -1).reshape(-1, 4))
    return np.repeat(np.concatenate(cells), anchors, axis=0).astype(np.float32)


def _best(tf: Any, boxes: Any, scores: Any) -> Any:
    """The 20 best boxes (N, 20, 6), as corners."""
    corners = tf.concat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)
    best, places = tf.math.top_k(tf.reduce_max(scores, -1), 20)
    classes = tf.gather(tf.argmax(scores, -1, tf.int32), places, batch_dims=1)
    chosen = tf.gather(corners, places, batch_dims=1)
    return tf.concat([chosen, best[..., None], tf.cast(classes, tf.float32)[..., None]], -1)
