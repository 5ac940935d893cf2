"""Predict and GetModelMetadata, on the bytes of the messages. Errors are StatusError, with TF Serving's messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from serving.errors import TensorError
from serving.server.calls import Calls
from serving.server.errors import failed_precondition, invalid_argument
from serving.server.versions.models import Models
from serving.server.versions.servable import Servable
from serving.wire.protos import (
    GetModelMetadataResponse,
    ModelSpec,
    PredictRequest,
    ProtoMessage,
    SignatureDefMap,
)
from serving.wire.tensors import BFLOAT16, as_bfloat16, decode, dtype_name, encode_response

DEFAULT_SIGNATURE: Final = "serving_default"
SIGNATURE_DEF: Final = "signature_def"


class PredictionService:
    """The calls of tensorflow.serving.PredictionService that a detector needs."""

    def __init__(self, models: Models, calls: Calls, *, as_content: bool = False) -> None:
        self._models = models
        self._calls = calls
        self._as_content = as_content

    def predict(self, content: bytes, deadline: float | None = None) -> bytes:
        """Run the signature that a PredictRequest names and return a PredictResponse (predict_util.cc, RunPredict).

        `deadline` is in the seconds of `time.monotonic`. Raises StatusError.
        """
        request = parse(PredictRequest, content)
        spec = request.model_spec
        with self._calls.counted(spec.name, "Predict", "GRPC"):
            if not request.HasField("model_spec"):
                raise invalid_argument("Missing ModelSpec")
            with self._models.acquire(spec) as (version, servable), self._calls.running(spec.name):
                outputs = run_signature(servable, request, deadline=deadline)
            answered = ModelSpec(name=spec.name, signature_name=spec.signature_name or DEFAULT_SIGNATURE)
            answered.version.value = version
            return encode_response(answered, outputs, as_content=self._as_content)

    def metadata(self, request: ProtoMessage) -> ProtoMessage:
        """Return the signatures of a version: the GetModelMetadataResponse for a GetModelMetadataRequest.

        Source: get_model_metadata_impl.cc. Raises StatusError.
        """
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise invalid_argument(f"Metadata field {field} is not supported")
        response = GetModelMetadataResponse()
        with self._models.acquire(request.model_spec) as (version, servable):
            signatures = SignatureDefMap(signature_def=servable.signatures)
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        response.metadata[SIGNATURE_DEF].Pack(signatures)
        return response


def run_signature(
    servable: Servable, request: ProtoMessage, *, deadline: float | None = None
) -> dict[str, NDArray[Any]]:
    """Run the signature that a PredictRequest names and return its outputs by alias. Raises StatusError."""
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    feeds = _feeds(signature, request.inputs)
    return run_outputs(servable, signature, feeds, _outputs(signature, list(request.output_filter)), deadline=deadline)


def run_outputs(
    servable: Servable,
    signature: ProtoMessage,
    feeds: Mapping[str, NDArray[Any]],
    aliases: Sequence[str],
    *,
    deadline: float | None,
) -> dict[str, NDArray[Any]]:
    """Run a signature and return the outputs `aliases`, by alias. `feeds` are the arrays by tensor name."""
    results = servable.run(feeds, [signature.outputs[alias].name for alias in aliases], deadline=deadline)
    return dict(zip(aliases, results, strict=True))


def parse(message: ProtoMessage, content: bytes) -> ProtoMessage:
    """Parse a request. Raises INVALID_ARGUMENT if the bytes are not a message of that class."""
    try:
        return message.FromString(content)
    except DecodeError as error:
        raise invalid_argument(f"The request is not a {message.DESCRIPTOR.name}") from error


def _feeds(signature: ProtoMessage, given: ProtoMessage) -> dict[str, NDArray[Any]]:
    """Decode the inputs of a request into arrays by tensor name. An input with a default may be missing."""
    _check_names(signature, given)
    feeds = {}
    by_tensor = sorted((info.name, alias, info.dtype) for alias, info in signature.inputs.items())
    for position, (tensor_name, alias, dtype) in enumerate(by_tensor):
        tensor = given[alias] if alias in given else signature.defaults[alias]
        if tensor.dtype != dtype and tensor.dtype:
            wanted, got = dtype_name(dtype), dtype_name(tensor.dtype)
            raise invalid_argument(f"Expects arg[{position}] to be {wanted} but {got} is provided")
        try:
            array = decode(tensor)
        except TensorError as error:
            raise invalid_argument(f"tensor parsing error: {alias}") from error
        feeds[tensor_name] = as_bfloat16(array) if dtype == BFLOAT16 else array
    return feeds


def _check_names(signature: ProtoMessage, given: ProtoMessage) -> None:
    """Raise INVALID_ARGUMENT if an input that has no default is missing, or one is not an input of the signature."""
    wanted, defaults = set(signature.inputs), set(signature.defaults)
    extra, missing = set(given) - wanted, wanted - set(given) - defaults
    if not extra and not missing:
        return
    if len(given) != len(wanted) or not missing:
        raise invalid_argument(_mismatch(set(given), wanted))
    alias = min(missing)
    raise invalid_argument(
        f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found in request and no "
        f"default value provided. Inputs expected to be in the request {{{_joined(given)}}}, or default input alias "
        f"set: {_joined(defaults)}"
    )


def _outputs(signature: ProtoMessage, requested: list[str]) -> list[str]:
    """Return the aliases of the requested outputs, or of all outputs if the request has no output_filter."""
    for position, alias in enumerate(requested):
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {{{_joined(signature.outputs)}}}."
            )
        if alias in requested[:position]:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
    return requested or sorted(signature.outputs)


def _mismatch(given: set[str], wanted: set[str]) -> str:
    return (
        f"input size does not match signature: {len(given)}!={len(wanted)} len({{{_joined(given)}}}) != "
        f"len({{{_joined(wanted)}}}). Sent extra: {{{_joined(given - wanted)}}}. "
        f"Missing but required: {{{_joined(wanted - given)}}}."
    )


def _joined(names: Iterable[str]) -> str:
    return ",".join(sorted(names))
