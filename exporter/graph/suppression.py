"""Non-maximum suppression (NMS) in the graph, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from serving.contract import Contract


def suppress(
    boxes: tf.Tensor, scores: tf.Tensor, contract: Contract, thresholds: Sequence[float] = ()
) -> dict[str, tf.Tensor]:
    """Select the detections of a batch, best first, by score thresholds and NMS.

    The NumPy form is `serving.boxes.suppression.suppress`. Outputs have the names of the TF Object Detection API.

    Args:
        boxes: float32 (N, P, 4), [ymin, xmin, ymax, xmax], normalised. They are clipped to [0, 1], before or after NMS
            as the contract says.
        scores: float32 (N, P, C), one column per class. A prior is left out if its box or one of its scores is not
            finite, or if ymax < ymin or xmax < xmin.
        contract: its `score_threshold`, `nms`, `nms_iou`, `clip` and `max_detections` (K) are used.
        thresholds: the score threshold of each column; none stands for `score_threshold` of all.

    Returns:
        `detection_boxes` float32 (N, K, 4), `detection_scores` float32 (N, K), `detection_classes` int32 (N, K)
        (column numbers) and `num_detections` int32 (N). Values after `num_detections` are zero. For equal scores the
        lower prior comes first, then the lower class.
    """
    if not boxes.shape[1]:  # P is open and may be 0 in a call, but the operations below need 1
        boxes, scores = (tf.pad(tensor, [[0, 0], [0, 1], [0, 0]]) for tensor in (boxes, scores))
    valid = tf.reduce_all(tf.math.is_finite(boxes), -1) & tf.reduce_all(tf.math.is_finite(scores), -1)
    valid &= tf.reduce_all(boxes[..., 2:] >= boxes[..., :2], -1)
    boxes = tf.where(valid[..., None], boxes, 0.0)
    if contract.clip == "before":
        boxes = tf.clip_by_value(boxes, 0.0, 1.0)
    lowest = tf.constant(thresholds) if len(set(thresholds)) > 1 else [*thresholds, contract.score_threshold][0]
    scores = tf.where(valid[..., None] & (scores > lowest), scores, 0.0)
    boxes, scores = _priors_above(boxes, scores)
    classes = tf.shape(scores)[2]
    values, places = _best_first(scores)
    if contract.nms == "none":
        kept = _first(values, contract)
    elif contract.nms == "agnostic":
        kept = _keep_of_all(tf.gather(boxes, places // classes, batch_dims=1), values, contract)
    else:
        kept = _keep_per_class(boxes, scores, places, contract)
    present = kept >= 0
    kept = tf.maximum(kept, 0)
    places = tf.gather(places, kept, batch_dims=1)
    boxes = tf.clip_by_value(tf.gather(boxes, places // classes, batch_dims=1), 0.0, 1.0)
    return {
        "detection_boxes": tf.where(present[..., None], boxes, 0.0),
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


def _first(values: tf.Tensor, contract: Contract) -> tf.Tensor:
    """Return the ranks of the best detections without NMS, int32 (N, K), ascending, padded with -1."""
    counts = tf.minimum(tf.math.count_nonzero(values > 0.0, axis=-1, dtype=tf.int32), contract.max_detections)
    ranks = tf.broadcast_to(tf.range(contract.max_detections), (tf.shape(values)[0], contract.max_detections))
    return tf.where(tf.sequence_mask(counts, contract.max_detections), ranks, -1)


def _keep_of_all(boxes: tf.Tensor, values: tf.Tensor, contract: Contract) -> tf.Tensor:
    """Return the ranks of the detections that NMS among all classes keeps, int32 (N, K), ascending, padded with -1.

    `boxes` (N, M, 4) and `values` (N, M) are the detections, best first.
    """
    rows, length = tf.shape(values)[0], tf.shape(values)[1]
    marks = tf.where(values > 0.0, _marks(rows, length), 0.0)
    return _unmarked(boxes[:, :, None, :], marks[..., None], length, contract)


def _keep_per_class(boxes: tf.Tensor, scores: tf.Tensor, places: tf.Tensor, contract: Contract) -> tf.Tensor:
    """Return the ranks (columns of `places`) of the detections that NMS keeps, int32 (N, K), ascending, padded with -1.

    `boxes` (N, P, 4), `scores` (N, P, C); `places` (N, M) are the indices (prior * C + class) of scores, best first.
    """
    rows, length = tf.shape(places)[0], tf.shape(places)[1]
    size = tf.shape(scores)[1] * tf.shape(scores)[2]
    marks = _marks(rows, length)
    marks = tf.where(tf.gather(tf.reshape(scores, (rows, size)), places, batch_dims=1) > 0.0, marks, 0.0)
    row_starts = tf.range(rows)[:, None] * size
    flat = tf.scatter_nd(tf.reshape(row_starts + places, (-1, 1)), tf.reshape(marks, (-1,)), (rows * size,))
    return _unmarked(boxes[:, :, None, :], tf.reshape(flat, tf.shape(scores)), length, contract)


def _marks(rows: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Return a unique number for each rank, float32 (rows, length): the length minus the rank.

    `combined_non_max_suppression` does not define the order of equal scores, so it gets these instead of the scores.
    Integers below 2**24 are exact in float32.
    """
    return tf.broadcast_to(tf.cast(length - tf.range(length), tf.float32), (rows, length))


def _unmarked(boxes: tf.Tensor, marks: tf.Tensor, length: tf.Tensor, contract: Contract) -> tf.Tensor:
    """Run NMS on boxes (N, P, 1, 4) with marks (N, P, C) as scores. Return the ranks that stay, as `_first` does."""
    _, kept_marks, _, counts = tf.image.combined_non_max_suppression(
        boxes,
        marks,
        max_output_size_per_class=contract.max_detections,
        max_total_size=contract.max_detections,
        iou_threshold=contract.nms_iou,
        score_threshold=0.0,
        clip_boxes=False,
    )
    return tf.where(tf.sequence_mask(counts, contract.max_detections), length - tf.cast(kept_marks, tf.int32), -1)
