"""The errors of the server: a gRPC status code and a message, in TF Serving's words."""

from __future__ import annotations

from functools import partial
from typing import Final

import grpc

_MESSAGE_LIMIT: Final = 1024
_CODE_BY_NUMBER: Final = {code.value[0]: code for code in grpc.StatusCode}


class StatusError(Exception):
    """Raised when a call ends with a status other than OK."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class LoadError(Exception):
    """Raised when a version's folder cannot be served; `code` is TensorFlow's number of the kind of error."""

    def __init__(self, message: str, code: int = grpc.StatusCode.UNKNOWN.value[0]) -> None:
        super().__init__(message)
        self.code = code

    @property
    def first_line(self) -> str:
        """What went wrong, without what TensorFlow adds for its developers."""
        return str(self).strip().partition("\n")[0]


class SetupError(Exception):
    """Raised when the server cannot start as it was told to; the message is one line."""


# Each makes the error of a status, given the message.
invalid_argument: Final = partial(StatusError, grpc.StatusCode.INVALID_ARGUMENT)  # the request is wrong
failed_precondition: Final = partial(StatusError, grpc.StatusCode.FAILED_PRECONDITION)  # it does not fit the model
not_found: Final = partial(StatusError, grpc.StatusCode.NOT_FOUND)  # the model or the version is not served
resource_exhausted: Final = partial(StatusError, grpc.StatusCode.RESOURCE_EXHAUSTED)  # not enough memory or time
unavailable: Final = partial(StatusError, grpc.StatusCode.UNAVAILABLE)  # the server is overloaded now
unimplemented: Final = partial(StatusError, grpc.StatusCode.UNIMPLEMENTED)  # the embedded server cannot do that
unknown: Final = partial(StatusError, grpc.StatusCode.UNKNOWN)  # no other status fits


def from_number(number: int, message: str) -> StatusError:
    """Convert an error number of TensorFlow's runtime, which equals gRPC's. An unknown number or OK becomes UNKNOWN."""
    code = _CODE_BY_NUMBER.get(number, grpc.StatusCode.UNKNOWN)
    return StatusError(grpc.StatusCode.UNKNOWN if code is grpc.StatusCode.OK else code, message)


def truncated(message: str) -> str:
    """Cut a message to 1024 characters plus `...TRUNCATED`, as grpc_status_util.cc does: headers are bounded."""
    return message if len(message) <= _MESSAGE_LIMIT else message[:_MESSAGE_LIMIT] + "...TRUNCATED"
