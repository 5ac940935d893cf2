"""Malformed requests: bytes that are not HTTP, broken bodies and addresses, and clients that send too slowly."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes
from wsgiref.types import InputStream, StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, request
from gunicorn.http import errors as http

from api.http.errors import (
    ExpectationFailedError,
    HeadersTooLargeError,
    InvalidRequestError,
    NotFoundError,
    RequestTimeoutError,
    UnsupportedTransferCodingError,
    UrlTooLongError,
)
from serving.errors import ShelflineError

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

# Gunicorn's own messages quote the request, which may contain a key. So each error gets a message of ours.
_REFUSALS: dict[type[Exception], ShelflineError] = {
    http.LimitRequestLine: UrlTooLongError("The request line is too long. Send long values in the body."),
    http.LimitRequestHeaders: HeadersTooLargeError("The request has too many headers, or too long ones."),
    http.UnsupportedTransferCoding: UnsupportedTransferCodingError(
        "The Transfer-Encoding is not supported. Send `chunked`."
    ),
    http.ExpectationFailed: ExpectationFailedError("The header Expect is not supported. Send `100-continue`, or none."),
    http.InvalidRequestLine: InvalidRequestError("The request line is not HTTP. Send `METHOD /path HTTP/1.1`."),
    http.InvalidRequestMethod: InvalidRequestError("The method of the request is invalid."),
    http.InvalidHTTPVersion: InvalidRequestError("The HTTP version of the request is not supported. Send HTTP/1.1."),
    http.InvalidHeaderName: InvalidRequestError("The name of a header is invalid."),
    http.ObsoleteFolding: InvalidRequestError("A header continues on a second line. Send it in one line."),
    http.InvalidHeader: InvalidRequestError("A header is malformed, or occurs twice."),
    http.InvalidChunkSize: InvalidRequestError("The chunked body is broken: the size of a chunk is invalid."),
    http.InvalidChunkExtension: InvalidRequestError("The chunked body is broken: the extension of a chunk is invalid."),
    http.ChunkMissingTerminator: InvalidRequestError(
        "The chunked body is broken: a chunk does not end where its size says."
    ),
    http.NoMoreData: InvalidRequestError("The connection closed before the end of the body."),
    http.ParseException: InvalidRequestError("The request is not HTTP."),
}


SLOW_CLIENT = RequestTimeoutError("The request did not arrive in time. Send it without pauses.")


class SlowClientError(http.ParseException):  # type: ignore[misc]  # gunicorn carries no types
    """Raised when a client takes too long to send the request that it began."""


def refusal(error: Exception) -> ShelflineError | None:
    """Return the error to answer a request that gunicorn could not read; None if the client is not at fault."""
    if isinstance(error, SlowClientError):
        return SLOW_CLIENT
    if isinstance(error, http.ConfigurationProblem):
        return None
    return next((refused for kind, refused in _REFUSALS.items() if isinstance(error, kind)), None)


class BodyInput:
    """The body of a request as a stream; gunicorn's errors are translated into the API's own.

    It has only `read`, because Werkzeug's limited stream reads it, and calls nothing else.
    """

    def __init__(self, stream: InputStream) -> None:
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes, or all if it is negative; raises InvalidRequestError, RequestTimeoutError."""
        try:
            return self._stream.read(size)
        except (http.ParseException, http.NoMoreData) as error:
            raise (refusal(error) or error) from error


def register_malformed(app: Flask) -> None:
    """Make an application answer broken bodies and addresses with client errors (4xx)."""
    inner: WSGIApplication = app.wsgi_app

    def with_checked_input(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.input"] = BodyInput(environ["wsgi.input"])
        return inner(environ, start_response)

    app.wsgi_app = with_checked_input  # type: ignore[method-assign]  # Flask's way to add a middleware
    app.url_map.merge_slashes = False  # `//` makes a different address, so it gets no redirect
    app.before_request(_check_address)


def _check_address() -> None:
    """Check that the address decodes to UTF-8 without NUL, and that HTTP/1.1 requests have a Host header.

    Raises InvalidRequestError, NotFoundError. Without this check, Flask would silently read a broken address as a
    different one.
    """
    if "HTTP_HOST" not in request.environ and request.environ.get("SERVER_PROTOCOL") == "HTTP/1.1":
        raise InvalidRequestError("The request has no Host header. HTTP/1.1 requires one.")
    if str(request.environ.get("PATH_INFO", "")).startswith("//"):  # werkzeug would take it for one slash
        raise NotFoundError("There is nothing at an address that begins with two slashes. Send one.")
    address = str(request.environ.get("RAW_URI", ""))
    if _BROKEN_ESCAPE.search(address):
        raise InvalidRequestError(
            "The address has a `%` that two hex digits do not follow. Send a literal `%` as `%25`."
        )
    decoded = unquote_to_bytes(address)
    try:
        decoded.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError("The address is not UTF-8 once it is decoded.") from error
    if b"\0" in decoded:
        raise InvalidRequestError("The address has a NUL byte.")
