"""Non-maximum suppression (NMS) per class in the graph, for a whole batch at once."""

from __future__ import annotations

import tensorflow as tf

from serving.contract import Contract


def suppress(boxes: tf.Tensor, scores: tf.Tensor, contract: Contract) -> dict[str, tf.Tensor]:
    """Select the detections of a batch, best first, by score threshold and NMS per class.

    The NumPy form is `serving.boxes.suppression.suppress`. Outputs have the names of the TF Object Detection API.

    Args:
        boxes: float32 (N, P, 4), [ymin, xmin, ymax, xmax], normalised. They are clipped to [0, 1] before NMS.
        scores: float32 (N, P, C), one column per class. A prior is left out if its box or one of its scores is not
            finite, or if ymax < ymin or xmax < xmin.
        contract: its `score_threshold`, `nms_iou` and `max_detections` (K) are used.

    Returns:
        `detection_boxes` float32 (N, K, 4), `detection_scores` float32 (N, K), `detection_classes` int32 (N, K)
        (column numbers) and `num_detections` int32 (N). Values after `num_detections` are zero. For equal scores the
        lower prior comes first, then the lower class.
    """
    if not boxes.shape[1]:  # P is open and may be 0 in a call, but the operations below need 1
        boxes, scores = (tf.pad(tensor, [[0, 0], [0, 1], [0, 0]]) for tensor in (boxes, scores))
    valid = tf.reduce_all(tf.math.is_finite(boxes), -1) & tf.reduce_all(tf.math.is_finite(scores), -1)
    valid &= tf.reduce_all(boxes[..., 2:] >= boxes[..., :2], -1)
    boxes = tf.clip_by_value(tf.where(valid[..., None], boxes, 0.0), 0.0, 1.0)
    scores = tf.where(valid[..., None] & (scores > contract.score_threshold), scores, 0.0)
    boxes, scores = _priors_above(boxes, scores)
    classes = tf.shape(scores)[2]
    values, places = _best_first(scores)
    kept = _keep(boxes, scores, places, contract)
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
    """Keep the priors with a score above zero, in their order. Returns boxes (N, M, 4) and scores (N, M, C).

    M is the largest number of such priors in an image of the batch, so none is dropped. Mostly fewer than a hundred of
    some thousand priors remain, and the next steps are cheap.
    """
    best = tf.reduce_max(scores, -1)
    _, priors = tf.math.top_k(best, k=_max_count(best))
    priors = tf.sort(priors, axis=-1)
    return tf.gather(boxes, priors, batch_dims=1), tf.gather(scores, priors, batch_dims=1)


def _best_first(scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Sort the scores above zero of each image, descending.

    Returns the scores and their indices (prior * C + class), padded with scores of 0 to one length for the batch.
    """
    flat = tf.reshape(scores, (-1, tf.shape(scores)[1] * tf.shape(scores)[2]))
    values, places = tf.math.top_k(flat, k=_max_count(flat))  # of equal values, top_k puts the lower index first
    return values, places


def _max_count(values: tf.Tensor) -> tf.Tensor:
    """Return the largest number of values above zero in a row, at least 1."""
    counts = tf.math.count_nonzero(values > 0.0, axis=-1, dtype=tf.int32)
    return tf.reduce_max(tf.concat([counts, [1]], axis=0))


def _keep(boxes: tf.Tensor, scores: tf.Tensor, places: tf.Tensor, contract: Contract) -> tf.Tensor:
    """Return the ranks (columns of `places`) of the detections that NMS keeps, int32 (N, K), ascending, padded with -1.

    `combined_non_max_suppression` does not define the order of equal scores. It therefore gets a unique number instead
    of each score: the length of the list minus the rank. Integers below 2**24 are exact in float32.
    """
    rows, length = tf.shape(places)[0], tf.shape(places)[1]
    size = tf.shape(scores)[1] * tf.shape(scores)[2]
    marks = tf.broadcast_to(tf.cast(length - tf.range(length), tf.float32), (rows, length))
    marks = tf.where(tf.gather(tf.reshape(scores, (rows, size)), places, batch_dims=1) > 0.0, marks, 0.0)
    row_starts = tf.range(rows)[:, None] * size
    flat = tf.scatter_nd(tf.reshape(row_starts + places, (-1, 1)), tf.reshape(marks, (-1,)), (rows * size,))
    _, kept_marks, _, counts = tf.image.combined_non_max_suppression(
        boxes[:, :, None, :],
        tf.reshape(flat, tf.shape(scores)),
        max_output_size_per_class=contract.max_detections,
        max_total_size=contract.max_detections,
        iou_threshold=contract.nms_iou,
        score_threshold=0.0,
        clip_boxes=False,
    )
    return tf.where(tf.sequence_mask(counts, contract.max_detections), length - tf.cast(kept_marks, tf.int32), -1)
