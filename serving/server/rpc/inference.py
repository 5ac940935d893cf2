"""Classify, Regress and MultiInference: calls of a signature with tf.Examples (multi_inference.cc and its like)."""

from __future__ import annotations

from serving.server.calls import Calls
from serving.server.errors import invalid_argument, unimplemented
from serving.server.rpc.examples import CLASSIFICATION, METHODS, REGRESSION, Method, serialized_examples
from serving.server.rpc.prediction import DEFAULT_SIGNATURE, parse
from serving.server.versions.models import Models
from serving.server.versions.servable import Servable
from serving.wire.protos import (
    ClassificationRequest,
    ClassificationResponse,
    ModelSpec,
    MultiInferenceRequest,
    MultiInferenceResponse,
    ProtoMessage,
    RegressionRequest,
    RegressionResponse,
)


class InferenceService:
    """The calls of tensorflow.serving.PredictionService that take tf.Examples.

    With `checks_names`, a signature must be declared for the method. A `deadline` is in the seconds of
    `time.monotonic`. Every call raises StatusError.
    """

    def __init__(self, models: Models, calls: Calls, *, checks_names: bool = True) -> None:
        self._models = models
        self._calls = calls
        self._checks_names = checks_names

    def classify(self, content: bytes, deadline: float | None = None) -> bytes:
        """Answer the bytes of a ClassificationRequest with those of a ClassificationResponse."""
        request = parse(ClassificationRequest, content)
        with self._calls.counted(request.model_spec.name, CLASSIFICATION.api, "GRPC"):
            return bytes(self.classification(request, deadline).SerializeToString())

    def regress(self, content: bytes, deadline: float | None = None) -> bytes:
        """Answer the bytes of a RegressionRequest with those of a RegressionResponse."""
        request = parse(RegressionRequest, content)
        with self._calls.counted(request.model_spec.name, REGRESSION.api, "GRPC"):
            return bytes(self.regression(request, deadline).SerializeToString())

    def multi_inference(self, content: bytes, deadline: float | None = None) -> bytes:
        """Answer the bytes of a MultiInferenceRequest with those of a MultiInferenceResponse: one run for all tasks."""
        request = parse(MultiInferenceRequest, content)
        spec = request.tasks[0].model_spec if request.tasks else ModelSpec()
        with self._calls.counted(spec.name, "MultiInference", "GRPC"):
            with self._models.acquire(spec) as (version, servable), self._calls.running(spec.name, "MultiInference"):
                response = run_tasks(servable, request, checks_names=self._checks_names, deadline=deadline)
            for task, item in zip(request.tasks, response.results, strict=True):
                _fill_spec(item.model_spec, task.model_spec, version)
            self._calls.examples(spec.name, len(serialized_examples(request.input)))
            return bytes(response.SerializeToString())

    def classification(self, request: ProtoMessage, deadline: float | None) -> ProtoMessage:
        """Return the ClassificationResponse for a ClassificationRequest."""
        return self._single(request, CLASSIFICATION, ClassificationResponse(), deadline)

    def regression(self, request: ProtoMessage, deadline: float | None) -> ProtoMessage:
        """Return the RegressionResponse for a RegressionRequest."""
        return self._single(request, REGRESSION, RegressionResponse(), deadline)

    def _single(
        self, request: ProtoMessage, method: Method, response: ProtoMessage, deadline: float | None
    ) -> ProtoMessage:
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        spec = request.model_spec
        with self._models.acquire(spec) as (version, servable), self._calls.running(spec.name, method.api):
            result = run_method(servable, method, request, checks_names=self._checks_names, deadline=deadline)
        response.result.CopyFrom(result)
        _fill_spec(response.model_spec, spec, version)
        self._calls.examples(spec.name, len(serialized_examples(request.input)))
        return response


def run_method(
    servable: Servable, method: Method, request: ProtoMessage, *, checks_names: bool, deadline: float | None = None
) -> ProtoMessage:
    """Run the signature that a request names with its examples, and return the method's result. Raises StatusError."""
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        raise invalid_argument(f"No signature was found with the name: {name}")
    if checks_names:
        method.check_name(signature)
    feed, fetches = method.tensors(signature)
    examples = serialized_examples(request.input)
    outputs = servable.run({feed: examples}, fetches, deadline=deadline)
    return method.result(signature, dict(zip(fetches, outputs, strict=True)), len(examples))


def run_tasks(
    servable: Servable, request: ProtoMessage, *, checks_names: bool, deadline: float | None = None
) -> ProtoMessage:
    """Run all tasks of a MultiInferenceRequest at once and return the response, without its ModelSpecs.

    Raises StatusError.
    """
    tasks = _tasks(servable, request, checks_names=checks_names)
    tensors = [method.tensors(signature) for method, signature in tasks]
    feed = tensors[0][0]
    if any(other != feed for other, _ in tensors):
        raise invalid_argument("Input tensor must be the same for all Signatures.")
    fetches = sorted({name for _, names in tensors for name in names})
    examples = serialized_examples(request.input)
    outputs = dict(zip(fetches, servable.run({feed: examples}, fetches, deadline=deadline), strict=True))
    response = MultiInferenceResponse()
    for method, signature in tasks:
        result = method.result(signature, outputs, len(examples))
        getattr(response.results.add(), f"{method.kind}_result").CopyFrom(result)
    return response


def _tasks(servable: Servable, request: ProtoMessage, *, checks_names: bool) -> list[tuple[Method, ProtoMessage]]:
    """Return the method and the signature of each task. Raises StatusError, also if there is no task."""
    if not request.tasks:
        raise invalid_argument("ModelSpec has no name specified.")
    tasks: dict[str, tuple[Method, ProtoMessage]] = {}
    for task in request.tasks:
        spec = task.model_spec
        if not spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if spec.name != request.tasks[0].model_spec.name:
            raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = spec.signature_name or DEFAULT_SIGNATURE
        if name in tasks:
            raise invalid_argument(f"Duplicate evaluation of signature: {name}")
        signature = servable.signatures.get(name)
        if signature is None:
            raise invalid_argument(f"Requested signature not found in model graph: {name}")
        method = METHODS.get(task.method_name)
        if method is None:
            raise unimplemented(f"Unsupported signature method_name: {task.method_name}")
        if checks_names:
            method.check_name(signature)
        tasks[name] = method, signature
    return list(tasks.values())


def _fill_spec(answered: ProtoMessage, requested: ProtoMessage, version: int) -> None:
    answered.name, answered.signature_name = requested.name, requested.signature_name or DEFAULT_SIGNATURE
    answered.version.value = version
