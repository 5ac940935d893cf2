"""A SavedModel of TensorFlow 1 for tf.Examples, bfloat16 and scalar strings."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any


def write_example_model(folder: Path) -> None:
    """Write a model without weights. `folder` must not exist yet.

    Its signatures are `regress` (half of the feature `x`, which is 8 by default) and `classify` (the labels `low` and
    `high`, with half of `x` and the rest to 1), both of tf.Examples; `bfloat16` (twice `x` (N,)), and `text` (`x` of
    any shape -> a scalar string that ends with NULs, and a scalar sum).
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own, on import and by its TF1 builder
        import tensorflow as tf

        v1 = tf.compat.v1
        with tf.Graph().as_default(), v1.Session() as session:
            examples = v1.placeholder(tf.string, (None,), "examples")
            feature = tf.io.FixedLenFeature((1,), tf.float32, default_value=[8.0])
            half = tf.io.parse_example(examples, {"x": feature})["x"] / 2
            labels = tf.tile(tf.constant([["low", "high"]]), (tf.shape(examples)[0], 1))
            wide, narrow = v1.placeholder(tf.float32, None, "wide"), v1.placeholder(tf.bfloat16, (None,), "narrow")
            builder = v1.saved_model.Builder(str(folder))
            builder.add_meta_graph_and_variables(
                session,
                ["serve"],
                {
                    "regress": _signature(tf, "regress", {"inputs": examples}, {"outputs": half}),
                    "classify": _signature(
                        tf,
                        "classify",
                        {"inputs": examples},
                        {"classes": labels, "scores": tf.concat([half, 1 - half], 1)},
                    ),
                    "bfloat16": _signature(tf, "predict", {"x": narrow}, {"y": narrow * 2}),
                    "text": _signature(
                        tf, "predict", {"x": wide}, {"text": tf.constant(b"a\0\0"), "sum": tf.reduce_sum(wide)}
                    ),
                },
            )
            builder.save()


def _signature(tf: Any, method: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    build = tf.compat.v1.saved_model.build_tensor_info
    return tf.compat.v1.saved_model.build_signature_def(
        {name: build(tensor) for name, tensor in inputs.items()},
        {name: build(tensor) for name, tensor in outputs.items()},
        f"tensorflow/serving/{method}",
    )
