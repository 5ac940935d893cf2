"""Per-class non-maximum suppression in the graph, for a whole batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Limits:
    """What is kept: scores above `score_threshold`, of overlapping boxes (IoU above `nms_iou`) the best, K at most."""

    score_threshold: float
    nms_iou: float
    max_detections: int


def suppress(boxes: tf.Tensor, scores: tf.Tensor, limits: Limits) -> dict[str, tf.Tensor]:
    """The detections of a batch, best first, as the TF Object Detection API names them.

    Args:
        boxes: float32 (N, P, 4), (ymin, xmin, ymax, xmax) normalised; they are clipped to [0, 1] before they are
            compared.
        scores: float32 (N, P, C), a column a class. A prior with a box edge or a score that is not finite,
            or with an edge beyond its opposite one, is left out.
        limits: the thresholds and K.

    Returns:
        `detection_boxes` float32 (N, K, 4), `detection_scores` float32 (N, K), `detection_classes` int32 (N, K)
        (column numbers) and `num_detections` int32 (N); rows past `num_detections` are zero. Of equal scores the
        lower prior comes first, then the lower class.
    """
    if not boxes.shape[1]:  # as many boxes as the model finds, which may be none: the operations below need one
        boxes, scores = (tf.pad(tensor, [[0, 0], [0, 1], [0, 0]]) for tensor in (boxes, scores))
    valid = tf.reduce_all(tf.math.is_finite(boxes), -1) & tf.reduce_all(tf.math.is_finite(scores), -1)
    valid &= tf.reduce_all(boxes[..., 2:] >= boxes[..., :2], -1)
    boxes = tf.clip_by_value(tf.where(valid[..., None], boxes, 0.0), 0.0, 1.0)
    scores = tf.where(valid[..., None] & (scores > limits.score_threshold), scores, 0.0)
    boxes, scores = _priors_above(boxes, scores)
    classes = tf.shape(scores)[2]
    values, places = _best_first(scores)
    kept = _keep(boxes, scores, places, limits)
    present = kept >= 0
    kept = tf.maximum(kept, 0)
    places = tf.gather(places, kept, batch_dims=1)
    return {
        "detection_boxes": tf.where(present[..., None], tf.gather(boxes, places // classes, batch_dims=1), 0.0),
        "detection_scores": tf.where(present, tf.gather(values, kept, batch_dims=1), 0.0),
        "detection_classes": tf.where(present, places % classes, 0),
        "num_detections": tf.reduce_sum(tf.cast(present, tf.int32), -1),
    }


def _priors_above(boxes: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Only the priors with a score above zero, in their order: M, the most that an image of the batch has, for each.

    Mostly under a hundred of some thousand are left, so all that follows is cheap; and exact, as none is dropped.
    """
    best = tf.reduce_max(scores, -1)
    _, priors = tf.math.top_k(best, k=_most(best))
    priors = tf.sort(priors, axis=-1)
    return tf.gather(boxes, priors, batch_dims=1), tf.gather(scores, priors, batch_dims=1)


def _best_first(scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """All scores above zero, descending, and where each stands (prior * C + class); padded to one length with zeros."""
    flat = tf.reshape(scores, (-1, tf.shape(scores)[1] * tf.shape(scores)[2]))
    values, places = tf.math.top_k(flat, k=_most(flat))  # of equal values, top_k puts the lower index first
    return values, places


def _most(values: tf.Tensor) -> tf.Tensor:
    """The largest number of values above zero that a row has; at least 1."""
    counts = tf.math.count_nonzero(values > 0.0, axis=-1, dtype=tf.int32)
    return tf.reduce_max(tf.concat([counts, [1]], axis=0))


def _keep(boxes: tf.Tensor, scores: tf.Tensor, places: tf.Tensor, limits: Limits) -> tf.Tensor:
    """The ranks (columns of `places`) of what is kept, int32 (N, K), ascending, -1 where there are no more.

    `combined_non_max_suppression` leaves the order of equal scores open. So it gets, in place of each score, a number
    that no other has: how many candidates come after it. Whole numbers in float32 are exact below 2**24.
    """
    rows, length = tf.shape(places)[0], tf.shape(places)[1]
    size = tf.shape(scores)[1] * tf.shape(scores)[2]
    marks = tf.broadcast_to(tf.cast(length - tf.range(length), tf.float32), (rows, length))
    marks = tf.where(tf.gather(tf.reshape(scores, (rows, size)), places, batch_dims=1) > 0.0, marks, 0.0)
    row_starts = tf.range(rows)[:, None] * size
    flat = tf.scatter_nd(tf.reshape(row_starts + places, (-1, 1)), tf.reshape(marks, (-1,)), (rows * size,))
    _, found, _, counts = tf.image.combined_non_max_suppression(
        boxes[:, :, None, :],
        tf.reshape(flat, tf.shape(scores)),
        max_output_size_per_class=limits.max_detections,
        max_total_size=limits.max_detections,
        iou_threshold=limits.nms_iou,
        score_threshold=0.0,
        clip_boxes=False,
    )
    return tf.where(tf.sequence_mask(counts, limits.max_detections), length - tf.cast(found, tf.int32), -1)
