"""Every row of the error table of the specification, over the wire, for the calls that exist."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from serving.wire.protos import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelSpec,
    PredictRequest,
    PredictResponse,
    ProtoMessage,
    ReloadConfigRequest,
    SignatureDefMap,
    TensorProto,
)
from serving.wire.tensors import decode
from tests.support.generated_stubs import BareChannel, Caller, GeneratedStubs
from tests.support.servers.model_server import ServerProcess, random_images
from tests.support.tensors import encode_tensor

PREDICT = "PredictionService/Predict"
METADATA = "PredictionService/GetModelMetadata"
STATUS = "ModelService/GetModelStatus"
RELOAD = "ModelService/HandleReloadConfigRequest"


@pytest.fixture(params=[BareChannel, GeneratedStubs])
def channel(shared: ServerProcess, request: pytest.FixtureRequest) -> Iterator[Caller]:
    """The shared server, called with bare bytes and through the stubs of tensorflow-serving-api."""
    with grpc.insecure_channel(shared.target, options=[("grpc.max_receive_message_length", -1)]) as channel:
        yield request.param(channel)


@pytest.fixture
def bare(shared: ServerProcess) -> Iterator[Caller]:
    """The shared server, called with bare bytes."""
    with grpc.insecure_channel(shared.target) as channel:
        yield BareChannel(channel)


def call(channel: Caller, method: str, request: bytes) -> bytes:
    """One call, bytes to bytes."""
    return channel.call(method, request)


def refusal(channel: Caller, method: str, request: bytes) -> tuple[str, str]:
    """The status of a call that fails: code and message."""
    with pytest.raises(grpc.RpcError) as error:
        call(channel, method, request)
    assert isinstance(error.value, grpc.Call)
    return error.value.code().name, error.value.details() or ""


def predict(spec: dict[str, Any] | None = None, **inputs: np.ndarray) -> ProtoMessage:
    """A PredictRequest to the signature `describe` of the default model, unless `spec` says otherwise."""
    version = (spec or {}).pop("version", None)
    request = PredictRequest(model_spec=ModelSpec(**({"name": "default", "signature_name": "describe"} | (spec or {}))))
    if version is not None:
        request.model_spec.version.value = version
    for alias, array in (inputs or {"query": np.zeros(1, np.int32)}).items():
        request.inputs[alias].ParseFromString(encode_tensor(array))
    return request


def with_filter(*aliases: str) -> ProtoMessage:
    """A PredictRequest that asks for these outputs."""
    request = predict()
    request.output_filter.extend(aliases)
    return request


def with_tensor(**fields: Any) -> ProtoMessage:
    """A PredictRequest whose input is this, and of 3 elements."""
    request = predict()
    tensor = TensorProto(**fields)
    tensor.tensor_shape.dim.add(size=3)
    request.inputs["query"].CopyFrom(tensor)
    return request


def reload(*models: dict[str, Any]) -> ProtoMessage:
    """A ReloadConfigRequest with these models."""
    request = ReloadConfigRequest()
    for model in models:
        request.config.model_config_list.config.add(**({"model_platform": "tensorflow"} | model))
    return request


ONE = np.zeros(1, np.int32)


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (predict({"name": ""}), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (predict({"name": "m"}), "NOT_FOUND", "Servable not found for request: Latest(m)"),
        (predict({"name": "m", "version": 9}), "NOT_FOUND", "Servable not found for request: Specific(m, 9)"),
        (predict({"version": 9}), "NOT_FOUND", "Servable not found for request: Specific(default, 9)"),
        (predict({"version_label": "x"}), "INVALID_ARGUMENT", "Unrecognized servable version label: x"),
        (predict({"signature_name": "x"}), "FAILED_PRECONDITION", 'Serving signature key "x" not found.'),
        (
            predict(a=ONE, b=ONE),
            "INVALID_ARGUMENT",
            (
                "input size does not match signature: 2!=1 len({a,b}) != len({query}). Sent extra: {a,b}. "
                "Missing but required: {query}."
            ),
        ),
        (
            predict(a=ONE),
            "INVALID_ARGUMENT",
            (
                "Signature input alias: query(feed name: query:0) not found in request and no default value "
                "provided. Inputs expected to be in the request {a}, or default input alias set: "
            ),
        ),
        (
            predict({"signature_name": "serving_default"}, images=np.zeros((1, 32, 32, 3), bool)),
            "INVALID_ARGUMENT",
            "Expects arg[0] to be float but bool is provided",
        ),
        (with_tensor(dtype=3, tensor_content=b"1234567"), "INVALID_ARGUMENT", "tensor parsing error: query"),
        (with_tensor(dtype=0), "INVALID_ARGUMENT", "tensor parsing error: query"),
        (
            with_filter("z"),
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: z Outputs expected to be in the set {contract}.",
        ),
        (with_filter("contract", "contract"), "INVALID_ARGUMENT", "duplicate output tensor alias: contract"),
        (
            predict({"signature_name": "x" * 2000}),
            "FAILED_PRECONDITION",
            'Serving signature key "' + "x" * (1024 - 23) + "...TRUNCATED",
        ),
    ],
)
def test_predict_refuses_as_tf_serving_does(channel: Caller, request_: ProtoMessage, code: str, message: str) -> None:
    """To the letter: clients match on these texts."""
    assert refusal(channel, PREDICT, request_.SerializeToString()) == (code, message)


@pytest.mark.parametrize(
    ("method", "request_", "code", "message"),
    [
        (METADATA, GetModelMetadataRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (
            METADATA,
            GetModelMetadataRequest(model_spec=ModelSpec(name="default")),
            "INVALID_ARGUMENT",
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (
            METADATA,
            GetModelMetadataRequest(model_spec=ModelSpec(name="default"), metadata_field=["X"]),
            "INVALID_ARGUMENT",
            "Metadata field X is not supported",
        ),
        (
            METADATA,
            GetModelMetadataRequest(model_spec=ModelSpec(name="m"), metadata_field=["signature_def"]),
            "NOT_FOUND",
            "Servable not found for request: Latest(m)",
        ),
        (STATUS, GetModelStatusRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (
            STATUS,
            GetModelStatusRequest(model_spec=ModelSpec(name="m")),
            "NOT_FOUND",
            "Could not find any versions of model m",
        ),
        (
            STATUS,
            GetModelStatusRequest(model_spec={"name": "default", "version": {"value": 9}}),
            "NOT_FOUND",
            "Could not find version 9 of model default",
        ),
        (
            RELOAD,
            reload(),
            "INVALID_ARGUMENT",
            (
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            ),
        ),
        (
            RELOAD,
            ReloadConfigRequest(config={"custom_model_config": {}}),
            "INVALID_ARGUMENT",
            (
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            ),
        ),
        (
            RELOAD,
            reload({"name": "m", "base_path": "/m"}, {"name": "m", "base_path": "/n"}),
            "INVALID_ARGUMENT",
            "Illegal to list model m multiple times in config list",
        ),
        (
            RELOAD,
            reload({"name": "m", "base_path": "models/m"}),
            "INVALID_ARGUMENT",
            "Expected model m to have an absolute path or URI; got base_path()=models/m",
        ),
        (
            RELOAD,
            reload({"name": "m", "base_path": "/m", "model_platform": "caffe"}),
            "INVALID_ARGUMENT",
            "Model m requests unsupported platform caffe",
        ),
        (
            RELOAD,
            reload({"name": "m", "base_path": "/m", "model_platform": ""}),
            "INVALID_ARGUMENT",
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform.",
        ),
        (
            RELOAD,
            reload({"name": "m", "base_path": "/m", "model_type": 1}),
            "INVALID_ARGUMENT",
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform.",
        ),
        (
            RELOAD,
            reload({"name": "m", "base_path": "/m", "version_labels": {"stable": 9}}),
            "FAILED_PRECONDITION",
            "Request to assign label to version 9 of model m, which is not currently available for inference",
        ),
    ],
)
def test_the_other_calls_refuse_as_tf_serving_does(
    channel: Caller, method: str, request_: ProtoMessage, code: str, message: str
) -> None:
    """To the letter."""
    assert refusal(channel, method, request_.SerializeToString()) == (code, message)


@pytest.mark.parametrize("method", [PREDICT, METADATA, STATUS, RELOAD])
def test_bytes_that_are_no_request_are_refused(bare: Caller, method: str) -> None:
    """By the server, not by a crash of it."""
    code, message = refusal(bare, method, b"\xff\xff")

    assert code == "INVALID_ARGUMENT"
    assert message.startswith("The request is not a ")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("PredictionService/Classify", "Missing ModelSpec"),
        ("PredictionService/Regress", "Missing ModelSpec"),
        ("PredictionService/MultiInference", "ModelSpec has no name specified."),
    ],
)
def test_calls_with_examples_are_served(channel: Caller, method: str, message: str) -> None:
    """What they answer is tested in tests/unit/serving/server/test_inference.py."""
    assert refusal(channel, method, b"") == ("INVALID_ARGUMENT", message)


def test_a_graph_that_raises_is_invalid_argument_without_a_traceback(channel: Caller) -> None:
    """TensorFlow's own code and message pass through."""
    images = random_images(1)[:, :16]
    code, message = refusal(channel, PREDICT, predict({"signature_name": "detect"}, images=images).SerializeToString())

    assert code == "INVALID_ARGUMENT"
    assert "Traceback" not in message


def test_an_answer_names_the_version_and_the_resolved_signature(channel: Caller) -> None:
    """An empty signature name means serving_default; values lie in float_val."""
    images = random_images(2).astype(np.float32)
    content = call(channel, PREDICT, predict({"signature_name": ""}, images=images).SerializeToString())
    response = PredictResponse.FromString(content)

    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("default", 1, "serving_default")
    assert not response.outputs["raw"].tensor_content
    raw = decode(response.outputs["raw"])
    assert raw.shape == (2, 8)
    assert np.allclose(raw[:, 0], images.sum(axis=(1, 2, 3)), rtol=1e-4)


def test_an_output_filter_leaves_the_rest_out(channel: Caller) -> None:
    """Only what is asked for is computed and sent."""
    request = predict({"signature_name": "detect"}, images=random_images(1))
    request.output_filter.append("num_detections")
    response = PredictResponse.FromString(call(channel, PREDICT, request.SerializeToString()))

    assert list(response.outputs) == ["num_detections"]


def test_one_version_can_be_asked_for_its_status(channel: Caller) -> None:
    """Its state is a number of ModelVersionStatus."""
    request = GetModelStatusRequest(model_spec={"name": "default", "version": {"value": 1}})
    response = GetModelStatusResponse.FromString(call(channel, STATUS, request.SerializeToString()))

    (status,) = response.model_version_status
    assert (status.version, status.state, status.status.error_code) == (1, 30, 0)


def test_the_status_ignores_labels(bare: Caller) -> None:
    """As TF Serving does: it is the status of all versions."""
    request = GetModelStatusRequest(model_spec={"name": "default", "version_label": "x"})
    response = GetModelStatusResponse.FromString(call(bare, STATUS, request.SerializeToString()))

    assert [item.version for item in response.model_version_status] == [1]


def test_metadata_are_the_signatures(channel: Caller) -> None:
    """Names, dtypes and shapes of what goes in and comes out."""
    request = GetModelMetadataRequest(model_spec=ModelSpec(name="default"), metadata_field=["signature_def"])
    response = GetModelMetadataResponse.FromString(call(channel, METADATA, request.SerializeToString()))
    signatures = SignatureDefMap()

    assert response.metadata["signature_def"].Unpack(signatures)
    assert response.model_spec.version.value == 1
    assert set(signatures.signature_def) == {"serving_default", "detect", "describe"}
    images = signatures.signature_def["detect"].inputs["images"]
    assert [dim.size for dim in images.tensor_shape.dim] == [-1, 32, 32, 3]
