"""The messages of TensorFlow Serving, built from a private descriptor pool, without TensorFlow or its stubs.

`import tensorflow_serving.apis` costs 3 s and 536 MB; this module costs 0.2 s and 44 MB. The pool is private, so it
does not conflict with TensorFlow's messages if TensorFlow is imported too. Messages of the two pools must be exchanged
as bytes. `python -m serving.wire.make_protos` writes protos.binpb.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

DESCRIPTOR_SET: Final = Path(__file__).with_name("protos.binpb")

ProtoMessage: TypeAlias = Any
"""A message class or message that is built at run time, so the type checker does not know its fields."""

PREDICTION_SERVICE: Final = "tensorflow.serving.PredictionService"
MODEL_SERVICE: Final = "tensorflow.serving.ModelService"


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTOR_SET.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL: Final = _pool()


def message_class(name: str) -> ProtoMessage:
    """Return the class of the message with this full name."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))


ModelSpec: Final = message_class("tensorflow.serving.ModelSpec")
PredictRequest: Final = message_class("tensorflow.serving.PredictRequest")
PredictResponse: Final = message_class("tensorflow.serving.PredictResponse")
ClassificationRequest: Final = message_class("tensorflow.serving.ClassificationRequest")
ClassificationResponse: Final = message_class("tensorflow.serving.ClassificationResponse")
ClassificationResult: Final = message_class("tensorflow.serving.ClassificationResult")
RegressionRequest: Final = message_class("tensorflow.serving.RegressionRequest")
RegressionResponse: Final = message_class("tensorflow.serving.RegressionResponse")
RegressionResult: Final = message_class("tensorflow.serving.RegressionResult")
MultiInferenceRequest: Final = message_class("tensorflow.serving.MultiInferenceRequest")
MultiInferenceResponse: Final = message_class("tensorflow.serving.MultiInferenceResponse")
GetModelMetadataRequest: Final = message_class("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse: Final = message_class("tensorflow.serving.GetModelMetadataResponse")
SignatureDefMap: Final = message_class("tensorflow.serving.SignatureDefMap")
GetModelStatusRequest: Final = message_class("tensorflow.serving.GetModelStatusRequest")
GetModelStatusResponse: Final = message_class("tensorflow.serving.GetModelStatusResponse")
ModelVersionStatus: Final = message_class("tensorflow.serving.ModelVersionStatus")
ReloadConfigRequest: Final = message_class("tensorflow.serving.ReloadConfigRequest")
ReloadConfigResponse: Final = message_class("tensorflow.serving.ReloadConfigResponse")
ModelServerConfig: Final = message_class("tensorflow.serving.ModelServerConfig")
MonitoringConfig: Final = message_class("tensorflow.serving.MonitoringConfig")
SSLConfig: Final = message_class("tensorflow.serving.SSLConfig")
BatchingParameters: Final = message_class("tensorflow.serving.BatchingParameters")
TensorProto: Final = message_class("tensorflow.TensorProto")
SignatureDef: Final = message_class("tensorflow.SignatureDef")
