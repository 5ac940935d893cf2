"""Errors of HTTP requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from serving.errors import ShelflineError


class InvalidRequestError(ShelflineError):
    """Raised when a request cannot be understood, or a field of it has a wrong value."""

    code: ClassVar[str] = "invalid_request"


class UnknownFieldError(InvalidRequestError):
    """Raised when a request has a field that the API does not know: a misspelt option must not be ignored."""

    code: ClassVar[str] = "unknown_field"


class UnprocessableError(InvalidRequestError):
    """Raised when a value is well formed and yet stands for nothing here, as an index behind a job's end."""

    code: ClassVar[str] = "unprocessable"


class UnsupportedMediaTypeError(InvalidRequestError):
    """Raised when the body of a request is of a kind that the route does not take."""

    code: ClassVar[str] = "unsupported_media_type"


class NotAcceptableError(InvalidRequestError):
    """Raised when a caller accepts none of the media types that the route answers with."""

    code: ClassVar[str] = "not_acceptable"


class RequestTooLargeError(InvalidRequestError):
    """Raised when the body of a request is longer than the route takes."""

    code: ClassVar[str] = "request_too_large"


class NotFoundError(InvalidRequestError):
    """Raised when there is nothing at an address."""

    code: ClassVar[str] = "not_found"


class MethodNotAllowedError(InvalidRequestError):
    """Raised when an address does not take a method; the header `Allow` names those that it takes."""

    code: ClassVar[str] = "method_not_allowed"


class UrlTooLongError(InvalidRequestError):
    """Raised when the request line is longer than the server reads."""

    code: ClassVar[str] = "url_too_long"


class HeadersTooLargeError(InvalidRequestError):
    """Raised when a request has more headers, or longer ones, than the server reads."""

    code: ClassVar[str] = "headers_too_large"


class RequestTimeoutError(InvalidRequestError):
    """Raised when a client takes too long to send the request that it began."""

    code: ClassVar[str] = "request_timeout"
    retryable: ClassVar[bool] = True


class UnsupportedTransferCodingError(InvalidRequestError):
    """Raised when a body is encoded for its transfer in a way that is not known."""

    code: ClassVar[str] = "unsupported_transfer_coding"


class ExpectationFailedError(InvalidRequestError):
    """Raised when a request expects of the server what it cannot do."""

    code: ClassVar[str] = "expectation_failed"


class NotReadyError(ShelflineError):
    """Raised when a part of the chain behind the API is missing; `checks` says of each part what is wrong, or ok."""

    code: ClassVar[str] = "not_ready"
    retryable: ClassVar[bool] = True


class ModelNotFoundError(ShelflineError):
    """Raised when there is no model of that name."""

    code: ClassVar[str] = "model_not_found"


class SpoolFullError(ShelflineError):
    """Raised when an upload cannot be written to the API's temporary folder."""

    code: ClassVar[str] = "upload_storage_full"
    retryable: ClassVar[bool] = True


class BusyError(ShelflineError):
    """Raised when as much of a kind is under way as the server takes on at once."""

    code: ClassVar[str] = "busy"
    retryable: ClassVar[bool] = True


class ItemNotFinishedError(ShelflineError):
    """Raised when an image has no result yet."""

    code: ClassVar[str] = "item_not_finished"
    retryable: ClassVar[bool] = True


class ItemFailedError(ShelflineError):
    """Raised when an image has no detections to draw, since it failed or its job was canceled."""

    code: ClassVar[str] = "item_failed"


class HostNotAllowedError(ShelflineError):
    """Raised when a page of another site, or another name for this machine, calls an API that asks for no key."""

    code: ClassVar[str] = "host_not_allowed"


class RefusedError(ShelflineError):
    """Base of what turns a caller away; `headers` go with the answer."""

    headers: Mapping[str, str] = {}
