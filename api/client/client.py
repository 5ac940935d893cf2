"""The HTTP client: jobs submitted, followed, read, changed. Every failure is an error of the project's own."""

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
from workers.jobs.options import Lane
from workers.results.formats.registry import FormatName

_KEY = "Idempotency-Key"


class Options(TypedDict, total=False):
    """The options of a job, as the API names them; None is left out."""

    model: str | None
    model_version: int | None
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
    """A connection to one API. Every method raises ApiError for what the API refuses, and ConnectionFailedError.

    What may succeed later is tried again, see connection.py. A submission carries one idempotency key through all its
    tries, so it makes one job even where its answer was lost.
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
        """`base_url` as in http://127.0.0.1:5000, `key` as in sl_...

        `timeout` is in seconds, for each read and write; `patience` for how many seconds a request is tried again;
        `alive` is called before each try, and may raise.
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
        """The checks of /readyz, name -> "ok" or what is wrong; asked once."""
        response = self._connection.once("GET", "/readyz")
        try:
            return dict(response.json()["checks"])
        except (ValueError, KeyError, TypeError) as error:
            raise problem(response) from error

    def submit(self, body: Mapping[str, Any], *, idempotency_key: str | None = None) -> JobDocument:
        """Submit a job as JSON: `items`, `folder` or another source, and options; None is left out."""
        given = {name: value for name, value in body.items() if value is not None}
        headers = {_KEY: idempotency_key or secrets.token_hex(16)}
        return _job(self._connection.call("POST", "/v1/jobs", json=given, headers=headers))

    def submit_folder(self, folder: str | Path, **options: Unpack[Options]) -> JobDocument:
        """Submit a folder of the server's, by its absolute path there."""
        return self.submit({"folder": str(folder), **options})

    def submit_files(
        self,
        files: Iterable[tuple[str, str | os.PathLike[str]]],
        *,
        idempotency_key: str | None = None,
        unreadable: Callable[[int, OSError], None] | None = None,
        **options: Unpack[Options],
    ) -> JobDocument:
        """Upload files, (name, path) each, as one job, however many; one of them is open at a time.

        Raises OSError for a file that cannot be read; where `unreadable` is given, that is told its number and why
        instead, and what could be read of it is sent.
        """
        return self._upload("images", files, idempotency_key, unreadable, options)

    def submit_manifest(
        self, manifest: Path, *, idempotency_key: str | None = None, **options: Unpack[Options]
    ) -> JobDocument:
        """Upload a manifest: JSON lines, or CSV with a header, a row an image; raises OSError."""
        return self._upload("manifest", [(manifest.name, manifest)], idempotency_key, None, options)

    def jobs(
        self, *, limit: int | None = None, state: JobState | None = None, model: str | None = None
    ) -> Iterator[JobDocument]:
        """Jobs, newest first, at most `limit`."""
        filters = {"state": state, "model": model}
        query = {name: str(value) for name, value in filters.items() if value is not None}
        query["limit"] = str(min(limit or 100, 100))
        left = limit
        while True:
            page = read_document(JobsDocument, self._connection.call("GET", "/v1/jobs", params=query))
            yield from page.data[:left]
            left = None if left is None else left - len(page.data)
            if page.next is None or (left is not None and left <= 0):
                return
            query = dict(parse_qsl(urlsplit(page.next).query))  # its address may be another than ours, behind a proxy

    def job(self, job_id: str, *, wait: float = 0.0) -> JobDocument:
        """A job as it stands, or up to `wait` seconds later if it has not ended."""
        params = {"wait": wait} if wait else None
        return _job(self._connection.call("GET", _path(job_id), params=params))

    def wait(self, job_id: str, *, every: float = 0.25) -> Iterator[JobDocument]:
        """The job's states, one every `every` seconds, up to the terminal one."""
        while True:
            job = self.job(job_id, wait=every)
            yield job
            if job.state.terminal:
                return

    def cancel(self, job_id: str) -> JobDocument:
        """Cancel a job; what is finished keeps its result."""
        return _job(self._connection.call("POST", _path(job_id, "/cancel")))

    def retry(self, job_id: str) -> JobDocument:
        """Try the failed images of a job again, as a new job; asked again, the same one."""
        return _job(self._connection.call("POST", _path(job_id, "/retry")))

    def delete(self, job_id: str) -> None:
        """Delete a job that is over, with its images and results."""
        self._connection.call("DELETE", _path(job_id))

    def results(self, job_id: str, *, start: int = 0, wait: bool = False) -> Iterator[dict[str, Any]]:
        """The finished results from index `start` on, in input order; with `wait` all, as they are finished."""
        for line in self.result_lines(job_id, start=start, wait=wait):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ConnectionFailedError(
                    f"{self.base_url} sent a result that is not JSON: {line[:80]!r}."
                ) from error

    def result_lines(self, job_id: str, *, start: int = 0, wait: bool = False) -> Iterator[str]:
        """The same as text, a JSON object each, without its end of line. What breaks off is taken up again."""
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
        """A job's events to its end; what breaks off is taken up again, and may tell some images twice."""
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
                if not ended:  # the server could not go on
                    patience.spend(ConnectionFailedError(f"{self.base_url} ended the events before the job's end."))

    def image(self, job_id: str, index: int) -> bytes:
        """The bytes of an image of a job, as it was sent."""
        return self._connection.call("GET", _path(job_id, f"/items/{index}/image")).content

    def contract(self, model: str | None = None) -> Contract | None:
        """What a model says of itself, the default one where none is named; None where no worker found it lately."""
        answer = self._connection.call("GET", "/v1/models")
        try:
            found = next((one for one in answer.json()["data"] if model in {None, one["id"]}), None)
            return Contract.from_json(json.dumps(found["contract"])) if found and found["contract"] else None
        except (ValueError, KeyError, TypeError) as error:
            raise problem(answer) from error

    def download(self, job_id: str, form: FormatName, *, start: int = 0) -> Iterator[bytes]:
        """The finished results in a format, in pieces; raises ConnectionFailedError where they break off."""
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
        headers = {"Content-Type": body.content_type, _KEY: key or secrets.token_hex(16)}
        # Behind the last byte the server stores every image before it answers: as long as that takes.
        patient = httpx.Timeout(self._connection.http.timeout.write, connect=5.0, read=None)
        return _job(self._connection.call("POST", "/v1/jobs", content=body, headers=headers, timeout=patient))


def _lines(response: httpx.Response) -> Iterator[str]:
    rest = ""
    for text in response.iter_text():  # not iter_lines: it also breaks at U+2028, which JSON may hold
        *lines, rest = (rest + text).split("\n")
        yield from lines
    if rest:
        yield rest


def _path(job_id: str, more: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}{more}"


def _field(value: object) -> str:
    """An option as a field of a form."""
    return value if isinstance(value, str) else json.dumps(value)


def _job(response: httpx.Response) -> JobDocument:
    return read_document(JobDocument, response)
