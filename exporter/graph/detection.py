"""Decoding and NMS in the graph, for the signature `detect` of a model with raw outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import tensorflow as tf

from exporter.graph.suppression import suppress
from serving.boxes.arrays import Arrays
from serving.boxes.candidates import candidates
from serving.description import Description

TENSORFLOW: Final = Arrays(
    exp=tf.exp,
    stack=lambda parts: tf.stack(parts, axis=-1),
    float32=lambda x: tf.cast(x, tf.float32),
    columns=lambda x: tf.range(tf.shape(x)[1]),
    flip=lambda x: tf.reverse(x, [-1]),  # a quarter of the time of a slice with step -1 (measured)
    transpose=tf.transpose,
    softmax=tf.nn.softmax,
    argmax=lambda x: tf.argmax(x, -1),
)


def detections(outputs: Mapping[str, tf.Tensor], description: Description) -> dict[str, tf.Tensor]:
    """Compute the outputs of `detect` from a model's raw outputs by name.

    The outputs are those of `suppress`, except that `detection_classes` are label ids, 0 after `num_detections`.
    """
    contract = description.contract
    decoded = candidates(outputs, description, TENSORFLOW)
    thresholds = contract.threshold_by_id
    answer = suppress(decoded.boxes, decoded.scores, contract, [thresholds[label] for label in decoded.ids])
    present = tf.sequence_mask(answer["num_detections"], contract.max_detections)
    classes = tf.gather(tf.constant(decoded.ids, tf.int32), answer["detection_classes"])
    return {**answer, "detection_classes": tf.where(present, classes, 0)}
