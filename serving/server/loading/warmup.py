"""Run a version's warm-up records before it is AVAILABLE, so that no client waits for the slow first call.

The first call of a session took 13 to 26 times as long as the second, because TensorFlow prepares the graph for the
requested outputs. Source of the behaviour: TF Serving's saved_model_warmup.cc and warmup_util.cc.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from serving.server.errors import LoadError, StatusError, invalid_argument
from serving.server.rpc.prediction import run_signature
from serving.server.versions.servable import Servable
from serving.wire.protos import PredictRequest, ProtoMessage

WARMUP_FILE: Final = "assets.extra/tf_serving_warmup_requests"
_MAX_RECORDS: Final = 1000


def warm_up(servable: Servable, folder: Path, iterations: int = 1) -> int:
    """Run each warm-up record of a version `iterations` times. Return how many records the version has.

    Raises LoadError if the file cannot be read, has more than 1000 records or a record that is not a Predict call, or
    if a record fails, since clients' calls would then fail too.
    """
    path = folder / WARMUP_FILE
    if not path.is_file():
        return 0
    try:
        records = _records(path)
        if len(records) > _MAX_RECORDS:
            raise invalid_argument(f"Number of warmup records exceeds the maximum ({_MAX_RECORDS})")
        for record in records:
            request = _request(record)
            for _ in range(iterations):
                run_signature(servable, request)
    except StatusError as error:
        raise LoadError(f"a warm-up record failed: {error.message}", error.code.value[0]) from error
    return len(records)


def _records(path: Path) -> list[bytes]:
    import tensorflow as tf  # noqa: PLC0415 - the version was loaded with it

    try:
        return [bytes(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
    except tf.errors.OpError as error:
        raise LoadError(f"the warm-up records cannot be read: {error.message}", int(error.error_code)) from error


def _request(record: bytes) -> ProtoMessage:
    # These messages and those of serving.wire.protos are in different pools, so they are converted through bytes.
    from tensorflow_serving.apis import prediction_log_pb2  # noqa: PLC0415 - only where there is a file

    log: Any = prediction_log_pb2.PredictionLog()
    try:
        log.ParseFromString(record)
    except Exception as error:  # protobuf's own error type differs between its implementations
        raise invalid_argument("Failed to parse PredictionLog from warmup record") from error
    if log.WhichOneof("log_type") != "predict_log":
        raise invalid_argument(f"Unsupported log_type for warmup: {log.WhichOneof('log_type')}")
    return PredictRequest.FromString(log.predict_log.request.SerializeToString())
