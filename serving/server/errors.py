"""What the server answers instead of a result: a status code and a message, as TF Serving words it."""

from __future__ import annotations

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


def invalid_argument(message: str) -> StatusError:
    """The request is wrong."""
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def failed_precondition(message: str) -> StatusError:
    """The request asks for what the model does not have."""
    return StatusError(grpc.StatusCode.FAILED_PRECONDITION, message)


def not_found(message: str) -> StatusError:
    """The model or the version is not served."""
    return StatusError(grpc.StatusCode.NOT_FOUND, message)


def resource_exhausted(message: str) -> StatusError:
    """There is not enough memory or time."""
    return StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


def unavailable(message: str) -> StatusError:
    """The server has too much to do just now."""
    return StatusError(grpc.StatusCode.UNAVAILABLE, message)


def unimplemented(message: str) -> StatusError:
    """This is not done here."""
    return StatusError(grpc.StatusCode.UNIMPLEMENTED, message)


def unknown(message: str) -> StatusError:
    """Nothing better is known."""
    return StatusError(grpc.StatusCode.UNKNOWN, message)


def from_number(number: int, message: str) -> StatusError:
    """The error of TensorFlow's runtime, whose codes are gRPC's by number; a number it does not have is UNKNOWN."""
    code = _CODE_BY_NUMBER.get(number, grpc.StatusCode.UNKNOWN)
    return StatusError(grpc.StatusCode.UNKNOWN if code is grpc.StatusCode.OK else code, message)


def truncated(message: str) -> str:
    """A message as it goes out: a header's size is bounded (grpc_status_util.cc)."""
    return message if len(message) <= _MESSAGE_LIMIT else message[:_MESSAGE_LIMIT] + "...TRUNCATED"
