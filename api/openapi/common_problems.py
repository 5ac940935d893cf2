"""The problems that many routes share, and the introduction of the OpenAPI document, which lists some of them."""

from __future__ import annotations

from api.access import refusals
from api.http import errors as http
from api.openapi.responses import problem_list
from serving.errors import ShelflineError
from workers import errors

Problems = tuple[type[ShelflineError], ...]

# Raised before routing, so robots get them too.
OF_EVERY_ADDRESS: Problems = (http.UrlTooLongError, http.HeadersTooLargeError)
OF_EVERY_ROUTE: Problems = (
    http.InvalidRequestError,
    http.UnknownFieldError,
    http.HostNotAllowedError,
    *OF_EVERY_ADDRESS,
)
OF_EVERY_KEY: Problems = (
    refusals.KeyMissingError,
    refusals.KeyInvalidError,
    refusals.ScopeMissingError,
    refusals.RateLimitedError,
    refusals.ConcurrencyLimitedError,
    errors.StoreUnavailableError,  # where keys are looked up, and what all these routes read
)
OF_EVERY_BODY: Problems = (http.RequestTooLargeError, http.UnsupportedMediaTypeError)

OF_A_JOB: Problems = (errors.JobNotFoundError, errors.JobGoneError)
OF_AN_ITEM: Problems = (errors.ItemNotFoundError, *OF_A_JOB)
OF_AN_IMAGE: Problems = (errors.ImageDecodeError, errors.ImageTooLargeError, errors.UnsupportedFormatError)
OF_OUTPUT: Problems = (errors.OutputNotAllowedError, errors.OutputUnusableError)
OF_A_SUBMISSION: Problems = (errors.NoImagesError, errors.QueueFullError, http.SpoolFullError)
OF_OPTIONS: Problems = (
    errors.IdempotencyInFlightError,
    errors.IdempotencyMismatchError,
    errors.JobGoneError,  # the job of an idempotency key
    errors.UnknownModelError,
    http.UnprocessableError,
)
OF_SOURCES: Problems = (
    errors.ArchiveError,
    errors.ArchiveTooLargeError,
    errors.DuplicateIdError,
    errors.FolderNotAllowedError,
    errors.FolderNotFoundError,
    errors.ManifestError,
    errors.SourceNotAllowedError,
    errors.SourceUnreadableError,
    errors.TooManyBytesError,
    errors.TooManyImagesError,
)
OF_A_SYNCHRONOUS_CALL: Problems = (
    http.BusyError,
    errors.DeadlineExceededError,
    errors.WaitTooLongError,
    errors.WorkerCrashedError,
    *OF_AN_IMAGE,
)

OF_ANY_REQUEST: Problems = (
    http.NotFoundError,
    http.MethodNotAllowedError,
    http.RequestTimeoutError,
    http.ExpectationFailedError,
    http.TooManyConnectionsError,
    http.BusyError,
    http.UnsupportedTransferCodingError,
)

ABOUT = f"""Detects products in shelf photos, in bulk and on demand.

Every error is an RFC 9457 problem (`application/problem+json`). Programs act on its `code`, people read its `detail`.
Its `request_id` identifies the request in the server's log, and `retryable` says whether the same request may succeed
later. Each operation lists its own problems. Any request may also be answered with these:

{problem_list(OF_ANY_REQUEST)}
- `internal_error` (500): when the server is at fault; its log has the request id and the cause."""
