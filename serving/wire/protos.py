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


def _message(name: str) -> ProtoMessage:
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))


ModelSpec: Final = _message("tensorflow.serving.ModelSpec")
PredictRequest: Final = _message("tensorflow.serving.PredictRequest")
PredictResponse: Final = _message("tensorflow.serving.PredictResponse")
GetModelMetadataRequest: Final = _message("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse: Final = _message("tensorflow.serving.GetModelMetadataResponse")
SignatureDefMap: Final = _message("tensorflow.serving.SignatureDefMap")
GetModelStatusRequest: Final = _message("tensorflow.serving.GetModelStatusRequest")
GetModelStatusResponse: Final = _message("tensorflow.serving.GetModelStatusResponse")
ModelVersionStatus: Final = _message("tensorflow.serving.ModelVersionStatus")
ReloadConfigRequest: Final = _message("tensorflow.serving.ReloadConfigRequest")
ReloadConfigResponse: Final = _message("tensorflow.serving.ReloadConfigResponse")
ModelServerConfig: Final = _message("tensorflow.serving.ModelServerConfig")
MonitoringConfig: Final = _message("tensorflow.serving.MonitoringConfig")
SSLConfig: Final = _message("tensorflow.serving.SSLConfig")
BatchingParameters: Final = _message("tensorflow.serving.BatchingParameters")
TensorProto: Final = _message("tensorflow.TensorProto")
SignatureDef: Final = _message("tensorflow.SignatureDef")
