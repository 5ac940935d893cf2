"""A tiny SavedModel for tests of everything that talks to a model server.

It is batch-invariant: its detections come from integer sums of each image alone, so an image's answer is the same,
byte for byte, in any batch and at any position. It loads in TensorFlow 1 sessions, as TF Serving wants it.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any, TypeAlias

from serving.contract import Contract, Label

Untyped: TypeAlias = Any  # TensorFlow carries no types

LABELS = tuple(Label(id=number, name=f"product-{number}", root="shelf") for number in range(1, 6))


def tiny_contract(name: str = "default", *, height: int = 32, width: int = 32, max_detections: int = 4) -> Contract:
    """The contract that the tiny model describes itself with."""
    return Contract(
        name=name,
        input_height=height,
        input_width=width,
        score_threshold=0.1,
        nms_iou=0.5,
        max_detections=max_detections,
        labels=LABELS,
        weights_sha256="0" * 64,
        provenance="tests/support/models.py",
    )


def write_tiny_model(
    base: Path,
    version: int,
    *,
    contract: Contract | None = None,
    describes_itself: bool = True,
    fail_on: tuple[int, int, int] | None = None,
    delay_ms: int = 0,
    salt: int = 0,
    raw_values: int = 8,
) -> Path:
    """Write `base/version` at once, by renaming, and return it; about a second, and TensorFlow's import.

    Args:
        base: the model's folder, e.g. `<models>/default`; made if it is missing.
        version: the name of the version's folder.
        contract: what `describe` answers; `tiny_contract()` by default.
        describes_itself: False leaves out the signature `describe`.
        fail_on: (red, green, blue): an image whose top left pixel is this makes the whole batch INVALID_ARGUMENT.
        delay_ms: each call of `detect` or `serving_default` sleeps so long in the graph, without using the processor.
        salt: models of another salt answer other detections to the same image.
        raw_values: width of the output of `serving_default`: `images` float32 (N, H, W, 3) -> `raw` float32
            (N, raw_values), the sum of the image plus 0, 1, 2, ...; 1_500_000 makes an answer of 6 MB.
    """
    contract = contract or tiny_contract()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own, on import and by its TF1 builder
        import tensorflow as tf

        v1 = tf.compat.v1
        with tf.Graph().as_default(), v1.Session() as session:
            variable = v1.get_variable("salt", dtype=tf.int64, initializer=tf.constant(salt, tf.int64))
            signatures = {
                "detect": _detect(tf, contract, variable, fail_on, delay_ms),
                "serving_default": _raw(tf, contract, raw_values, delay_ms),
            }
            if describes_itself:
                signatures["describe"] = _describe(tf, contract)
            session.run(v1.global_variables_initializer())
            beside = base / f"tmp-{version}-{os.getpid()}"
            builder = v1.saved_model.builder.SavedModelBuilder(str(beside))
            builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
            builder.save()
    return beside.rename(base / str(version))


def _signature(tf: Untyped, inputs: dict[str, Untyped], outputs: dict[str, Untyped]) -> Untyped:
    info = tf.compat.v1.saved_model.build_tensor_info
    return tf.compat.v1.saved_model.build_signature_def(
        inputs={name: info(tensor) for name, tensor in inputs.items()},
        outputs={name: info(tensor) for name, tensor in outputs.items()},
        method_name="tensorflow/serving/predict",
    )


def _delayed(tf: Untyped, tensor: Untyped, delay_ms: int) -> Untyped:
    if not delay_ms:
        return tf.identity(tensor)
    from tensorflow.python.data.experimental.ops import testing

    # The sleeping dataset sleeps twice: before its one element and before its end.
    sleeper = tf.data.Dataset.range(1).apply(testing.sleep(delay_ms * 500))
    with tf.control_dependencies([sleeper.reduce(tf.constant(0, tf.int64), lambda total, item: total + item)]):
        return tf.identity(tensor)


def _detect(
    tf: Untyped, contract: Contract, salt: Untyped, fail_on: tuple[int, int, int] | None, delay_ms: int
) -> Untyped:
    height, width, most = contract.input_height, contract.input_width, contract.max_detections
    images = tf.compat.v1.placeholder(tf.uint8, (None, height, width, 3), "detect_images")
    checks = []
    if fail_on is not None:
        is_marked = tf.reduce_all(tf.equal(images[:, 0, 0, :], tf.constant(fail_on, tf.uint8)), axis=1)
        checks.append(tf.debugging.Assert(tf.logical_not(tf.reduce_any(is_marked)), ["marked image in the batch"]))
    with tf.control_dependencies(checks):
        pixels = tf.cast(_delayed(tf, images, delay_ms), tf.int64)
    places = tf.reshape(tf.range(height * width * 3, dtype=tf.int64) % 8191, (1, height, width, 3))
    seed = tf.reduce_sum(pixels * places, axis=(1, 2, 3)) + salt  # (N,), exact: integers
    seeds = seed[:, None] + 7 * tf.range(most, dtype=tf.int64)[None, :] * seed[:, None]  # (N, K)

    def fraction(value: Untyped, of: int) -> Untyped:  # exact: a small integer over a power of two
        return tf.cast(value % of, tf.float32) / 1024.0

    ymin, xmin = fraction(seeds, 512), fraction(seeds // 3, 512)
    boxes = tf.stack([ymin, xmin, ymin + 0.25, xmin + 0.375], axis=-1)
    steps = tf.cast(tf.range(most), tf.float32)[None, :] / (2.0 * most)
    scores = (960.0 / 1024.0) - steps - fraction(seeds, 16) / 16.0  # falls by at least 1/(2K) - 1/1024
    labels = tf.constant([label.id for label in contract.labels], tf.float32)
    outputs = {
        "detection_boxes": boxes,
        "detection_scores": scores,
        "detection_classes": tf.gather(labels, seeds % len(contract.labels)),
        "num_detections": tf.cast(1 + seed % most, tf.float32),
    }
    return _signature(tf, {"images": images}, outputs)


def _raw(tf: Untyped, contract: Contract, raw_values: int, delay_ms: int) -> Untyped:
    shape = (None, contract.input_height, contract.input_width, 3)
    images = tf.compat.v1.placeholder(tf.float32, shape, "raw_images")
    sums = tf.reduce_sum(_delayed(tf, images, delay_ms), axis=(1, 2, 3))
    return _signature(tf, {"images": images}, {"raw": sums[:, None] + tf.range(raw_values, dtype=tf.float32)[None, :]})


def _describe(tf: Untyped, contract: Contract) -> Untyped:
    query = tf.compat.v1.placeholder(tf.int32, (None,), "query")
    return _signature(tf, {"query": query}, {"contract": tf.fill(tf.shape(query), contract.to_json())})


if __name__ == "__main__":  # python -m tests.support.models DIR VERSION: to try things by hand
    write_tiny_model(Path(sys.argv[1]), int(sys.argv[2]))
