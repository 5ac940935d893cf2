"""The gRPC client of a model server: GetModelStatus, `describe` and Predict."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from serving.boxes.decode import constants, decode, prepare
from serving.boxes.detections import Detections
from serving.contract import Contract, VersionStatus
from serving.description import Description
from serving.errors import (
    ContractError,
    ModelOutOfMemoryError,
    ModelUnavailableError,
    RowsRejectedError,
    VersionGoneError,
)
from serving.wire.protos import (
    MODEL_SERVICE,
    PREDICTION_SERVICE,
    GetModelMetadataRequest,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelVersionStatus,
)
from serving.wire.responses import (
    DETECT_OUTPUTS,
    check_spec,
    max_response_bytes,
    parse_response,
    parse_signatures,
    to_contract,
    to_detections,
)
from serving.wire.status import translate
from serving.wire.tensors import encode_request

_PREDICT: Final = f"/{PREDICTION_SERVICE}/Predict"
_METADATA: Final = f"/{PREDICTION_SERVICE}/GetModelMetadata"
_STATUS: Final = f"/{MODEL_SERVICE}/GetModelStatus"

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    # After a 75 s outage, a channel with default options reconnected 31.6 s late. With these it reconnects at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.min_reconnect_backoff_ms", 2000),  # despite its name, the timeout of one connection attempt; default 20 s
    # A server allows one ping per 5 minutes. The connection closes if a ping or sent data is not acknowledged.
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.enable_retries", 0),  # the caller decides which calls are retried
    # Calls go in turn to all servers behind a name or in a list. A server that is down is skipped until it is back.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),  # by default DNS is queried at most every 30 s
)


_LEAST_RESPONSE: Final = 16 << 20  # bytes that each connection takes: one serves most models, and their contracts
_LARGEST_RESPONSE: Final = 2**31 - 1  # of gRPC


@dataclass(frozen=True)
class ServedModel:
    """A version of a model on a server, with its contract.

    `description` is None if the model has the signature `describe`. `fixed_rows` is the number of rows that each call
    of the model must have, or None if any number will do; `contract.max_batch_rows` is not above it.
    """

    name: str
    version: int
    contract: Contract
    description: Description | None = None
    fixed_rows: int | None = None


class ModelClient:
    """Client of the model server at `target`, `host:port` or `unix:/path`. Threads may share a client.

    `target` may be a DNS name with several addresses (`dns:///serving:8500`) or a list of addresses
    (`ipv4:10.0.0.1:8500,10.0.0.2:8500`). All of them must serve the same models; calls go to them in turn.

    The first call opens the connection, so a client may be created before a fork and used after it. A call waits at
    most `timeout` seconds. `on_error` is called with the name of the gRPC status of each failed call. Calls raise the
    errors of `serving.errors`; `serving.wire.status` maps each gRPC status to an error.
    """

    def __init__(
        self, target: str, *, timeout: float = 10.0, on_error: Callable[[str], None] = lambda _status: None
    ) -> None:
        self.target = target
        self.timeout = timeout
        self._on_error = on_error
        self._lock = threading.Lock()
        self._channels: dict[int, grpc.Channel] = {}  # by the largest response that they take, in bytes

    def __repr__(self) -> str:
        return f"ModelClient({self.target!r})"

    def status(self, model: str) -> list[VersionStatus]:
        """Return the status of each version of a model, newest first.

        Raises VersionGoneError if the server has no version of the model, ModelUnavailableError if it does not answer.
        """
        request = GetModelStatusRequest()
        request.model_spec.name = model
        doing = f"asking {self.target} for the versions of {model}"
        content = self._call(_STATUS, request.SerializeToString(), self.timeout, doing)
        try:
            response = GetModelStatusResponse.FromString(content)
        except DecodeError as error:
            raise ModelUnavailableError(f"The answer while {doing} is not a GetModelStatusResponse.") from error
        return [
            VersionStatus(item.version, _state_name(item.state), item.status.error_message)
            for item in response.model_version_status
        ]

    def describe(self, model: str, version: int | None = None, *, instead: Description | None = None) -> ServedModel:
        """Return the contract of a version and its number; without `version`, the server chooses the version.

        `instead` describes a model that has no signature `describe`; whether that model takes batches of one size only
        is read from its signature. Raises ContractError if such a model comes without `instead` or if the contract is
        invalid, VersionGoneError if the version is not served, and ModelUnavailableError if the server does not answer.
        """
        doing = f"asking {model} on {self.target} to describe itself"
        request = encode_request(model, "describe", {"query": np.zeros(1, np.int32)}, version=version)
        try:
            content = self._call(_PREDICT, request, self.timeout, doing)
        except _NoSignatureError as error:
            if instead is not None:
                return self._described(model, self._newest(model) if version is None else version, instead)
            raise ContractError(
                f"The model {model} on {self.target} has no signature `describe`: export it with Shelfline's exporter, "
                "or describe it in a TOML file."
            ) from error
        except ModelOutOfMemoryError as error:  # the contract is there, and the server has no memory at the moment
            raise ModelUnavailableError(str(error)) from error
        except RowsRejectedError as error:
            raise ContractError(f"The model {model} cannot describe itself: {error}") from error
        try:
            spec, outputs = parse_response(content)
            check_spec(spec, model, spec.version.value if version is None else version)
        except RowsRejectedError as error:
            raise ContractError(str(error)) from error
        answered = spec.version.value if spec.HasField("version") else version
        if answered is None:
            raise ContractError(f"The answer of {model} on {self.target} does not name its version.")
        return ServedModel(model, answered, to_contract(outputs))

    def detect(
        self,
        served: ServedModel,
        images: NDArray[np.uint8],
        *,
        timeout: float | None = None,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> list[Detections]:
        """Return the detections of each row of `images`, computed by the pinned version.

        Args:
            served: the model, its pinned version and its contract.
            images: uint8 (N, H, W, 3), RGB, of the contract's input size.
            timeout: how long to wait, in seconds; None means the client's `timeout`.
            metadata: gRPC metadata of the call.

        Returns:
            N Detections, best first. Boxes are [ymin, xmin, ymax, xmax], normalised to the row.

        Raises:
            ValueError: `images` has another dtype or size.
            ModelUnavailableError: the server did not answer in time, or cannot serve calls now.
            VersionGoneError: the version is not served, or not any more.
            RowsRejectedError: a row may be the cause of the failure, or the response is malformed.
            ContractError: the model does not have the signature.
        """
        contract, rows = served.contract, len(images)
        wanted = (contract.input_height, contract.input_width, 3)
        if images.dtype != np.uint8 or images.shape[1:] != wanted:
            raise ValueError(f"{served.name} takes uint8 (N, {wanted}), not {images.dtype} {images.shape}")
        if not rows:
            return []
        if served.fixed_rows is not None:
            images = _filled_up(images, served.fixed_rows, served.name)
        described = served.description
        if described is None:
            signature, inputs, outputs = "detect", {"images": images}, DETECT_OUTPUTS
        else:
            prepared = prepare(images, described.input)
            inputs = {described.input.tensor: prepared, **constants(described.input, len(images))}
            signature, outputs = described.signature, described.outputs
        request = encode_request(served.name, signature, inputs, version=served.version, outputs=outputs)
        doing = f"asking {served.name} version {served.version} on {self.target} for {rows} rows"
        limit = max_response_bytes(contract, len(images), raw=described is not None)
        seconds = self.timeout if timeout is None else timeout
        try:
            content = self._call(_PREDICT, request, seconds, doing, metadata, max_bytes=limit)
        except _NoSignatureError as error:
            raise ContractError(
                f"The model {served.name} on {self.target} has no signature `{signature}`: "
                "export it with Shelfline's exporter, or mend its TOML file."
            ) from error
        if len(content) > limit:
            raise RowsRejectedError(
                f"The answer has {len(content)} bytes; the contract allows {limit} for {len(images)} rows."
            )
        spec, answered = parse_response(content)
        check_spec(spec, served.name, served.version)
        if described is None:
            return to_detections(answered, rows, contract.max_detections)
        detections = decode(answered, described)
        if len(detections) != len(images):
            raise RowsRejectedError(f"The model answered {len(detections)} rows; {len(images)} were asked for.")
        return detections[:rows]

    def _described(self, model: str, version: int, description: Description) -> ServedModel:
        """Return a model without the signature `describe`, with the size of its batches as its signature gives it."""
        request = GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = model
        request.model_spec.version.value = version
        doing = f"asking {self.target} for the signatures of {model} version {version}"
        signatures = parse_signatures(self._call(_METADATA, request.SerializeToString(), self.timeout, doing))
        shape = signatures.get(description.signature, {}).get(description.input.tensor)
        rows = (shape[0] or None) if shape else None
        contract = description.contract
        if rows is not None and rows < contract.max_batch_rows:
            contract = contract.model_copy(update={"max_batch_rows": rows})
        return ServedModel(model, version, contract, description, rows)

    def _newest(self, model: str) -> int:
        """Return the number of the newest AVAILABLE version. Raises VersionGoneError if there is none."""
        versions = [status.version for status in self.status(model) if status.state == "AVAILABLE"]
        if not versions:
            raise VersionGoneError(f"{self.target} has no version of {model} that is available.")
        return max(versions)

    def close(self) -> None:
        """Close the connection and end its calls. A later call opens a new connection."""
        with self._lock:
            channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.close()

    def _open(self, max_bytes: int) -> grpc.Channel:
        """Return a channel that takes responses of `max_bytes`, which is rounded up to a power of two."""
        limit = min(max(_LEAST_RESPONSE, 1 << (max_bytes - 1).bit_length()), _LARGEST_RESPONSE)
        with self._lock:
            if limit not in self._channels:
                options = (*_CHANNEL_OPTIONS, ("grpc.max_receive_message_length", limit))
                self._channels[limit] = grpc.insecure_channel(self.target, options=options)
            return self._channels[limit]

    def _call(
        self,
        method: str,
        request: bytes,
        timeout: float,
        doing: str,
        metadata: Sequence[tuple[str, str]] = (),
        *,
        max_bytes: int = _LEAST_RESPONSE,
    ) -> bytes:
        """Make one unary call with raw bytes. A gRPC serializer would copy the batch once more.

        A larger response than `max_bytes`, rounded up to a power of two, is refused before it is read.
        """
        try:
            content: bytes = self._open(max_bytes).unary_unary(method, None, None)(
                request, timeout=timeout, metadata=tuple(metadata)
            )
        except grpc.RpcError as error:
            code, details = _status_of(error)
            self._on_error(code.name)
            if code is grpc.StatusCode.FAILED_PRECONDITION and "signature key" in details:
                raise _NoSignatureError(details) from error
            raise translate(code, details, doing=doing) from error
        except ValueError as error:  # gRPC raises it if another thread closed the channel
            raise ModelUnavailableError(f"The connection was closed while {doing}.") from error
        return content


def _filled_up(images: NDArray[np.uint8], rows: int, model: str) -> NDArray[np.uint8]:
    """Return `rows` images: those given, and black ones. Raises ValueError if more are given."""
    if len(images) > rows:
        raise ValueError(f"{model} takes batches of {rows} only, not of {len(images)}")
    return np.concatenate([images, np.zeros((rows - len(images), *images.shape[1:]), np.uint8)])


class _NoSignatureError(ContractError):
    """Raised when the model does not have the requested signature."""


def _status_of(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, grpc.Call):
        return error.code(), error.details() or ""
    return grpc.StatusCode.UNKNOWN, str(error)


def _state_name(number: int) -> str:
    value = ModelVersionStatus.DESCRIPTOR.enum_types_by_name["State"].values_by_number.get(number)
    return str(value.name) if value else "UNKNOWN"
