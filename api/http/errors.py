"""Errors of HTTP requests."""

from __future__ import annotations

from collections.abc import Mapping

from serving.errors import ShelflineError


class InvalidRequestError(ShelflineError):
    """Raised when a request cannot be parsed, or a field of it has an invalid value."""

    code = "invalid_request"


class UnknownFieldError(InvalidRequestError):
    """Raised when a request has a field that the API does not know. No field is ignored: it may be misspelt."""

    code = "unknown_field"


class UnprocessableError(InvalidRequestError):
    """Raised when a value is well formed, but refers to nothing, such as an index beyond a job's images."""

    code = "unprocessable"


class UnsupportedMediaTypeError(InvalidRequestError):
    """Raised when the route does not take the media type of the body."""

    code = "unsupported_media_type"


class NotAcceptableError(InvalidRequestError):
    """Raised when the route has no media type that the caller accepts."""

    code = "not_acceptable"


class RequestTooLargeError(InvalidRequestError):
    """Raised when the body of a request is larger than the route takes."""

    code = "request_too_large"


class NotFoundError(InvalidRequestError):
    """Raised when there is nothing at an address."""

    code = "not_found"


class MethodNotAllowedError(InvalidRequestError):
    """Raised when an address does not support the method; the header `Allow` lists those that it supports."""

    code = "method_not_allowed"


class UrlTooLongError(InvalidRequestError):
    """Raised when the request line is longer than the server reads."""

    code = "url_too_long"


class HeadersTooLargeError(InvalidRequestError):
    """Raised when a request has more headers, or longer ones, than the server reads."""

    code = "headers_too_large"


class RequestTimeoutError(InvalidRequestError):
    """Raised when a client takes too long to send its request."""

    code = "request_timeout"
    retryable = True


class UnsupportedTransferCodingError(InvalidRequestError):
    """Raised when the `Transfer-Encoding` of a body is not supported."""

    code = "unsupported_transfer_coding"


class ExpectationFailedError(InvalidRequestError):
    """Raised when the header `Expect` of a request asks for something that the server cannot do."""

    code = "expectation_failed"


class NotReadyError(ShelflineError):
    """Raised when something that the API depends on does not work; `checks` has `ok` or the problem of each part."""

    code = "not_ready"
    retryable = True


class ModelNotFoundError(ShelflineError):
    """Raised when there is no model with this name."""

    code = "model_not_found"


class SpoolFullError(ShelflineError):
    """Raised when an upload cannot be written to the API's temporary folder."""

    code = "upload_storage_full"
    retryable = True
    retry_after = 30  # seconds; space comes back only when other requests end, or somebody makes room


class BusyError(ShelflineError):
    """Raised when the server already handles as many requests of this kind as it can."""

    code = "busy"
    retryable = True


class TooManyConnectionsError(ShelflineError):
    """Raised when an address or an API key has as many connections as it may."""

    code = "too_many_connections"
    retryable = True


class ItemNotFinishedError(ShelflineError):
    """Raised when an image has no result yet."""

    code = "item_not_finished"
    retryable = True


class ItemFailedError(ShelflineError):
    """Raised when an image has no detections to draw, because it failed or its job was canceled."""

    code = "item_failed"


class HostNotAllowedError(ShelflineError):
    """Raised when an API that requires no key is called by another host name, or by a page of another site."""

    code = "host_not_allowed"


class RefusedError(ShelflineError):
    """Base of the errors that refuse a caller; `headers` are added to the response."""

    headers: Mapping[str, str] = {}
