"""Call a model server: the states of its versions and the detections of a version."""

from __future__ import annotations

from typing import Any, Self

import grpc
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from exporter.errors import ExportError
from serving.description import TF_OBJECT_DETECTION

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_PREDICT_SECONDS = 120
_STATUS_SECONDS = 5
_AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


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
            raise _away(target, error) from error
    states = get_model_status_pb2.ModelVersionStatus.State
    return {
        status.version: (states.Name(status.state), " ".join(status.status.error_message.split()))
        for status in answer.model_version_status
    }


class ServedVersion:
    """A version on a server, with its own connection. Use it in a `with` statement."""

    def __init__(self, target: str, model: str, version: int) -> None:
        self._target, self._model, self._version = target, model, version
        self._channel = grpc.insecure_channel(target, _OPTIONS)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def detect(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Call `detect` with images, uint8 (N, H, W, 3) RGB, and return its outputs by name.

        Raises ExportError if the server does not answer or refuses the call.
        """
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model
        request.model_spec.version.value = self._version
        request.model_spec.signature_name = "detect"
        request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
        try:
            outputs = self._stub.Predict(request, timeout=_PREDICT_SECONDS).outputs
        except grpc.RpcError as error:
            if error.code() in _AWAY:
                raise _away(self._target, error) from error
            raise ExportError(
                f"The model server at {self._target} refused version {self._version} of {self._model}: "
                f"{error.code().name}: {error.details()}"
            ) from error
        return {name: tf.make_ndarray(outputs[name]) for name in TF_OBJECT_DETECTION}


def _away(target: str, error: grpc.RpcError) -> ExportError:
    return ExportError(
        f"The model server at {target} does not answer ({error.code().name}): is that its gRPC address, HOST:PORT?"
    )
