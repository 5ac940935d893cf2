"""The generated messages and stubs of tensorflow-serving-api itself, called with bytes like a bare channel."""

from __future__ import annotations

import os
import warnings
from typing import Any

import grpc


class GeneratedStubs:
    """Calls go through the generated classes in both directions; what they do not understand fails."""

    def __init__(self, channel: grpc.Channel) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TensorFlow's own, on import
            from tensorflow_serving.apis import (
                classification_pb2,
                get_model_metadata_pb2,
                get_model_status_pb2,
                inference_pb2,
                model_management_pb2,
                model_service_pb2_grpc,
                predict_pb2,
                prediction_service_pb2_grpc,
                regression_pb2,
            )
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        self._methods: dict[str, tuple[Any, Any]] = {
            "PredictionService/Predict": (prediction.Predict, predict_pb2.PredictRequest),
            "PredictionService/GetModelMetadata": (
                prediction.GetModelMetadata,
                get_model_metadata_pb2.GetModelMetadataRequest,
            ),
            "PredictionService/Classify": (prediction.Classify, classification_pb2.ClassificationRequest),
            "PredictionService/Regress": (prediction.Regress, regression_pb2.RegressionRequest),
            "PredictionService/MultiInference": (prediction.MultiInference, inference_pb2.MultiInferenceRequest),
            "ModelService/GetModelStatus": (models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest),
            "ModelService/HandleReloadConfigRequest": (
                models.HandleReloadConfigRequest,
                model_management_pb2.ReloadConfigRequest,
            ),
        }

    def call(self, method: str, request: bytes, timeout: float = 60) -> bytes:
        """One call of `Service/Method`; raises grpc.RpcError."""
        stub, message = self._methods[method]
        content: bytes = stub(message.FromString(request), timeout=timeout).SerializeToString()
        return content


class BareChannel:
    """Calls as bytes, without any class in between."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def call(self, method: str, request: bytes, timeout: float = 60) -> bytes:
        """One call of `Service/Method`; raises grpc.RpcError."""
        content: bytes = self._channel.unary_unary(f"/tensorflow.serving.{method}", None, None)(
            request, timeout=timeout
        )
        return content


Caller = GeneratedStubs | BareChannel
