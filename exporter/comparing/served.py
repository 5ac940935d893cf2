"""Call a model server: the states of its versions and the detections of a version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from exporter.comparing.differences import rows
from exporter.errors import ExportError
from serving.boxes.detections import Detections
from serving.conventions import TF_OBJECT_DETECTION

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_PREDICT_SECONDS = 120
_STATUS_SECONDS = 5
_UNREACHABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def served_versions(target: str, model: str) -> dict[int, tuple[str, str]]:
    """Return the state and the error message of each version on a server; empty if the server has no such model.

    Raises ExportError if the server does not answer.
    """
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = model
    with grpc.insecure_channel(target) as channel:
        try:
            answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=_STATUS_SECONDS)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return {}
            raise _unreachable(target, error) from error
    states = get_model_status_pb2.ModelVersionStatus.State
    return {
        status.version: (states.Name(status.state), " ".join(status.status.error_message.split()))
        for status in answer.model_version_status
    }


@contextmanager
def served_version(target: str, model: str, version: int) -> Iterator[Callable[[NDArray[Any]], list[Detections]]]:
    """Connect to a server. Yields a function that detects with one of its versions.

    The function takes images, uint8 (N, H, W, 3) RGB, and returns N Detections. It raises ExportError if the server
    does not answer or refuses the call.
    """
    with grpc.insecure_channel(target, _OPTIONS) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def detect(images: NDArray[Any]) -> list[Detections]:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model
            request.model_spec.version.value = version
            request.model_spec.signature_name = "detect"
            request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
            try:
                outputs = stub.Predict(request, timeout=_PREDICT_SECONDS).outputs
            except grpc.RpcError as error:
                if error.code() in _UNREACHABLE:
                    raise _unreachable(target, error) from error
                raise ExportError(
                    f"The model server at {target} refused version {version} of {model}: "
                    f"{error.code().name}: {error.details()}"
                ) from error
            return rows({name: tf.make_ndarray(outputs[name]) for name in TF_OBJECT_DETECTION})

        yield detect


def _unreachable(target: str, error: grpc.RpcError) -> ExportError:
    return ExportError(
        f"The model server at {target} does not answer ({error.code().name}): is that its gRPC address, HOST:PORT?"
    )
