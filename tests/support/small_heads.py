"""Small Keras detectors with seeded random weights, of the forms that people bring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

SIDE, STRIDE, CLASSES = 64, 8, 2


class AnchorGenerator:
    """Anchors as KerasHub's layer of this name makes them: by level, [ymin, xmin, ymax, xmax] in pixels."""

    bounding_box_format = "yxyx"

    def __call__(self, _images: Any) -> Mapping[str, Any]:
        """Return two anchors for each cell of the grid, (P, 4), row by row."""
        import keras

        ys, xs = np.mgrid[0 : SIDE // STRIDE, 0 : SIDE // STRIDE] * STRIDE + STRIDE / 2
        halves = np.array([[8, 8], [6, 12]])
        centres = np.stack([ys.ravel(), xs.ravel()], -1)[:, None]
        anchors = np.concatenate([centres - halves, centres + halves], -1).reshape(-1, 4)
        return {"P3": keras.ops.convert_to_tensor(anchors.astype(np.float32))}


def features(images: Any) -> Any:
    """Scale pixels of 0 to 255 in the graph, and make features of a grid of cells, row by row."""
    import keras

    x = keras.layers.Rescaling(1 / 255)(images)
    return keras.layers.Conv2D(12, STRIDE, STRIDE, activation="relu")(x)


def retinanet() -> Any:
    """A detector with the outputs and attributes of KerasHub's RetinaNetObjectDetector: deltas to anchors, logits."""
    import keras

    keras.utils.set_random_seed(3)
    images = keras.Input((SIDE, SIDE, 3), name="images")
    x = features(images)
    deltas = keras.layers.Reshape((-1, 4), name="bbox_regression")(keras.layers.Conv2D(8, 1)(x))
    logits = keras.layers.Conv2D(2 * CLASSES, 1, kernel_initializer="random_normal")(x)
    logits = keras.layers.Reshape((-1, CLASSES))(logits)
    outputs = {"bbox_regression": 0.1 * deltas, "cls_logits": 40.0 * logits}
    detector = keras.Model(images, outputs)
    detector.anchor_generator = AnchorGenerator()
    return detector


def detr() -> Any:
    """A detector with outputs as KerasHub's DFineObjectDetector has them: boxes and logits of queries, and more."""
    import keras

    keras.utils.set_random_seed(4)
    images = keras.Input((SIDE, SIDE, 3), name="images")
    x = keras.layers.Reshape((-1, 12))(features(images))
    boxes = keras.layers.Dense(4, activation="sigmoid", kernel_initializer=keras.initializers.RandomNormal(stddev=3))(x)
    boxes = boxes * keras.ops.convert_to_tensor([1.0, 1.0, 0.3, 0.3])
    logits = 60.0 * keras.layers.Dense(CLASSES, kernel_initializer="random_normal")(x)
    outputs = {"pred_boxes": boxes, "logits": logits, "enc_topk_bboxes": boxes, "enc_topk_logits": logits}
    return keras.Model(images, outputs)


def decoded(*, rescaling: bool = True) -> Any:
    """A detector of a user's own: corners [ymin, xmin, ymax, xmax] in pixels around cells, and scores of classes."""
    import keras

    keras.utils.set_random_seed(5)
    images = keras.Input((SIDE, SIDE, 3), name="images")
    x = features(images) if rescaling else keras.layers.Conv2D(12, STRIDE, STRIDE, activation="relu")(images)
    offsets = keras.layers.Reshape((-1, 4))(keras.layers.Conv2D(4, 1, activation="sigmoid")(x))
    ys, xs = np.mgrid[0 : SIDE // STRIDE, 0 : SIDE // STRIDE] * STRIDE + STRIDE / 2
    centres = np.stack([ys, xs, ys, xs], -1).reshape(1, -1, 4).astype(np.float32)
    boxes = offsets * keras.ops.convert_to_tensor([-12.0, -12.0, 12.0, 12.0]) + keras.ops.convert_to_tensor(centres)
    scores = keras.layers.Conv2D(CLASSES, 1, activation="sigmoid", kernel_initializer="random_normal")(x)
    scores = keras.layers.Reshape((-1, CLASSES))(scores)
    return keras.Model(
        images,
        {"boxes": keras.layers.Identity(name="boxes")(boxes), "scores": keras.layers.Identity(name="scores")(scores)},
    )
