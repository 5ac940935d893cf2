"""`shelfline detect`: a folder of photos in, detections and drawn pictures out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from api.client import Options, ShelflineClient
from api.collect import Collection, collect
from api.errors import ApiError, ConnectionFailedError, UsageError
from api.output import Output
from api.progress import drawing_progress, job_progress, waiting
from api.report import Report
from api.stack import Stack, local_stack, remote_stack
from api.state import StackState
from workers.documents import JobDocument
from workers.settings import load_settings
from workers.sources import printable

_ASK_UPLOAD = {"folder_not_allowed", "folder_not_found"}  # the stack does not see this folder: send the files


@dataclass(frozen=True)
class DetectRequest:
    """What the command was told."""

    paths: Sequence[Path]
    out: Path
    state_folder: Path
    models: Path
    url: str | None = None
    key: str | None = None
    model: str | None = None
    min_score: float | None = None
    max_detections: int | None = None
    tiles: str | None = None
    overlap: float | None = None


def run_detect(asked: DetectRequest, *, console: Console, status: Console) -> int:
    """Detect, write and tell; returns 0 if every image succeeded, else 1.

    `console` gets the report, `status` the progress. Raises UsageError, StackError, ApiError, ConnectionFailedError.
    """
    settings = load_settings()
    collection = collect(asked.paths)
    output = Output(asked.out)
    report = Report()
    with waiting(status) as line, _stack(asked, collection, line.say) as stack:
        line.stop()
        client = ShelflineClient(stack.url, key=asked.key or settings.own_key, alive=stack.alive)
        seconds = _detect(client, asked, collection, stack, output, report, status)

    with drawing_progress(status, report.succeeded) as advance:
        undrawn = output.draw_pictures(_image_of(collection), settings.max_image_pixels, advance)
    report.show(console)
    for text in undrawn:
        status.print(text, style="yellow", markup=False, soft_wrap=True)
    totals = report.totals(
        seconds=seconds, skipped=collection.skipped, results=output.results, annotated=output.annotated
    )
    console.print(totals, markup=False, highlight=False, soft_wrap=True)
    return 1 if report.failed else 0


def _image_of(collection: Collection) -> Callable[[Mapping[str, Any]], Path]:
    """Where the image of a result is: by its number, unless the stack found others in the folder than we did."""

    def image_of(result: Mapping[str, Any]) -> Path:
        index, shown = int(result["index"]), str(result["name"])
        if index < len(collection.images):
            name, path = collection.images[index]
            if printable(name) == shown:
                return path
        return (collection.folder or Path()) / shown

    return image_of


def _stack(
    asked: DetectRequest, collection: Collection, notify: Callable[[str], None]
) -> AbstractContextManager[Stack]:
    if asked.url:
        return remote_stack(asked.url)
    roots = [collection.folder] if collection.folder else []
    return local_stack(StackState(asked.state_folder), asked.models, roots, notify)


def _detect(
    client: ShelflineClient,
    asked: DetectRequest,
    collection: Collection,
    stack: Stack,
    output: Output,
    report: Report,
    status: Console,
) -> float:
    """Run one job and write its results; returns the seconds from its submission to its end."""
    begin = time.monotonic()
    try:
        with client:
            job = _submit(client, asked, collection, stack)
            with job_progress(status, job.counts.total) as bar:
                for now in client.wait(job.id):
                    bar.show(now.counts)
                    job = now
            if job.error:
                raise UsageError(job.error.detail)
            seconds = time.monotonic() - begin
            for result in output.write_results(client.result_lines(job.id)):
                report.add(result)
    except ConnectionFailedError:
        stack.alive()  # a stack that has died says more than the connection to it
        raise
    if report.total != job.counts.total:
        raise ConnectionFailedError(f"{stack.url} sent {report.total} of {job.counts.total} results.")
    return seconds


def _submit(client: ShelflineClient, asked: DetectRequest, collection: Collection, stack: Stack) -> JobDocument:
    options: Options = {
        "model": asked.model,
        "min_score": asked.min_score,
        "max_detections": asked.max_detections,
        "tiles": asked.tiles,
        "overlap": asked.overlap,
    }
    if stack.shares_files and collection.folder:
        try:
            return client.submit_folder(collection.folder, **options)
        except ApiError as error:
            if error.code not in _ASK_UPLOAD:
                raise
    try:
        return client.submit_files(collection.images, **options)
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read: {error.strerror}.") from error
