"""SSD300 on VGG16 in Keras 3. Its layers have the names of rykov8/ssd_keras, so that those weights load by name.

Source: Liu et al., "SSD: Single Shot MultiBox Detector" (2016), as implemented by rykov8/ssd_keras.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from numpy.typing import NDArray

from exporter.models.ssd300_priors import MAPS, SIZE, PriorMap, map_priors

VOC_CLASSES = 21


class L2Normalize(layers.Layer):  # type: ignore[misc] # Keras has no types
    """Scale the channel vector of each cell to length 1, then multiply it by a learned `gamma` (channels,)."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Create the weight `gamma`, initially 20."""
        initial = keras.initializers.Constant(20.0)
        self.gamma = self.add_weight(shape=(shape[-1],), initializer=initial, name="gamma")

    def call(self, x: Any) -> Any:  # noqa: ANN401 - Keras has no types
        """Normalise float32 (N, H, W, channels)."""
        squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
        return x * ops.rsqrt(ops.maximum(squares, 1e-12)) * self.gamma


class PriorBox(layers.Layer):  # type: ignore[misc] # Keras has no types
    """The priors of a map (see `map_priors`), repeated for each image of the batch."""

    def __init__(self, prior_map: PriorMap, **kwargs: Any) -> None:  # noqa: ANN401 - Keras' own arguments
        super().__init__(**kwargs)
        self._priors: NDArray[np.float32] = map_priors(prior_map)

    def call(self, x: Any) -> Any:  # noqa: ANN401 - Keras has no types
        """Return the priors, float32 (N, count, 8). Only the batch size of `x` is used."""
        return ops.tile(ops.convert_to_tensor(self._priors)[None], (ops.shape(x)[0], 1, 1))


@dataclass(frozen=True)
class SSD300:
    """The network for BGR and for RGB images, with the same weights.

    `model` takes images float32 (N, 300, 300, 3), BGR, minus the mean. The function `rgb()` takes the same images as
    RGB. Both return float32 (N, 7308, 4 + C + 8): offsets of centre and size, scores after softmax (column 0 is the
    background), prior (xmin, ymin, xmax, ymax, normalised) and variances.
    """

    model: Any

    def rgb(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return the network for RGB images.

        It reverses the channels of the first kernel, which costs nothing. Reversing the channels of the images costs
        4 ms per image.
        """
        first = self.model.get_layer("conv1_1")
        rest = keras.Model(first.output, self.model.output)

        def call(images: tf.Tensor) -> tf.Tensor:
            kernel = tf.reverse(tf.convert_to_tensor(first.kernel), [2])
            return rest(tf.nn.relu(tf.nn.conv2d(images, kernel, 1, "SAME") + tf.convert_to_tensor(first.bias)))

        return call


def build(classes: int) -> SSD300:
    """Build the network with random weights. `classes` includes the background.

    If `classes` is not 21, the names of the class score layers end in `_{classes}`, as in rykov8/ssd_keras, so that
    loading VOC weights by name skips these layers.
    """
    suffix = "" if classes == VOC_CLASSES else f"_{classes}"
    images = keras.Input((SIZE, SIZE, 3), name="images")
    features = _features(images)
    heads = [_head(prior_map, features[prior_map.layer], classes, suffix) for prior_map in MAPS]
    offsets, scores, priors = (
        layers.Concatenate(axis=1, name=name)(parts)
        for name, parts in zip(("mbox_loc", "mbox_conf", "mbox_priorbox"), zip(*heads, strict=True), strict=True)
    )
    offsets = layers.Reshape((-1, 4), name="mbox_loc_final")(offsets)
    scores = layers.Reshape((-1, classes), name="mbox_conf_logits")(scores)
    scores = layers.Softmax(name="mbox_conf_final")(scores)
    outputs = layers.Concatenate(axis=2, name="predictions")([offsets, scores, priors])
    return SSD300(keras.Model(images, outputs, name="ssd300"))


def _conv(name: str, filters: int, size: int, x: Any, **options: Any) -> Any:  # noqa: ANN401 - Keras has no types
    options = {"activation": "relu", "padding": "same", **options}
    return layers.Conv2D(filters, size, name=name, **options)(x)


def _features(images: Any) -> dict[str, Any]:  # noqa: ANN401 - Keras has no types
    """Build VGG16 and the extra layers. Return the six feature maps with priors, by layer name."""
    x, maps = images, {}
    for block, (filters, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1):
        for number in range(1, depth + 1):
            x = _conv(f"conv{block}_{number}", filters, 3, x)
        if block == 4:
            maps["conv4_3_norm"] = L2Normalize(name="conv4_3_norm")(x)
        size, stride = (3, 1) if block == 5 else (2, 2)
        x = layers.MaxPooling2D(size, stride, padding="same", name=f"pool{block}")(x)
    x = _conv("fc6", 1024, 3, x, dilation_rate=6)
    maps["fc7"] = x = _conv("fc7", 1024, 1, x)
    x = _conv("conv6_1", 256, 1, x)
    maps["conv6_2"] = x = _conv("conv6_2", 512, 3, x, strides=2)
    x = layers.ZeroPadding2D(1)(_conv("conv7_1", 128, 1, x))
    maps["conv7_2"] = x = _conv("conv7_2", 256, 3, x, strides=2, padding="valid")
    x = _conv("conv8_1", 128, 1, x)
    maps["conv8_2"] = x = _conv("conv8_2", 256, 3, x, strides=2)
    maps["pool6"] = layers.GlobalAveragePooling2D(name="pool6")(x)
    return maps


def _head(prior_map: PriorMap, x: Any, classes: int, suffix: str) -> tuple[Any, Any, Any]:  # noqa: ANN401 - Keras has no types
    """Build the head of a map: offsets (N, 4 * priors), logits (N, C * priors) and priors (N, priors, 8)."""
    name, per_cell = prior_map.layer, prior_map.per_cell
    priors = PriorBox(prior_map, name=f"{name}_mbox_priorbox")(x)
    if prior_map.cells == 1:
        offsets = layers.Dense(4 * per_cell, name=f"{name}_mbox_loc_flat")(x)
        return offsets, layers.Dense(classes * per_cell, name=f"{name}_mbox_conf_flat{suffix}")(x), priors
    offsets = _conv(f"{name}_mbox_loc", 4 * per_cell, 3, x, activation=None)
    logits = _conv(f"{name}_mbox_conf{suffix}", classes * per_cell, 3, x, activation=None)
    return (
        layers.Flatten(name=f"{name}_mbox_loc_flat")(offsets),
        layers.Flatten(name=f"{name}_mbox_conf_flat")(logits),
        priors,
    )
