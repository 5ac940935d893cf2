"""Map each gRPC status of the model server to an error of the project."""

from __future__ import annotations

import re
from typing import Final

import grpc

from serving.errors import (
    ModelError,
    ModelOutOfMemoryError,
    ModelTimeoutError,
    ModelUnavailableError,
    RowsRejectedError,
    VersionGoneError,
)

_Code = grpc.StatusCode

ERROR_OF: Final[dict[grpc.StatusCode, type[ModelError]]] = {
    # The server cannot be reached or is overloaded: the same call may succeed later.
    _Code.UNAVAILABLE: ModelUnavailableError,
    _Code.DEADLINE_EXCEEDED: ModelTimeoutError,
    _Code.RESOURCE_EXHAUSTED: ModelUnavailableError,
    _Code.ABORTED: ModelUnavailableError,
    _Code.CANCELLED: ModelUnavailableError,
    # The server is misconfigured: no image is at fault, and an operator can fix it.
    _Code.UNIMPLEMENTED: ModelUnavailableError,
    _Code.UNAUTHENTICATED: ModelUnavailableError,
    _Code.PERMISSION_DENIED: ModelUnavailableError,
    _Code.NOT_FOUND: VersionGoneError,
    # One row of the batch may be the cause: the caller can split the batch.
    _Code.INVALID_ARGUMENT: RowsRejectedError,
    _Code.INTERNAL: RowsRejectedError,
    _Code.UNKNOWN: RowsRejectedError,
    _Code.OUT_OF_RANGE: RowsRejectedError,
    _Code.FAILED_PRECONDITION: RowsRejectedError,
    _Code.DATA_LOSS: RowsRejectedError,
    _Code.ALREADY_EXISTS: RowsRejectedError,
}

_SETUP_ADVICE: Final = {
    _Code.UNIMPLEMENTED: " Is this the gRPC port of a TensorFlow Serving?",
    _Code.UNAUTHENTICATED: " The server wants credentials: is a proxy in between?",
    _Code.PERMISSION_DENIED: " The server refuses this client: is a proxy in between?",
}

# What TensorFlow says if a tensor of the graph does not fit. An overloaded server says other things: a full batch queue
# is UNAVAILABLE, gRPC's own exhausted threads are RESOURCE_EXHAUSTED "Server Threadpool Exhausted".
_OUT_OF_MEMORY: Final = re.compile(r"\bOOM\b|out of memory|not enough memory|failed to allocate memory", re.IGNORECASE)


_TOO_LARGE: Final = "message larger than max"  # so gRPC says it: it refuses a message before it reads it


def translate(code: grpc.StatusCode, details: str, *, doing: str) -> ModelError:
    """Return the error for a failed call. `doing` describes the call for the message, such as `asking x for y`."""
    if code is _Code.RESOURCE_EXHAUSTED and _TOO_LARGE in details:
        return RowsRejectedError(f"The answer is larger than the contract allows ({details}), while {doing}.")
    text = f"{code.name} while {doing}: {details or 'no details'}.".replace("..", ".")
    if code is _Code.RESOURCE_EXHAUSTED and _OUT_OF_MEMORY.search(details):
        return ModelOutOfMemoryError(f"{text} Give the model server more memory, or the model a smaller input.")
    return ERROR_OF.get(code, RowsRejectedError)(text + _SETUP_ADVICE.get(code, ""))
