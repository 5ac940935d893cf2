"""Warm-up records: requests that TF Serving runs before it serves a version, so that no client pays for the first."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.contract import Contract

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
_ROWS = (1, 8)


def write_warmup(folder: Path, contract: Contract) -> None:
    """Add records for `detect`, of one row and of the default batch, and for `describe` to a SavedModel's folder."""
    path = folder / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for rows in _ROWS:
            shape = (rows, contract.input_height, contract.input_width, 3)
            writer.write(_record(contract.name, "detect", "images", tf.uint8, shape))
        writer.write(_record(contract.name, "describe", "query", tf.int32, (1,)))


def _record(model: str, signature: str, name: str, dtype: tf.DType, shape: tuple[int, ...]) -> bytes:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    tensor = request.inputs[name]
    tensor.dtype = dtype.as_datatype_enum
    tensor.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    tensor.int_val.append(128)  # the last value of a list that is too short is repeated: a grey image in a few bytes
    record: bytes = log.SerializeToString()
    return record
