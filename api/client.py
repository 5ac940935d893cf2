"""The HTTP client: jobs submitted, waited for, read. Every failure is an error of the project's own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from api.binding import is_loopback
from api.errors import ApiError, ConnectionFailedError, InvalidUrlError
from api.multipart import MultipartUpload
from serving.errors import ShelflineError
from workers.documents import JobDocument

_RETRY_SECONDS = 0.25


class ShelflineClient:
    """A connection to one API. Every method raises ApiError for what the API refuses, and ConnectionFailedError."""

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None = None,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`base_url` as in http://127.0.0.1:5000, `key` as in sl_...; `timeout` in seconds, for each read and write."""
        self.base_url = base_url.rstrip("/")
        try:
            host = urlsplit(self.base_url).hostname or ""
        except ValueError as error:
            raise InvalidUrlError(f"{base_url!r} is no URL: {error}.") from error
        self._http = httpx.Client(
            base_url=self.base_url,
            timeout=httpx.Timeout(timeout, connect=5.0),
            transport=transport,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            # A proxy of the environment cannot reach this machine's own loopback.
            trust_env=not is_loopback(host),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def ready(self) -> dict[str, str]:
        """The checks of /readyz, name -> "ok" or what is wrong; raises ConnectionFailedError."""
        with self._translated():
            response = self._http.get("/readyz")
        if response.status_code not in {200, 503}:
            raise _problem(response)
        try:
            return dict(response.json()["checks"])
        except (ValueError, KeyError, TypeError) as error:
            raise _problem(response) from error

    def submit_folder(
        self,
        folder: str | Path,
        *,
        model: str | None = None,
        min_score: float | None = None,
        max_detections: int | None = None,
    ) -> JobDocument:
        """Submit a folder of the server's, by its absolute path there."""
        body = {"folder": str(folder), **_given(model, min_score, max_detections)}
        return _job(self._call("POST", "/v1/jobs", json=body))

    def submit_files(
        self,
        files: Iterable[tuple[str, Path]],
        *,
        model: str | None = None,
        min_score: float | None = None,
        max_detections: int | None = None,
    ) -> JobDocument:
        """Upload files, (name, path) each, as one job; one of them is open at a time.

        Raises OSError for a file that cannot be read.
        """
        fields = {name: str(value) for name, value in _given(model, min_score, max_detections).items()}
        body = MultipartUpload(files, fields)
        headers = {"Content-Type": body.content_type}
        # Behind the last byte the server stores every image before it answers: as long as that takes.
        patient = httpx.Timeout(self._http.timeout.write, connect=5.0, read=None)
        answer = self._call("POST", "/v1/jobs", content=body, headers=headers, timeout=patient)
        return _job(answer)

    def job(self, job_id: str, *, wait: float = 0.0) -> JobDocument:
        """A job as it stands, or up to `wait` seconds later if it has not ended."""
        params = {"wait": wait} if wait else None
        return _job(self._call("GET", f"/v1/jobs/{quote(job_id, safe='')}", params=params))

    def wait(
        self,
        job_id: str,
        *,
        every: float = 0.25,
        patience: float = 30.0,
        alive: Callable[[], None] = lambda: None,
    ) -> Iterator[JobDocument]:
        """The job's states, one every `every` seconds, up to the terminal one.

        An API that is away for less than `patience` seconds is waited for, unless `alive`, called meanwhile, raises.
        """
        away_since: float | None = None
        while True:
            try:
                job = self.job(job_id, wait=every)
            except (ConnectionFailedError, ApiError) as error:
                alive()
                now = time.monotonic()
                away_since = now if away_since is None else away_since
                if not error.retryable or now - away_since > patience:
                    raise
                time.sleep(_RETRY_SECONDS)
                continue
            away_since = None
            yield job
            if job.state.terminal:
                return

    def results(self, job_id: str, *, start: int = 0) -> Iterator[dict[str, Any]]:
        """The finished results from index `start` on, in input order.

        Raises ConnectionFailedError where they break off.
        """
        for line in self.result_lines(job_id, start=start):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ConnectionFailedError(
                    f"{self.base_url} sent a result that is not JSON: {line[:80]!r}."
                ) from error

    def result_lines(self, job_id: str, *, start: int = 0) -> Iterator[str]:
        """The same as text, a JSON object each, without its end of line."""
        with (
            self._translated(),
            self._http.stream("GET", f"/v1/jobs/{quote(job_id, safe='')}/results", params={"start": start}) as response,
        ):
            if response.is_error:
                response.read()
                raise _problem(response)
            rest = ""
            for text in response.iter_text():  # not iter_lines: it also breaks at U+2028, which JSON may hold
                *lines, rest = (rest + text).split("\n")
                yield from lines
            if rest:
                yield rest

    def _call(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401  httpx's arguments
        with self._translated():
            response = self._http.request(method, path, **request)
        if not response.is_success:
            raise _problem(response)
        return response

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise ConnectionFailedError(f"{self.base_url} did not answer in time.") from error
        except httpx.ConnectError as error:
            raise ConnectionFailedError(
                f"Nothing answers at {self.base_url} ({error}): is the server running there?"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ConnectionFailedError(f"The connection to {self.base_url} broke: {error}.") from error


def _given(model: str | None, min_score: float | None, max_detections: int | None) -> Mapping[str, Any]:
    options = {"model": model, "min_score": min_score, "max_detections": max_detections}
    return {name: value for name, value in options.items() if value is not None}


def _job(response: httpx.Response) -> JobDocument:
    try:
        return JobDocument.model_validate_json(response.content)
    except ValueError as error:
        raise _problem(response) from error


def _problem(response: httpx.Response) -> ShelflineError:
    """The error that a response is: the problem it carries, or that it is from something else than this API."""
    try:
        body = response.json()
        return ApiError(
            response.status_code,
            str(body["code"]),
            str(body["detail"]),
            retryable=bool(body.get("retryable")),
            request_id=str(body.get("request_id", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        retryable = response.status_code in {429, 502, 503, 504}
        detail = f"{response.url} answered {response.status_code} {response.reason_phrase}, and not as Shelfline does."
        return ApiError(response.status_code, "unexpected_answer", detail, retryable=retryable)
