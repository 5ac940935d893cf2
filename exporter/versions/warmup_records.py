"""Write warm-up records: TF Serving runs them before it serves a version, so no client waits for a slow first call."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.contract import Contract, warmup_rows

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"


def write_warmup(folder: Path, contract: Contract) -> None:
    """Write warm-up records into a SavedModel's folder.

    The records call `detect` with 1, 2, 4 and 8 rows, as far as the contract allows, and `describe` with 1 row. With
    batching, TF Serving refuses a version that has a record with more rows than a batch.
    """
    path = folder / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for rows in warmup_rows(contract):
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
    tensor.int_val.append(128)  # TensorFlow repeats the last value of a short list: a grey image in a few bytes
    record: bytes = log.SerializeToString()
    return record
