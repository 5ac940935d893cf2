"""The signature `detect` of a model with raw outputs: preprocessing, decoding and NMS in the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from exporter.graph.suppression import Limits, suppress
from serving.boxes.decode import candidates
from serving.description import Description


class TfArrays:
    """The operations of `serving.boxes.decode.Arrays` in TensorFlow."""

    def exp(self, x: Any) -> Any:  # noqa: ANN401 - TensorFlow has no types
        """Of each element."""
        return tf.exp(x)

    def stack(self, parts: Sequence[Any]) -> Any:  # noqa: ANN401 - TensorFlow has no types
        """Along a new last axis."""
        return tf.stack(parts, axis=-1)

    def float32(self, x: Any) -> Any:  # noqa: ANN401 - TensorFlow has no types
        """Cast."""
        return tf.cast(x, tf.float32)

    def columns(self, x: Any) -> Any:  # noqa: ANN401 - TensorFlow has no types
        """The numbers of the second axis' places."""
        return tf.range(tf.shape(x)[1])

    def flip(self, x: Any) -> Any:  # noqa: ANN401 - TensorFlow has no types
        """Reverse the last axis: measured at a quarter of the time of a slice with a step of -1."""
        return tf.reverse(x, [-1])


def detections(outputs: Mapping[str, tf.Tensor], description: Description) -> dict[str, tf.Tensor]:
    """What `detect` answers, from a model's raw outputs; `detection_classes` are label ids. See `suppress`."""
    contract = description.contract
    boxes, scores, ids = candidates(outputs, description, TfArrays())
    answer = suppress(boxes, scores, Limits(contract.score_threshold, contract.nms_iou, contract.max_detections))
    present = tf.sequence_mask(answer["num_detections"], contract.max_detections)
    classes = tf.gather(tf.constant(ids, tf.int32), answer["detection_classes"])
    return {**answer, "detection_classes": tf.where(present, classes, 0)}
