"""The Python client of the HTTP API: submit, follow, read and change jobs."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack
from urllib.parse import parse_qsl, quote, urlsplit

import httpx

from api.client.connection import Connection, problem, read_document
from api.client.errors import ApiError, ConnectionFailedError
from api.client.events import JobEvent, parsed_events
from api.client.multipart_body import MultipartUpload
from api.client.webhooks import Webhooks
from serving.contract import Contract
from workers.jobs.document import JobDocument, JobsDocument
from workers.jobs.job import JobState
from workers.jobs.options import Lane, VersionFallback
from workers.results.formats.registry import FormatName

_IDEMPOTENCY_KEY = "Idempotency-Key"


class Options(TypedDict, total=False):
    """The options of a job, under the API's names; values of None are not sent."""

    model: str | None
    model_version: int | None
    version_fallback: VersionFallback | None
    min_score: float | None
    max_detections: int | None
    tiles: str | None
    overlap: float | None
    max_failure_rate: float | None
    cache: bool | None
    priority: Lane | None
    deadline_seconds: float | None
    metadata: Mapping[str, str] | None
    webhook: Mapping[str, Any] | None


class ShelflineClient:
    """A client of one API.

    Every method raises ApiError if the API answers with an error, or ConnectionFailedError if it cannot be reached.
    Requests that may succeed later are sent again, see connection.py. All tries of a submission carry the same
    idempotency key, so it makes only one job even if a response is lost.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None = None,
        timeout: float = 30.0,
        patience: float = 30.0,
        alive: Callable[[], None] = lambda: None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Create a client; raises InvalidUrlError.

        Args:
            base_url: Address of the API, as in http://127.0.0.1:5000.
            key: API key, as in sl_...
            timeout: Timeout of each read and write, in seconds.
            patience: How long a failed request is tried again, in seconds.
            alive: Called after each failed try; it may raise an error to stop the tries.
            transport: Replaces httpx's transport, for tests.
        """
        self._connection = Connection(
            base_url, key=key, timeout=timeout, patience=patience, alive=alive, transport=transport
        )
        self.base_url = self._connection.base_url
        self.webhooks = Webhooks(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.http.close()

    def ready(self) -> dict[str, str]:
        """Return the checks of /readyz: name -> "ok" or what is wrong. The request is sent only once."""
        response = self._connection.once("GET", "/readyz")
        try:
            return dict(response.json()["checks"])
        except (ValueError, KeyError, TypeError) as error:
            raise problem(response) from error

    def submit(self, body: Mapping[str, Any], *, idempotency_key: str | None = None) -> JobDocument:
        """Submit a job as JSON: `items`, `folder` or another source, and options; values of None are not sent."""
        fields = {name: value for name, value in body.items() if value is not None}
        headers = {_IDEMPOTENCY_KEY: idempotency_key or secrets.token_hex(16)}
        return _job(self._connection.call("POST", "/v1/jobs", json=fields, headers=headers))

    def submit_folder(self, folder: str | Path, **options: Unpack[Options]) -> JobDocument:
        """Submit a folder that the server can read, by its absolute path on the server."""
        return self.submit({"folder": str(folder), **options})

    def submit_files(
        self,
        files: Iterable[tuple[str, str | os.PathLike[str]]],
        *,
        idempotency_key: str | None = None,
        unreadable: Callable[[int, OSError], None] | None = None,
        **options: Unpack[Options],
    ) -> JobDocument:
        """Upload any number of files, each as (name, path), as one job; only one file is open at a time.

        Raises OSError if a file cannot be read. If `unreadable` is given, it is called instead with the number of the
        file and the error, and the bytes that could be read are sent.
        """
        return self._upload("images", files, idempotency_key, unreadable, options)

    def submit_manifest(
        self, manifest: Path, *, idempotency_key: str | None = None, **options: Unpack[Options]
    ) -> JobDocument:
        """Upload a manifest (JSON lines, or CSV with a header; one line per image) as a job; raises OSError."""
        return self._upload("manifest", [(manifest.name, manifest)], idempotency_key, None, options)

    def jobs(
        self, *, limit: int | None = None, state: JobState | None = None, model: str | None = None
    ) -> Iterator[JobDocument]:
        """Yield jobs, newest first, at most `limit`."""
        filters = {"state": state, "model": model}
        query = {name: str(value) for name, value in filters.items() if value is not None}
        query["limit"] = str(min(limit or 100, 100))
        remaining = limit
        while True:
            page = read_document(JobsDocument, self._connection.call("GET", "/v1/jobs", params=query))
            yield from page.data[:remaining]
            remaining = None if remaining is None else remaining - len(page.data)
            if page.next is None or (remaining is not None and remaining <= 0):
                return
            query = dict(parse_qsl(urlsplit(page.next).query))  # behind a proxy its host may differ from ours

    def job(self, job_id: str, *, wait: float = 0.0) -> JobDocument:
        """Return a job; wait up to `wait` seconds for its end first."""
        params = {"wait": wait} if wait else None
        return _job(self._connection.call("GET", _path(job_id), params=params))

    def wait(self, job_id: str, *, every: float = 0.25) -> Iterator[JobDocument]:
        """Yield the job every `every` seconds, until it has a terminal state."""
        while True:
            job = self.job(job_id, wait=every)
            yield job
            if job.state.terminal:
                return

    def cancel(self, job_id: str) -> JobDocument:
        """Cancel a job; images that are finished keep their results."""
        return _job(self._connection.call("POST", _path(job_id, "/cancel")))

    def retry(self, job_id: str) -> JobDocument:
        """Retry the failed images of a job as a new job; repeated calls return the same new job."""
        return _job(self._connection.call("POST", _path(job_id, "/retry")))

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with its images and results."""
        self._connection.call("DELETE", _path(job_id))

    def results(self, job_id: str, *, start: int = 0, wait: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the finished results from index `start` on, in input order.

        With `wait`, all results follow as they are finished.
        """
        for line in self.result_lines(job_id, start=start, wait=wait):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ConnectionFailedError(
                    f"{self.base_url} sent a result that is not JSON: {line[:80]!r}."
                ) from error

    def result_lines(self, job_id: str, *, start: int = 0, wait: bool = False) -> Iterator[str]:
        """Yield the results as text, each a JSON object without a line end; see `results`.

        If the connection breaks, the download goes on with the next result.
        """
        patience = self._connection.patience()
        index, more = start, True
        while more:
            try:
                with self._connection.stream(_path(job_id, "/results"), params={"start": index}) as response:
                    for line in _lines(response):
                        index += 1
                        patience.renew()
                        yield line
                    more = wait and "next" in response.links
            except (ApiError, ConnectionFailedError) as error:
                patience.spend(error)
                continue
            if more:
                self.job(job_id, wait=1.0)

    def events(self, job_id: str) -> Iterator[JobEvent]:
        """Yield the events of a job until its end.

        If the connection breaks, the stream is requested again, and some images may be reported twice.
        """
        patience = self._connection.patience()
        last_id, ended = "", False
        while not ended:
            headers = {"Last-Event-ID": last_id} if last_id else {}
            try:
                with self._connection.stream(_path(job_id, "/events"), headers=headers) as response:
                    for event in parsed_events(_lines(response)):
                        patience.renew()
                        last_id, ended = event.id, event.last
                        yield event
            except (ApiError, ConnectionFailedError) as error:
                patience.spend(error)
            else:
                if not ended:  # the server ended the stream early
                    patience.spend(ConnectionFailedError(f"{self.base_url} ended the events before the job's end."))

    def image(self, job_id: str, index: int) -> bytes:
        """Return the bytes of an image of a job, as it was submitted."""
        return self._connection.call("GET", _path(job_id, f"/items/{index}/image")).content

    def model_names(self) -> list[str]:
        """Return the names of the models that jobs may ask for, the default model first."""
        response = self._connection.call("GET", "/v1/models")
        try:
            return [str(document["id"]) for document in response.json()["data"]]
        except (ValueError, KeyError, TypeError) as error:
            raise problem(response) from error

    def contract(self, model: str | None = None) -> Contract | None:
        """Return the contract of a model, by default of the server's default model.

        Returns None if the API does not list the model, or if no worker has published its contract lately.
        """
        response = self._connection.call("GET", "/v1/models")
        try:
            documents = (document for document in response.json()["data"] if model in {None, document["id"]})
            contract = next(documents, {"contract": None})["contract"]
            return Contract.from_json(json.dumps(contract)) if contract else None
        except (ValueError, KeyError, TypeError) as error:
            raise problem(response) from error

    def download(self, job_id: str, form: FormatName, *, start: int = 0) -> Iterator[bytes]:
        """Yield the finished results in a format, as pieces of a file.

        Raises ConnectionFailedError if the connection breaks; the download is not continued.
        """
        params = {"format": form.value, "start": start}
        with self._connection.stream(_path(job_id, "/results"), params=params) as response:
            yield from response.iter_bytes()

    def _upload(
        self,
        field: str,
        files: Iterable[tuple[str, str | os.PathLike[str]]],
        key: str | None,
        unreadable: Callable[[int, OSError], None] | None,
        options: Options,
    ) -> JobDocument:
        fields = {name: _field(value) for name, value in options.items() if value is not None}
        body = MultipartUpload(files, fields, field=field, unreadable=unreadable)
        headers = {"Content-Type": body.content_type, _IDEMPOTENCY_KEY: key or secrets.token_hex(16)}
        # No read timeout: after the last byte the server stores all images before it answers, which may take long.
        patient = httpx.Timeout(self._connection.http.timeout.write, connect=5.0, read=None)
        return _job(self._connection.call("POST", "/v1/jobs", content=body, headers=headers, timeout=patient))


def _lines(response: httpx.Response) -> Iterator[str]:
    rest = ""
    for text in response.iter_text():  # not iter_lines: it also splits at U+2028, which JSON may contain
        *lines, rest = (rest + text).split("\n")
        yield from lines
    if rest:
        yield rest


def _path(job_id: str, rest: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}{rest}"


def _field(value: object) -> str:
    """Return an option as the text of a form field."""
    return value if isinstance(value, str) else json.dumps(value)


def _job(response: httpx.Response) -> JobDocument:
    return read_document(JobDocument, response)
