"""The REST API as a WSGI application, after http_rest_api_handler.cc: status, metadata, predict, metrics."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Final

import grpc
from google.protobuf.json_format import MessageToDict

from serving.server.calls import Calls, logged_status
from serving.server.errors import StatusError, invalid_argument, truncated
from serving.server.metrics import Metrics
from serving.server.rest.json_answer import write_answer, write_classifications, write_regressions
from serving.server.rest.json_examples import read_examples
from serving.server.rest.json_request import read_request
from serving.server.rpc.inference import InferenceService
from serving.server.rpc.model_service import ModelService
from serving.server.rpc.prediction import DEFAULT_SIGNATURE, SIGNATURE_DEF, PredictionService, run_outputs
from serving.server.versions.models import Models
from serving.server.versions.servable import Servable
from serving.wire.protos import (
    ClassificationRequest,
    GetModelMetadataRequest,
    GetModelStatusRequest,
    ModelSpec,
    ProtoMessage,
    RegressionRequest,
    SignatureDefMap,
)

_NAME: Final = r"(?i:/v1/models)/(?P<name>[^/:]+)(?:/(?i:versions)/(?P<version>[0-9]+)|/(?i:labels)/(?P<label>[^/:]+))?"
_PREDICTION: Final = re.compile(rf"{_NAME}:(?P<method>classify|regress|predict)")
_MODEL: Final = re.compile(rf"(?:{_NAME}|(?i:/v1/models))(?P<metadata>/(?i:metadata))?")
_API: Final = re.compile("(?i:/v1/).*", re.DOTALL)
_MAX_VERSION: Final = 2**63 - 1

_Code = grpc.StatusCode
HTTP_STATUS: Final = {
    _Code.OK: 200,
    _Code.CANCELLED: 499,
    _Code.UNKNOWN: 500,
    _Code.INVALID_ARGUMENT: 400,
    _Code.DEADLINE_EXCEEDED: 504,
    _Code.NOT_FOUND: 404,
    _Code.ALREADY_EXISTS: 409,
    _Code.PERMISSION_DENIED: 403,
    _Code.RESOURCE_EXHAUSTED: 429,
    _Code.FAILED_PRECONDITION: 400,
    _Code.ABORTED: 409,
    _Code.OUT_OF_RANGE: 400,
    _Code.UNIMPLEMENTED: 501,
    _Code.INTERNAL: 500,
    _Code.UNAVAILABLE: 503,
    _Code.DATA_LOSS: 500,
    _Code.UNAUTHENTICATED: 401,
}
"""HTTP status by gRPC status, as in http_server.cc, ToHTTPStatusCode."""


class RestApi:
    """The WSGI application of the REST API. It has the same models, states and errors as gRPC."""

    def __init__(
        self,
        models: Models,
        prediction: PredictionService,
        inference: InferenceService,
        status: ModelService,
        calls: Calls,
        *,
        timeout: float,
        threads: int,
        metrics: Metrics,
    ) -> None:
        """Store the services. `timeout` is the longest time of a predict call, in seconds."""
        self._models = models
        self._prediction = prediction
        self._inference = inference
        self._status = status
        self._calls = calls
        self._timeout = timeout
        self._metrics = metrics
        self._running = ThreadPoolExecutor(threads, thread_name_prefix="rest-predict")

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, as WSGI defines."""
        path = str(environ.get("PATH_INFO", "")).encode("latin-1").decode("utf-8", "replace")
        code, kind, body = 200, "application/json", b""
        try:
            if path == self._metrics.path:
                kind, body = "text/plain", self._metrics.page().encode()
            elif _API.fullmatch(path):
                body = self._answer(str(environ["REQUEST_METHOD"]), path, environ["wsgi.input"].read)
            else:
                code = 404
        except Exception as error:  # noqa: BLE001 - a caller gets a status, never a traceback
            status = logged_status(error)
            code = HTTP_STATUS[status.code]
            body = (json.dumps({"error": truncated(status.message)}, indent=4) + "\n").encode()
        start_response(_status_line(code), [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    def _answer(self, method: str, path: str, read: Callable[[], bytes]) -> bytes:
        if method == "POST" and (match := _PREDICTION.fullmatch(path)):
            api = match["method"]
            spec = _spec(match)
            with self._calls.counted(spec.name, api, "REST"):
                return self._predict(api, spec, read())
        if method == "GET" and (match := _MODEL.fullmatch(path)):
            if not match["name"]:
                raise invalid_argument("Missing model name in request.")
            spec = _spec(match)
            return _json(self._describe(spec) if match["metadata"] else self._state(spec))
        raise invalid_argument(f"Malformed request: {method} {path}")

    def _predict(self, api: str, spec: ProtoMessage, body: bytes) -> bytes:
        """Run a call of predict, classify or regress and return its JSON. Raises DEADLINE_EXCEEDED after the timeout.

        The graph then still runs to its end, because TensorFlow cannot interrupt it.
        """
        deadline = time.monotonic() + self._timeout
        run = {"predict": self._run, "classify": self._classify, "regress": self._regress}[api]
        work = self._running.submit(run, spec, body, deadline)
        try:
            return work.result(None if self._timeout == float("inf") else self._timeout)
        except TimeoutError:
            work.cancel()
            raise StatusError(_Code.DEADLINE_EXCEEDED, "Timed out waiting for notification") from None

    def _run(self, spec: ProtoMessage, body: bytes, deadline: float) -> bytes:
        with self._models.acquire(spec) as (_, servable):
            request = read_request(body, lambda name: _signature(servable, name))
            feeds = {request.signature.inputs[alias].name: array for alias, array in request.inputs.items()}
            with self._calls.running(spec.name):
                outputs = run_outputs(
                    servable, request.signature, feeds, sorted(request.signature.outputs), deadline=deadline
                )
        return write_answer(outputs, in_rows=request.in_rows)

    def _classify(self, spec: ProtoMessage, body: bytes, deadline: float) -> bytes:
        request = ClassificationRequest(model_spec=spec)
        read_examples(body, request)
        return write_classifications(self._inference.classification(request, deadline).result)

    def _regress(self, spec: ProtoMessage, body: bytes, deadline: float) -> bytes:
        request = RegressionRequest(model_spec=spec)
        read_examples(body, request)
        return write_regressions(self._inference.regression(request, deadline).result)

    def _state(self, spec: ProtoMessage) -> dict[str, Any]:
        response = self._status.status(GetModelStatusRequest(model_spec=spec))
        return MessageToDict(response, always_print_fields_with_no_presence=True)

    def _describe(self, spec: ProtoMessage) -> dict[str, Any]:
        response = self._prediction.metadata(GetModelMetadataRequest(model_spec=spec, metadata_field=[SIGNATURE_DEF]))
        signatures = SignatureDefMap()
        response.metadata[SIGNATURE_DEF].Unpack(signatures)
        plain, described = (
            MessageToDict(message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True)
            for message in (response.model_spec, signatures)
        )
        return {"model_spec": plain, "metadata": {SIGNATURE_DEF: described}}


def _spec(match: re.Match[str]) -> ProtoMessage:
    spec = ModelSpec(name=match["name"])
    if match["version"]:
        if len(match["version"]) > 30 or int(match["version"]) > _MAX_VERSION:
            raise invalid_argument(f"Failed to convert version: {match['version']} to numeric.")
        spec.version.value = int(match["version"])
    elif match["label"]:
        spec.version_label = match["label"]
    return spec


def _signature(servable: Servable, name: str) -> ProtoMessage:
    signature = servable.signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise invalid_argument(f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature def')
    return signature


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()


def _status_line(code: int) -> str:
    return f"{code} {HTTPStatus(code).phrase if code != 499 else 'Client Closed Request'}"
