"""Small SavedModels without `detect` and `describe`, as users have them: of TensorFlow 1, or with batches of one size.

Each is a detector of the convention `yolo_raw` with 64 priors and 2 classes, seeded random weights, and the description
`RAW_CONTRACT`.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np

RAW_CONTRACT = """
name = "yolo"
input_height = 32
input_width = 64
score_threshold = 0.25
nms_iou = 0.5
max_detections = 10
labels = ["tea", "rice"]

[input]
scale = [255, 255, 255]

[output]
convention = "yolo_raw"
tensor = "boxes"
"""

Tail = Literal["shapes", "unstacked", "mixing", "blind"]


def write_simple_save(
    folder: Path, *, rows: int | None = None, tail: Tail = "shapes", any_size: bool = False, constant: bool = False
) -> None:
    """Write `images` -> `boxes` (N, 64, 7) as `simple_save` of TensorFlow 1 did, with reference variables.

    Args:
        folder: it must not exist yet.
        rows: the only number of images of a call; None leaves it open.
        tail: what the graph does to the batch. `shapes` holds `rows` in shapes and slices, `unstacked` splits the batch
            into its rows, `mixing` lets each image change the boxes of the others, and `blind` has the same boxes for
            all images.
        any_size: leave height and width open.
        constant: hold the weights as constants instead of variables.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own, on import and by its TF1 builder
        import tensorflow as tf

        v1 = tf.compat.v1
        kernel = np.random.default_rng(1).normal(0, 0.2, (8, 8, 3, 14)).astype(np.float32)
        with tf.Graph().as_default(), v1.Session() as session:
            size = (None, None) if any_size else (32, 64)
            images = v1.placeholder(tf.float32, (rows, *size, 3), "images")
            weights = (
                tf.constant(kernel) if constant else v1.get_variable("kernel", initializer=kernel, use_resource=False)
            )
            x = tf.nn.conv2d(images, weights, strides=8, padding="VALID")
            boxes = tf.sigmoid(_tail(tf, x, -1 if rows is None else rows, tail))
            session.run(v1.global_variables_initializer())
            v1.saved_model.simple_save(session, str(folder), {"images": images}, {"boxes": boxes})


def _tail(tf: Any, x: Any, rows: int, tail: Tail) -> Any:
    if tail == "unstacked":
        return tf.concat([tf.reshape(row, (1, 64, 7)) for row in tf.unstack(x, num=rows)], 0)
    if tail == "mixing":
        return tf.reshape(x - tf.reduce_mean(x), (rows, 64, 7))
    if tail == "blind":
        return tf.reshape(x, (rows, 64, 7)) * 0.0
    if rows < 0:
        return tf.reshape(x, (-1, 64, 7))
    offsets = tf.broadcast_to(tf.constant(np.linspace(0, 1, 7, dtype=np.float32)), (rows, 64, 7))
    sliced = tf.slice(tf.reshape(x, (rows, -1, 7)), (0, 0, 0), (rows, 64, 7))
    return tf.concat([sliced[0:rows, :, :4], sliced[..., 4:]], -1) + offsets + tf.fill((rows, 64, 7), 0.0)
