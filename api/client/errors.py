"""Errors that the Python client raises."""

from __future__ import annotations

from serving.errors import ShelflineError


class ConnectionFailedError(ShelflineError):
    """Raised by the client when the API cannot be reached, or the connection breaks."""

    code = "connection_failed"
    retryable = True


class InvalidUrlError(ShelflineError):
    """Raised by the client when its address is not a URL."""

    code = "invalid_url"


class ApiError(ShelflineError):
    """Raised by the client when the API answers with a problem. `code`, `detail` and `status` are those of the API."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        retryable: bool = False,
        request_id: str = "",
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code  # type: ignore[misc]  # other errors have it in the class
        self.detail = detail
        self.retryable = retryable  # type: ignore[misc]  # other errors have it in the class
        self.request_id = request_id
        self.retry_after = retry_after  # seconds
