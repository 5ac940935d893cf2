"""Errors that refuse a caller: a missing or invalid key, a missing scope, or a limit that is reached."""

from __future__ import annotations

from typing import Final

from api.http.errors import RefusedError
from serving.errors import ShelflineError
from workers.results.baidu import BaiduCode
from workers.store.api_keys import Scope

_CHALLENGE: Final = 'Bearer realm="shelfline"'


class KeyMissingError(RefusedError):
    """Raised when a request needs an API key and has none."""

    code = "key_missing"
    headers = {"WWW-Authenticate": _CHALLENGE}  # noqa: RUF012  never changed

    def __init__(self) -> None:
        super().__init__("This API requires a key. Send it as `Authorization: Bearer sl_...`.")


class KeyInvalidError(RefusedError):
    """Raised when an API key is unknown, revoked or expired."""

    code = "key_invalid"
    headers = {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'}  # noqa: RUF012  never changed

    def __init__(self) -> None:
        super().__init__("This key is unknown, revoked or expired. Ask the owner of this server for a new one.")


class ScopeMissingError(RefusedError):
    """Raised when an API key lacks the scope that the request needs."""

    code = "scope_missing"

    def __init__(self, needed: Scope) -> None:
        super().__init__(f"This request needs a key with the scope `{needed.value}`, which your key does not have.")
        self.headers = {"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{needed.value}"'}


class RateLimitedError(RefusedError):
    """Raised when an API key has sent as many requests in a time as it may."""

    code = "rate_limited"
    retryable = True

    def __init__(self, quota: int, window: int, reset: int) -> None:
        super().__init__(f"This key may send {quota} requests per {window} s. Send this one again in {reset} s.")
        self.headers = {"Retry-After": str(reset)}


class ConcurrencyLimitedError(RefusedError):
    """Raised when an API key has as many concurrent requests as it may."""

    code = "concurrency_limited"
    retryable = True
    headers = {"Retry-After": "1"}  # noqa: RUF012  never changed

    def __init__(self, max_requests: int) -> None:
        super().__init__(f"This key may have {max_requests} concurrent requests. Wait for one to be answered.")


class RobotError(ShelflineError):
    """Raised when a robot's request must be answered with `error`, one of Baidu's errors."""

    code = "robot_refused"

    def __init__(self, error: BaiduCode, detail: str) -> None:
        super().__init__(detail)
        self.error = error
