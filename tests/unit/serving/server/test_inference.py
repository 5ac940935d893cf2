"""Classify, Regress and MultiInference, by gRPC's messages and by REST, on a version that computes with plain NumPy."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.server.calls import Calls
from serving.server.errors import StatusError
from serving.server.metrics import Metrics
from serving.server.rest.rest import RestApi
from serving.server.rpc.inference import InferenceService
from serving.server.rpc.model_service import ModelService
from serving.server.rpc.prediction import PredictionService
from serving.server.versions.lifecycle import Lifecycle
from serving.server.versions.model_config import ModelConfig
from serving.server.versions.models import Models
from serving.wire.protos import (
    ClassificationRequest,
    ClassificationResponse,
    MultiInferenceRequest,
    MultiInferenceResponse,
    ProtoMessage,
    RegressionRequest,
    RegressionResponse,
    SignatureDef,
    message_class,
)
from tests.support.polling import wait_until

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
Example = message_class("tensorflow.Example")


def signature(method: str, inputs: Sequence[str] = ("inputs",), feed: str = "examples", **outputs: str) -> ProtoMessage:
    """A signature of a method, with these inputs, and with the names of its output tensors."""
    return SignatureDef(
        method_name=method,
        inputs={name: {"name": f"{feed}:0", "dtype": 7} for name in inputs},
        outputs={name: {"name": tensor} for name, tensor in outputs.items()},
    )


SIGNATURES = {
    "serving_default": signature(REGRESS, outputs="half"),
    "column": signature(REGRESS, outputs="column"),
    "classify": signature(CLASSIFY, classes="classes", scores="scores"),
    "only_classes": signature(CLASSIFY, classes="classes"),
    "only_scores": signature(CLASSIFY, scores="scores"),
    "elsewhere": signature(REGRESS, feed="others", outputs="half"),
    "two_inputs": signature(REGRESS, inputs=("inputs", "more"), outputs="half"),
    "named": signature(REGRESS, inputs=("x",), outputs="half"),
    "named_classify": signature(CLASSIFY, inputs=("x",), scores="scores"),
    "two_outputs": signature(REGRESS, outputs="half", more="half"),
    "unnamed": signature(REGRESS, y="half"),
    "no_scores": signature(CLASSIFY, y="scores"),
    "three_outputs": signature(CLASSIFY, classes="classes", scores="scores", y="half"),
    "wide": signature(REGRESS, outputs="scores"),
    "short": signature(REGRESS, outputs="short"),
    "doubles": signature(REGRESS, outputs="doubles"),
    "flat_scores": signature(CLASSIFY, scores="half"),
    "short_scores": signature(CLASSIFY, scores="short_scores"),
    "float_classes": signature(CLASSIFY, classes="scores"),
    "uneven": signature(CLASSIFY, classes="classes", scores="column"),
    "not_text": signature(CLASSIFY, classes="bytes"),
    "predict": signature("tensorflow/serving/predict", outputs="half"),
}


class Halving:
    """Halves the feature `x` of each example, or half its `default` where there is none."""

    signatures: dict[str, ProtoMessage] = SIGNATURES

    def __init__(self) -> None:
        self.runs: list[list[str]] = []

    def run(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], *, deadline: float | None = None
    ) -> list[NDArray[Any]]:
        assert deadline is None or deadline > 0
        (examples,) = feeds.values()
        self.runs.append(list(fetches))
        values = []
        for content in examples:
            features = Example.FromString(content).features.feature
            values += features["x" if "x" in features else "default"].float_list.value
        half = np.array(values, np.float32) / 2
        labels = np.array([[b"low", "hoch é".encode()]] * len(half), object)
        outputs = {
            "half": half,
            "column": half[:, None],
            "scores": np.stack([half, 1 - half], axis=1),
            "classes": labels,
            "bytes": np.array([[b"\xff"]] * len(half), object),
            "short": half[1:],
            "doubles": half.astype(np.float64),
            "short_scores": np.zeros((len(half) + 1, 2), np.float32),
        }
        return [outputs[name] for name in fetches]

    def close(self) -> None:
        pass


@pytest.fixture
def version() -> Halving:
    return Halving()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("/metrics")


@pytest.fixture
def models(tmp_path: Path, version: Halving) -> Iterator[Models]:
    """The models `m`, of version 3."""
    (tmp_path / "3").mkdir()
    models = Models(lambda name: Lifecycle(name, lambda _: version))
    models.configure([ModelConfig("m", tmp_path)])
    wait_until(lambda: models.configured[0].is_available)
    yield models
    models.stop()


@pytest.fixture
def service(models: Models, metrics: Metrics) -> InferenceService:
    return InferenceService(models, Calls(models, metrics))


def example(**values: float) -> ProtoMessage:
    """An example with these features."""
    return Example(features={"feature": {name: {"float_list": {"value": [value]}} for name, value in values.items()}})


def filled(request: ProtoMessage, name: str = "", *values: float) -> bytes:
    """A request to the model `m`, with an example of each value."""
    request.model_spec.name, request.model_spec.signature_name = "m", name
    request.input.example_list.examples.extend(example(x=value) for value in values or (1.0, 0.5))
    return bytes(request.SerializeToString())


def tasks(*named: tuple[str, str], model: str = "m", values: Sequence[float] = (1.0,)) -> ProtoMessage:
    """A MultiInferenceRequest with these signatures and methods."""
    request = MultiInferenceRequest()
    for name, method in named:
        request.tasks.add(model_spec={"name": model, "signature_name": name}, method_name=method)
    request.input.example_list.examples.extend(example(x=value) for value in values)
    return request


def test_regress(service: InferenceService, metrics: Metrics) -> None:
    """A value an example, by the default signature or another; the answer names version and signature."""
    for name, resolved in (("", "serving_default"), ("column", "column")):
        response = RegressionResponse.FromString(service.regress(filled(RegressionRequest(), name)))
        assert [item.value for item in response.result.regressions] == [0.5, 0.25]
        assert (response.model_spec.name, response.model_spec.version.value) == ("m", 3)
        assert response.model_spec.signature_name == resolved
    with pytest.raises(StatusError):  # its duration would make the server look fast
        service.regress(filled(RegressionRequest(), "unheard of"))
    page = metrics.page()
    assert ':request_count{model_name="m",status="INVALID_ARGUMENT"} 1' in page
    assert 'runtime_latency_count{model_name="m",API="Regress",runtime="TF1"} 2' in page
    assert 'request_example_counts_sum{model="m"} 4' in page
    assert ':tensorflow:serving:request_example_count_total{model="m"} 4' in page
    assert 'request_latency_count{model_name="m",API="Regress",entrypoint="GRPC"} 2' in page


@pytest.mark.parametrize("name", ["classify", "only_classes", "only_scores"])
def test_classify(service: InferenceService, name: str) -> None:
    """Labels, scores or both."""
    response = ClassificationResponse.FromString(service.classify(filled(ClassificationRequest(), name)))
    labels = [""] * 2 if name == "only_scores" else ["low", "hoch é"]
    scores = [[0.0] * 2] * 2 if name == "only_classes" else [[0.5, 0.5], [0.25, 0.75]]

    assert [[item.label for item in row.classes] for row in response.result.classifications] == [labels] * 2
    assert [[item.score for item in row.classes] for row in response.result.classifications] == scores


def test_a_context_is_part_of_each_example(service: InferenceService) -> None:
    """Unless the example has the feature itself."""
    request = RegressionRequest(model_spec={"name": "m"})
    given = request.input.example_list_with_context
    given.context.CopyFrom(example(default=4.0, x=8.0))
    given.examples.extend([example(x=2.0), example()])
    response = RegressionResponse.FromString(service.regress(request.SerializeToString()))

    assert [item.value for item in response.result.regressions] == [1.0, 4.0]


def test_several_signatures_in_one_run(service: InferenceService, version: Halving) -> None:
    """The results come in the order of the tasks."""
    request = tasks(("classify", CLASSIFY), ("", REGRESS), ("column", REGRESS))
    response = MultiInferenceResponse.FromString(service.multi_inference(request.SerializeToString()))

    assert version.runs == [["classes", "column", "half", "scores"]]
    first, second, third = response.results
    assert [item.label for item in first.classification_result.classifications[0].classes] == ["low", "hoch é"]
    assert [second.regression_result.regressions[0].value, third.regression_result.regressions[0].value] == [0.5] * 2
    assert [item.model_spec.signature_name for item in response.results] == ["classify", "serving_default", "column"]
    assert {item.model_spec.version.value for item in response.results} == {3}


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("x", "INVALID_ARGUMENT", "No signature was found with the name: x"),
        (
            "classify",
            "INVALID_ARGUMENT",
            f"Expected regression signature method_name to be {REGRESS}. Was: {CLASSIFY}",
        ),
        ("two_inputs", "INVALID_ARGUMENT", "Expected one input Tensor."),
        ("two_outputs", "INVALID_ARGUMENT", "Expected one output Tensor."),
        ("named", "FAILED_PRECONDITION", "No regression inputs found in SignatureDef: "),
        ("unnamed", "FAILED_PRECONDITION", "No regression outputs found in SignatureDef: "),
        (
            "wide",
            "INVALID_ARGUMENT",
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]",
        ),
        ("short", "INVALID_ARGUMENT", "Input batch size did not match output batch size: 2 vs. 1"),
        ("doubles", "INVALID_ARGUMENT", "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
    ],
)
def test_regress_refuses(service: InferenceService, name: str, code: str, message: str) -> None:
    """In TF Serving's words."""
    with pytest.raises(StatusError) as error:
        service.regress(filled(RegressionRequest(), name))

    assert error.value.code.name == code
    assert error.value.message.startswith(message)


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        (
            "",
            "INVALID_ARGUMENT",
            f"Expected classification signature method_name to be {CLASSIFY}. Was: {REGRESS}",
        ),
        ("named_classify", "FAILED_PRECONDITION", "No classification inputs found in SignatureDef: "),
        ("no_scores", "FAILED_PRECONDITION", "Expected classification signature outputs to contain at least one of "),
        ("three_outputs", "INVALID_ARGUMENT", "Expected one or two output Tensors, found 3"),
        ("flat_scores", "INVALID_ARGUMENT", "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ("float_classes", "INVALID_ARGUMENT", "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        ("short_scores", "INVALID_ARGUMENT", "Expected scores output batch size of 2. Got: 3"),
        ("uneven", "INVALID_ARGUMENT", "Tensors class and score should match in dim_size(1). Got 2 vs. 1"),
        ("not_text", "INVALID_ARGUMENT", "The class label b'\\xff' is not UTF-8"),
    ],
)
def test_classify_refuses(service: InferenceService, name: str, code: str, message: str) -> None:
    """In TF Serving's words."""
    with pytest.raises(StatusError) as error:
        service.classify(filled(ClassificationRequest(), name))

    assert error.value.code.name == code
    assert error.value.message.startswith(message)


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (tasks(), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (tasks(("", REGRESS), model="x"), "NOT_FOUND", "Servable not found for request: Latest(x)"),
        (tasks(("x", REGRESS)), "INVALID_ARGUMENT", "Requested signature not found in model graph: x"),
        (
            tasks(("", REGRESS), ("serving_default", REGRESS)),
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: serving_default",
        ),
        (
            tasks(("predict", "tensorflow/serving/predict")),
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            tasks(("", CLASSIFY)),
            "INVALID_ARGUMENT",
            f"Expected classification signature method_name to be {CLASSIFY}. Was: {REGRESS}",
        ),
        (
            tasks(("", REGRESS), ("elsewhere", REGRESS)),
            "INVALID_ARGUMENT",
            "Input tensor must be the same for all Signatures.",
        ),
        (tasks(("", REGRESS), values=()), "INVALID_ARGUMENT", "Input is empty."),
    ],
)
def test_multi_inference_refuses(service: InferenceService, request_: ProtoMessage, code: str, message: str) -> None:
    """In TF Serving's words."""
    with pytest.raises(StatusError) as error:
        service.multi_inference(request_.SerializeToString())

    assert (error.value.code.name, error.value.message) == (code, message)


def test_tasks_name_one_model(service: InferenceService) -> None:
    """Each its name, and the same."""
    for name, message in (("", "Found ModelSpec with an empty model name."), ("n", "must access the same model name.")):
        request = tasks(("", REGRESS))
        request.tasks.add(model_spec={"name": name, "signature_name": "column"}, method_name=REGRESS)
        with pytest.raises(StatusError, match=message):
            service.multi_inference(request.SerializeToString())


def test_an_input_without_examples_is_refused(service: InferenceService) -> None:
    """Of either kind, and without a ModelSpec nothing is known."""
    request = RegressionRequest(model_spec={"name": "m"})
    request.input.example_list_with_context.context.CopyFrom(example(x=1.0))
    for content in (request, RegressionRequest(model_spec={"name": "m"})):
        with pytest.raises(StatusError, match="Input is empty"):
            service.regress(content.SerializeToString())
    with pytest.raises(StatusError, match="Missing ModelSpec"):
        service.classify(b"")


def test_the_method_of_a_signature_may_be_left_unchecked(models: Models, metrics: Metrics) -> None:
    """For models of TensorFlow 2, whose signatures are all for predict."""
    service = InferenceService(models, Calls(models, metrics), checks_names=False)
    response = RegressionResponse.FromString(service.regress(filled(RegressionRequest(), "predict")))

    assert [item.value for item in response.result.regressions] == [0.5, 0.25]


@pytest.fixture
def api(models: Models, service: InferenceService, metrics: Metrics) -> RestApi:
    calls = Calls(models, metrics)
    prediction = PredictionService(models, calls)
    return RestApi(models, prediction, service, ModelService(models), calls, timeout=30, threads=1, metrics=metrics)


def post(api: RestApi, method: str, document: Any) -> tuple[int, Any]:
    """Status and document of a call."""
    statuses: list[str] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": f"/v1/models/m:{method}",
        "wsgi.input": io.BytesIO(json.dumps(document).encode()),
    }
    body = b"".join(api(environ, lambda status, _: statuses.append(status)))
    return int(statuses[0].split()[0]), json.loads(body)


def test_rest(api: RestApi) -> None:
    """The same in JSON; a context, lists and base64 too."""
    examples = [{"x": 1.0}, {"x": [0.5], "text": "é", "bytes": {"b64": "/w=="}, "count": [1, True], "none": []}]
    assert post(api, "regress", {"examples": examples}) == (200, {"results": [0.5, 0.25]})
    document = {"signature_name": "classify", "context": {"default": 0.5}, "examples": [{"x": 1.0}, {}]}
    assert post(api, "classify", document) == (
        200,
        {"results": [[["low", 0.5], ["hoch é", 0.5]], [["low", 0.25], ["hoch é", 0.75]]]},
    )


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([1], "Is not object"),
        ({}, "When method is classify, key 'examples' is expected and was not found"),
        ({"examples": 1}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{}], "context": "x"}, "Example must be JSON object but got JSON String"),
        ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
        ({"examples": [{"x": [[1]]}]}, "Feature: x has element with unexpected JSON type: Array"),
        ({"examples": [{"x": {"b": 1}}]}, "Feature: x has element with unexpected JSON type: Object"),
        ({"examples": [{"x": {"b64": "*"}}]}, "Unable to base64 decode"),
        ({"examples": [{"x": [1.5, 1]}]}, "Unexpected element type in feature: x expecting type: float"),
        ({"examples": [{"x": ["a", 1.5]}]}, "Unexpected element type in feature: x expecting type: bytes"),
        ({"examples": [{"x": [True, "a"]}]}, "Unexpected element type in feature: x expecting type: int64"),
        ({"examples": [{"x": 2**63}]}, "Feature: x has uint64 element. Only int64 is supported."),
        ({"examples": [{"x": 1e39}]}, "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        ({"examples": [{}], "signature_name": 1}, "'signature_name' key must be a string value."),
        ({"examples": [{"x": 1.0}], "signature_name": "y"}, "No signature was found with the name: y"),
    ],
)
def test_rest_refuses(api: RestApi, document: Any, message: str) -> None:
    """In TF Serving's words."""
    status, answer = post(api, "classify", document)

    assert status == 400
    assert message in answer["error"]
