"""Run a version's warm-up records before it is AVAILABLE, so that no client waits for the slow first call.

The first call of a session took 13 to 26 times as long as the second, because TensorFlow prepares the graph for the
requested outputs. Source of the behaviour: TF Serving's saved_model_warmup.cc and warmup_util.cc.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from serving.server.errors import LoadError, StatusError, invalid_argument
from serving.server.rpc.examples import CLASSIFICATION, REGRESSION
from serving.server.rpc.inference import run_method, run_tasks
from serving.server.rpc.prediction import run_signature
from serving.server.versions.servable import Servable
from serving.wire.protos import (
    ClassificationRequest,
    MultiInferenceRequest,
    PredictRequest,
    ProtoMessage,
    RegressionRequest,
)

WARMUP_FILE: Final = "assets.extra/tf_serving_warmup_requests"
_MAX_RECORDS: Final = 1000

# That a signature is declared for a method is checked with the calls of clients, if at all.
_CALLS: Final[dict[str, tuple[ProtoMessage, Callable[..., object]]]] = {
    "predict_log": (PredictRequest, run_signature),
    "classify_log": (ClassificationRequest, partial(run_method, method=CLASSIFICATION, checks_names=False)),
    "regress_log": (RegressionRequest, partial(run_method, method=REGRESSION, checks_names=False)),
    "multi_inference_log": (MultiInferenceRequest, partial(run_tasks, checks_names=False)),
}
"""The message and the function of each kind of record."""


def warm_up(servable: Servable, folder: Path, iterations: int = 1) -> int:
    """Run each warm-up record of a version `iterations` times. Return how many records the version has.

    Raises LoadError if the file cannot be read, has more than 1000 records or a record that is not a call, or
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
            call = _call(record)
            for _ in range(iterations):
                call(servable)
    except StatusError as error:
        raise LoadError(f"a warm-up record failed: {error.message}", error.code.value[0]) from error
    return len(records)


def _records(path: Path) -> list[bytes]:
    import tensorflow as tf  # noqa: PLC0415 - the version was loaded with it

    try:
        return [bytes(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
    except tf.errors.OpError as error:
        raise LoadError(f"the warm-up records cannot be read: {error.message}", int(error.error_code)) from error


def _call(record: bytes) -> Callable[[Servable], object]:
    """Return the call of a record, as a function of the version. Raises INVALID_ARGUMENT if it is not a call."""
    # These messages and those of serving.wire.protos are in different pools, so they are converted through bytes.
    from tensorflow_serving.apis import prediction_log_pb2  # noqa: PLC0415 - only where there is a file

    log: Any = prediction_log_pb2.PredictionLog()
    try:
        log.ParseFromString(record)
    except Exception as error:  # protobuf's own error type differs between its implementations
        raise invalid_argument("Failed to parse PredictionLog from warmup record") from error
    kind = log.WhichOneof("log_type")
    if kind not in _CALLS:
        raise invalid_argument(f"Unsupported log_type for warmup: {kind}")
    message, call = _CALLS[kind]
    request = message.FromString(getattr(log, kind).request.SerializeToString())
    return partial(call, request=request)
