"""Small SavedModels without `detect` and `describe`, as users have them: of TensorFlow 1, or with batches of one size.

Each is a detector with 64 priors and 2 classes, and seeded random weights. What `write_simple_save` writes has the
description `RAW_CONTRACT`, and what `write_zoo_model` writes has `ZOO_CONTRACT`.
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

ZOO_CONTRACT = """
name = "zoo"
input_height = 64
input_width = 64
resize = "bilinear"
antialias = false
score_threshold = 0.3
nms = "none"
nms_iou = 0.6
max_detections = 20
labels = ["tea", "rice"]

[input]
tensor = "input_tensor"
dtype = "uint8"

[output]
convention = "tf_object_detection"
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


def write_zoo_model(folder: Path, *, side: int = 64, channels: int = 8) -> None:
    """Write what the TF2 Object Detection API exports: one image of any size, classes from 1, eight outputs.

    Like it, the model resizes its image itself, to `side` x `side` pixels, and goes through the batch image by image.
    `channels` is the width of its only hidden layer.

    Args:
        folder: it must not exist yet.
        side: a multiple of 8.
        channels: more make the model slower.
    """
    import tensorflow as tf

    random = np.random.default_rng(2)
    kernels = {
        "hidden": random.normal(0, 0.08, (8, 8, 3, channels)),
        "boxes": random.normal(0, 0.5 / channels, (1, 1, channels, 4)),
        "scores": random.normal(0, 2 / channels, (1, 1, channels, 2)),
        "bias": random.normal(0, 1, ((side // 8) ** 2, 2)),
    }
    model = tf.Module()
    model.kernels = {name: tf.Variable(kernel.astype(np.float32)) for name, kernel in kernels.items()}
    cells = side // 8
    centres = np.stack(np.meshgrid(*[(np.arange(cells) + 0.5) / cells] * 2, indexing="ij"), -1).reshape(1, -1, 2)

    def selected(values: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        """Class-wise suppression of one image's boxes, filled up with zeros."""
        boxes, scores = values
        kept = tf.image.combined_non_max_suppression(
            boxes[None, :, None], scores[None], 20, 20, iou_threshold=0.6, score_threshold=0.2
        )
        return kept.nmsed_boxes[0], kept.nmsed_scores[0], kept.nmsed_classes[0] + 1, kept.valid_detections[0]

    def detect(input_tensor: tf.Tensor) -> dict[str, tf.Tensor]:
        floats = tf.unstack(tf.cast(input_tensor, tf.float32))
        images = tf.stack([tf.image.resize(image, (side, side)) for image in floats]) * (2 / 255) - 1
        features = tf.nn.relu(tf.nn.conv2d(images, model.kernels["hidden"], 8, "VALID"))
        offsets = tf.reshape(tf.nn.conv2d(features, model.kernels["boxes"], 1, "SAME"), (1, cells * cells, 4))
        logits = tf.reshape(tf.nn.conv2d(features, model.kernels["scores"], 1, "SAME"), (1, cells * cells, 2))
        middle = tf.cast(centres, tf.float32) + 0.1 * tf.tanh(offsets[..., :2])
        half = 0.1 + 0.05 * tf.tanh(offsets[..., 2:])
        boxes = tf.clip_by_value(tf.concat([middle - half, middle + half], -1), 0, 1)
        scores = tf.sigmoid(logits + model.kernels["bias"])
        kept = tf.map_fn(selected, (boxes, scores), fn_output_signature=(tf.float32, tf.float32, tf.float32, tf.int32))
        return {
            "detection_boxes": kept[0],
            "detection_scores": kept[1],
            "detection_classes": kept[2],
            "num_detections": tf.cast(kept[3], tf.float32),
            "detection_anchor_indices": tf.zeros_like(kept[1]),
            "detection_multiclass_scores": tf.tile(kept[1][..., None], (1, 1, 3)),
            "raw_detection_boxes": boxes,
            "raw_detection_scores": scores,
        }

    image = tf.TensorSpec((1, None, None, 3), tf.uint8, "input_tensor")
    traced = tf.function(detect).get_concrete_function(image)
    tf.saved_model.save(model, str(folder), {"serving_default": traced})
