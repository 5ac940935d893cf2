"""The client's connection: retries, and httpx's errors translated into the client's own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from api.client.errors import ApiError, ConnectionFailedError, InvalidUrlError
from workers.io.public_addresses import is_loopback
from workers.jobs.document import Document

_Document = TypeVar("_Document", bound=Document)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0  # seconds


class Connection:
    """An HTTP connection to one API.

    A request that may succeed later is sent again for `patience` seconds, with growing pauses, which are at least as
    long as the server's `Retry-After`. So a request may reach the server twice, and it must be safe to repeat. `alive`
    is called before each pause; it may raise an error to stop the tries. A request is not sent again if the address
    has never answered.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None,
        timeout: float,
        patience: float,
        alive: Callable[[], None],
        transport: httpx.BaseTransport | None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        try:
            host = urlsplit(self.base_url).hostname or ""
        except ValueError as error:
            raise InvalidUrlError(f"{base_url!r} is not a URL: {error}.") from error
        same_machine = is_loopback(host)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if same_machine:
            headers["Accept-Encoding"] = "identity"  # on the same machine, compression costs more time than it saves
        self.http = httpx.Client(
            base_url=self.base_url,
            timeout=httpx.Timeout(timeout, connect=5.0),
            transport=transport,
            headers=headers,
            trust_env=not same_machine,  # a proxy from the environment cannot reach this machine's loopback
        )
        self.patience_seconds = patience
        self.alive = alive
        self.reached = False  # whether the address has ever answered

    def call(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401  httpx's arguments
        """Send a request until it succeeds, and return the response; raises ApiError, ConnectionFailedError."""
        patience = self.patience()
        while True:
            try:
                response = self.once(method, path, **request)
                if response.is_success:
                    return response
                raise problem(response)
            except (ApiError, ConnectionFailedError) as error:
                patience.spend(error)

    def once(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401  httpx's arguments
        """Send a request once and return the response, whatever its status; raises ConnectionFailedError."""
        with self._translated():
            response = self.http.request(method, path, **request)
        self.reached = True
        return response

    @contextmanager
    def stream(self, path: str, **request: Any) -> Iterator[httpx.Response]:  # noqa: ANN401  httpx's arguments
        """Send a GET once and yield the response, to be read in pieces.

        Raises ApiError, and ConnectionFailedError, also if the connection breaks while the response is read.
        """
        with self._translated(), self.http.stream("GET", path, **request) as response:
            self.reached = True
            if not response.is_success:
                response.read()
                raise problem(response)
            yield response

    def patience(self) -> Patience:
        """Return a new retry budget for one request."""
        return Patience(self)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            self.reached |= not isinstance(error, httpx.ConnectTimeout)
            raise ConnectionFailedError(f"{self.base_url} did not answer in time.") from error
        except httpx.ConnectError as error:
            raise ConnectionFailedError(
                f"Nothing answers at {self.base_url} ({error}): start the server there, or correct the URL."
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self.reached |= isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
            raise ConnectionFailedError(f"The connection to {self.base_url} broke: {error}.") from error


class Patience:
    """The retry budget of one request, in seconds from its first failure after its last progress."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.renew()

    def renew(self) -> None:
        """Reset the budget, because the request made progress."""
        self._tries = 0
        self._give_up: float | None = None

    def spend(self, error: ApiError | ConnectionFailedError) -> None:
        """Pause before the next try; raises `error` if another try would not help or the budget is used up."""
        self._connection.alive()
        now = time.monotonic()
        self._give_up = now + self._connection.patience_seconds if self._give_up is None else self._give_up
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._tries) * random.uniform(0.5, 1.0)  # noqa: S311  no secret
        if isinstance(error, ApiError):
            pause = max(pause, error.retry_after)
        if not error.retryable or not self._connection.reached or now + pause > self._give_up:
            raise error
        self._tries += 1
        time.sleep(pause)


def problem(response: httpx.Response) -> ApiError:
    """Return an error response as ApiError.

    If the response is not a problem document, the error has the code `unexpected_answer`.
    """
    after = response.headers.get("Retry-After", "")
    retry_after = float(after) if after.isascii() and after.isdigit() else 0.0
    try:
        body = response.json()
        return ApiError(
            response.status_code,
            str(body["code"]),
            str(body["detail"]),
            retryable=bool(body.get("retryable")),
            request_id=str(body.get("request_id", "")),
            retry_after=retry_after,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        retryable = response.status_code in {429, 502, 503, 504}
        status = f"{response.status_code} {response.reason_phrase}"
        detail = f"{response.url} answered {status}, and not as Shelfline does: check the URL."
        return ApiError(response.status_code, "unexpected_answer", detail, retryable=retryable, retry_after=retry_after)


def read_document(kind: type[_Document], response: httpx.Response) -> _Document:
    """Parse a successful response as a document; raises ApiError if it is not one."""
    try:
        return kind.model_validate_json(response.content)
    except ValueError as error:
        raise problem(response) from error
