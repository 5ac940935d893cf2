"""The client's connection: requests sent until they are answered or hopeless, and every failure the project's own."""

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
    """HTTP to one API. Every request must be one that may arrive twice: one may be sent again after it was received.

    A request that may succeed later is sent again, for `patience` seconds, with growing pauses or as long apart as the
    server says (`Retry-After`). `alive` is called before each pause, and may raise. An address where nothing has ever
    answered is not waited for.
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
            raise InvalidUrlError(f"{base_url!r} is no URL: {error}.") from error
        here = is_loopback(host)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if here:
            headers["Accept-Encoding"] = "identity"  # on one machine packing costs more than it saves
        self.http = httpx.Client(
            base_url=self.base_url,
            timeout=httpx.Timeout(timeout, connect=5.0),
            transport=transport,
            headers=headers,
            trust_env=not here,  # a proxy of the environment cannot reach this machine's own loopback
        )
        self._patience = patience
        self._alive = alive
        self._reached = False

    def call(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401  httpx's arguments
        """The successful answer to a request; raises ApiError, ConnectionFailedError."""
        patience = self.patience()
        while True:
            try:
                response = self.once(method, path, **request)
                if response.is_success:
                    return response
                raise problem(response)
            except (ApiError, ConnectionFailedError) as error:
                patience.spend(error)

    def once(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401  likewise
        """Whatever is answered to a request that is sent once; raises ConnectionFailedError."""
        with self._translated():
            response = self.http.request(method, path, **request)
        self._reached = True
        return response

    @contextmanager
    def stream(self, path: str, **request: Any) -> Iterator[httpx.Response]:  # noqa: ANN401  likewise
        """The answer to a GET, to be read in pieces; raises ApiError, ConnectionFailedError also where it breaks."""
        with self._translated(), self.http.stream("GET", path, **request) as response:
            self._reached = True
            if not response.is_success:
                response.read()
                raise problem(response)
            yield response

    def patience(self) -> Patience:
        """The patience for one request."""
        return Patience(self._patience, self._alive, lambda: self._reached)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            self._reached |= not isinstance(error, httpx.ConnectTimeout)
            raise ConnectionFailedError(f"{self.base_url} did not answer in time.") from error
        except httpx.ConnectError as error:
            raise ConnectionFailedError(
                f"Nothing answers at {self.base_url} ({error}): is the server running there?"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._reached |= isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
            raise ConnectionFailedError(f"The connection to {self.base_url} broke: {error}.") from error


class Patience:
    """How long one request is tried again, counted from its first failure after its last progress."""

    def __init__(self, seconds: float, alive: Callable[[], None], reached: Callable[[], bool]) -> None:
        self._seconds = seconds
        self._alive = alive
        self._reached = reached
        self.renew()

    def renew(self) -> None:
        """Begin anew: there was progress."""
        self._tries = 0
        self._gives_up: float | None = None

    def spend(self, error: ApiError | ConnectionFailedError) -> None:
        """Pause after a failure; raises it where trying again would not help, or no patience is left."""
        self._alive()
        now = time.monotonic()
        self._gives_up = now + self._seconds if self._gives_up is None else self._gives_up
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._tries) * random.uniform(0.5, 1.0)  # noqa: S311  no secret
        if isinstance(error, ApiError):
            pause = max(pause, error.retry_after)
        if not error.retryable or not self._reached() or now + pause > self._gives_up:
            raise error
        self._tries += 1
        time.sleep(pause)


def problem(response: httpx.Response) -> ApiError:
    """The error that a response is: the problem it carries, or that it is from something else than this API."""
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
        detail = f"{response.url} answered {response.status_code} {response.reason_phrase}, and not as Shelfline does."
        return ApiError(response.status_code, "unexpected_answer", detail, retryable=retryable, retry_after=retry_after)


def read_document(kind: type[_Document], response: httpx.Response) -> _Document:
    """A successful answer as a document; raises ApiError where it is something else."""
    try:
        return kind.model_validate_json(response.content)
    except ValueError as error:
        raise problem(response) from error
