"""Error responses as RFC 9457 problem+json, and the table that gives each error code its HTTP status."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from flask import Flask, Response
from pydantic import BaseModel, ConfigDict, Field
from werkzeug.exceptions import HTTPException

from api.http.errors import BusyError, RefusedError, SpoolFullError
from api.http.request_ids import request_id
from serving.errors import ShelflineError
from workers.errors import RetryLaterError, StoreUnavailableError
from workers.telemetry.masking import mask_keys

PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1

# Errors that are not listed never answer a request: they belong to commands, to the Python client or to the start.
_CODES_BY_STATUS: Mapping[int, tuple[str, ...]] = {
    400: ("duplicate_custom_id", "invalid_request", "unknown_field"),
    401: ("key_invalid", "key_missing"),
    403: ("folder_not_allowed", "host_not_allowed", "output_not_allowed", "scope_missing", "source_not_allowed"),
    404: ("delivery_not_found", "item_not_found", "job_not_found", "model_not_found", "not_found", "webhook_not_found"),
    405: ("method_not_allowed",),
    406: ("not_acceptable",),
    408: ("request_timeout",),
    409: ("idempotency_in_flight", "image_changed", "item_failed", "item_not_finished", "job_state", "webhook_state"),
    410: ("job_gone",),
    413: ("archive_too_large", "request_too_large", "too_many_bytes", "too_many_images"),
    414: ("url_too_long",),
    415: ("unsupported_media_type",),
    417: ("expectation_failed",),
    422: (
        "archive_entry_refused",
        "archive_invalid",
        "fetch_blocked",
        "fetch_failed",
        "folder_not_found",
        "idempotency_mismatch",
        "image_decode_failed",
        "image_missing",
        "image_too_large",
        "item_invalid",
        "manifest_invalid",
        "no_images",
        "output_unusable",
        "request_blocked",
        "request_failed",
        "source_unreadable",
        "unknown_model",
        "unprocessable",
        "unsupported_format",
        "version_gone",
    ),
    429: ("concurrency_limited", "rate_limited", "too_many_connections"),
    431: ("headers_too_large",),
    500: ("crashed_worker", "internal_error"),
    501: ("unsupported_transfer_coding",),
    502: ("contract_invalid", "model_error"),
    503: (
        "busy",
        "model_out_of_memory",
        "model_unavailable",
        "not_ready",
        "queue_full",
        "store_unavailable",
        "upload_storage_full",
        "wait_too_long",
    ),
    504: ("deadline_exceeded", "image_timeout"),
}
STATUS_BY_CODE: Mapping[str, int] = {code: status for status, codes in _CODES_BY_STATUS.items() for code in codes}

# The errors of Flask and werkzeug: code and detail by status; '' takes the detail of the error itself.
_OF_HTTP: Mapping[int, tuple[str, str]] = {
    404: ("not_found", "There is nothing at this address. /openapi.json lists all addresses."),
    405: ("method_not_allowed", "This address does not support the method. The header Allow lists those it supports."),
    413: ("request_too_large", "The body is larger than this address takes."),
    415: ("unsupported_media_type", ""),
}

_NO_FILES = frozenset((errno.EMFILE, errno.ENFILE))

_log = structlog.get_logger(__name__)


class ProblemDocument(BaseModel):
    """An RFC 9457 problem. Some codes have more members."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str = Field(description="What is wrong and what to do.")
    code: str
    request_id: str
    retryable: bool = Field(description="Whether the same request may succeed later.")


def problem(code: str, detail: str, *, status: int | None = None, retryable: bool = False, **more: object) -> Response:
    """Return a problem+json response (RFC 9457); `more` are extension members. A 503 gets `Retry-After`."""
    status = status or STATUS_BY_CODE[code]
    body = problem_document(code, detail, status, request_id(), retryable=retryable, **more)
    response = Response(body, status, mimetype=PROBLEM_TYPE)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def problem_document(code: str, detail: str, status: int, request_id: str, *, retryable: bool, **more: object) -> str:
    """Return the body of a problem as JSON text.

    The text is ASCII, because `detail` may quote the request, and a lone surrogate in it cannot be encoded as UTF-8.
    """
    document = ProblemDocument(
        type=f"urn:shelfline:problem:{code}",
        title=code.replace("_", " ").capitalize(),
        status=status,
        detail=mask_keys(detail),
        code=code,
        request_id=request_id,
        retryable=retryable,
        **more,
    )
    return json.dumps(document.model_dump()) + "\n"


def register_problems(app: Flask) -> None:
    """Make an application answer every error with a problem, including Flask's own errors."""
    app.register_error_handler(ShelflineError, _of_project)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(Exception, _unexpected)


def _of_project(error: ShelflineError) -> Response:
    status = STATUS_BY_CODE.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return _unexpected(error)
    if status > HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("request failed", code=error.code, detail=str(error), cause=str(error.__cause__ or ""))
    response = problem(error.code, str(error), retryable=error.retryable)
    if isinstance(error, RetryLaterError | SpoolFullError | StoreUnavailableError):
        response.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, RefusedError):
        response.headers.extend(error.headers)
    return response


def _of_http(error: HTTPException) -> Response:
    status = error.code or 500
    otherwise = "invalid_request" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "internal_error"
    code, detail = _OF_HTTP.get(status, (otherwise, ""))
    detail = detail or error.description or HTTPStatus(status).phrase
    response = problem(code, detail, status=status)
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:  # 405 carries Allow
            response.headers.add(name, value)
    return response


def _unexpected(error: Exception) -> Response:
    if isinstance(error, OSError) and error.errno in _NO_FILES:
        _log.warning("request failed", code=BusyError.code, cause=str(error))
        detail = "The server has as many files open as it may. Send the request again later."
        return problem(BusyError.code, detail, retryable=True)
    _log.error("request failed", exc_info=error)
    return problem("internal_error", "The server failed to answer. Its log has the cause, under the request id.")
